#!/usr/bin/env bash
# Installs what is needed from the machine's package manager, if it is missing:
# PostgreSQL's server, contrib modules and clients, and debootstrap for the next
# major version (pg-next.sh). With the argument "test" also a C compiler, which
# Go's race detector needs. Does nothing when all is there.
set -euo pipefail

have_server() {
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
		compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null || command -v initdb >/dev/null
}
have() { command -v "$1" >/dev/null; }

missing=()
if ! have_server || ! have psql; then missing+=(postgresql postgresql-contrib postgresql-client); fi
if [ "${1:-}" = test ] && ! have gcc && ! have clang; then missing+=(gcc libc6-dev); fi
needed=${#missing[@]}
# Only root can use a second root, so only root needs debootstrap.
if [ "$(id -u)" = 0 ] && ! have debootstrap; then missing+=(debootstrap); fi
[ ${#missing[@]} -gt 0 ] || exit 0

if ! have apt-get; then
	[ "$needed" -gt 0 ] || exit 0 # debootstrap alone: a second version is optional
	echo "Missing: ${missing[*]} (the names of Debian's packages; this is not Debian or Ubuntu)." >&2
	echo "Install PostgreSQL's server, its contrib modules, psql, and a C compiler for the tests:" >&2
	echo "  dnf install postgresql-server postgresql-contrib postgresql gcc    (Fedora)" >&2
	echo "  brew install postgresql                                            (macOS)" >&2
	exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! have sudo || ! sudo -n true 2>/dev/null; then
		echo "These packages are missing: ${missing[*]}" >&2
		echo "Install them as root, then run make again:" >&2
		echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo -n)
fi

echo "installing ${missing[*]}"
# Debian's packages would make and start a cluster of their own; nothing here needs it.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
	"${as_root[@]}" mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$log" 2>&1; }
if ! { apt update && apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}"; }; then
	tail -n 20 "$log" >&2
	[ "$needed" -gt 0 ] || exit 0
	echo "The packages could not be installed: ${missing[*]}" >&2
	exit 1
fi
