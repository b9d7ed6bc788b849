#!/usr/bin/env bash
# Installs the pinned clients of other languages that the protocol tests use,
# each into a directory of its own under $PGDROVER_DRIVERS_DIR (.cache/drivers):
#
#   python/bin/python           a virtual environment with psycopg and asyncpg
#   node/node_modules/pg        node-postgres
#   java/postgresql.jar         pgJDBC
#
# and with the argument "all" also what `make test-clients` needs:
#
#   sqlalchemy/bin/python       a virtual environment with SQLAlchemy and its drivers
#   sequelize/node_modules      Sequelize
#   hibernate/lib/*.jar         Hibernate
#
# Each is optional. Where its language or the network is missing, a line on
# standard error says so and the tests that need it skip. What is there in the
# right version is left alone.
set -euo pipefail

psycopg=3.2.9
asyncpg=0.30.0
node_pg=8.16.3
pgjdbc=42.7.7
maven_dependency_plugin=3.8.1
sqlalchemy=2.0.44
sequelize=6.37.7
hibernate=6.6.33.Final

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${PGDROVER_DRIVERS_DIR:-$top/.cache/drivers}
mkdir -p "$dir"
log=$dir/install.log
: >"$log"
exec 9>"$dir/.lock"
if command -v flock >/dev/null; then flock 9; fi

# driver NAME VERSIONS PROGRAM...: runs install_NAME unless these versions are
# there. The stamp is written last, so half of an installation never counts.
driver() {
	local name=$1 versions=$2 program
	shift 2
	if [ "$(cat "$dir/$name/.versions" 2>/dev/null)" = "$versions" ]; then return 0; fi
	for program; do
		if ! command -v "$program" >/dev/null; then
			echo "drivers: no $name clients: $program is not installed" >&2
			return 0
		fi
	done
	rm -rf "${dir:?}/$name"
	mkdir -p "$dir/$name"
	# Not in a condition: there set -e would not hold inside.
	set +e
	(set -e; "install_$name") </dev/null >>"$log" 2>&1
	local status=$?
	set -e
	if [ $status = 0 ]; then
		echo "$versions" >"$dir/$name/.versions"
	else
		rm -rf "${dir:?}/$name"
		echo "drivers: no $name clients: the installation failed: $(tail -n 1 "$log")" >&2
	fi
}

limit() { if command -v timeout >/dev/null; then timeout 240 "$@"; else "$@"; fi; }

install_python() {
	python3 -m venv "$dir/python"
	limit "$dir/python/bin/python" -m pip install --quiet --only-binary :all: \
		"psycopg[binary]==$psycopg" "asyncpg==$asyncpg"
	"$dir/python/bin/python" -c 'import psycopg, asyncpg'
}
install_node() {
	cd "$dir/node"
	echo '{"private": true}' >package.json
	limit npm install --silent --no-audit --no-fund --ignore-scripts --save-exact "pg@$node_pg"
	node -e 'require("pg")'
}
install_java() {
	limit mvn --batch-mode --quiet \
		"org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin:copy" \
		"-Dartifact=org.postgresql:postgresql:$pgjdbc" "-DoutputDirectory=$dir/java" -Dmdep.stripVersion=true
	[ -s "$dir/java/postgresql.jar" ]
}
install_sqlalchemy() {
	python3 -m venv "$dir/sqlalchemy"
	limit "$dir/sqlalchemy/bin/python" -m pip install --quiet --only-binary :all: \
		"sqlalchemy[asyncio]==$sqlalchemy" "psycopg[binary]==$psycopg" "asyncpg==$asyncpg"
	"$dir/sqlalchemy/bin/python" -c 'import sqlalchemy, psycopg, asyncpg, greenlet'
}
install_sequelize() {
	cd "$dir/sequelize"
	echo '{"private": true}' >package.json
	limit npm install --silent --no-audit --no-fund --ignore-scripts --save-exact "pg@$node_pg" "sequelize@$sequelize"
	node -e 'require("sequelize")'
}
install_hibernate() {
	cd "$dir/hibernate"
	cat >pom.xml <<-XML
		<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
		<groupId>pgdrover</groupId><artifactId>hibernate</artifactId><version>1</version><packaging>pom</packaging>
		<dependencies>
		<dependency><groupId>org.hibernate.orm</groupId><artifactId>hibernate-core</artifactId><version>$hibernate</version></dependency>
		<dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>$pgjdbc</version></dependency>
		</dependencies></project>
	XML
	limit mvn --batch-mode --quiet "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin:copy-dependencies" \
		"-DoutputDirectory=$dir/hibernate/lib"
	ls lib/hibernate-core-*.jar lib/postgresql-*.jar
}

driver python "psycopg $psycopg, asyncpg $asyncpg" python3
driver node "pg $node_pg" node npm
driver java "pgjdbc $pgjdbc" java javac mvn
if [ "${1-}" = all ]; then
	driver sqlalchemy "sqlalchemy $sqlalchemy, psycopg $psycopg, asyncpg $asyncpg" python3
	driver sequelize "sequelize $sequelize, pg $node_pg" node npm
	driver hibernate "hibernate $hibernate, pgjdbc $pgjdbc" java javac mvn
fi
