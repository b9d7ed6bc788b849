#!/usr/bin/env bash
# Unpacks pgcopydb, against which the benchmarks measure, for package bench.
#
#   scripts/bench-peers.sh          unpack it, unless it is there
#   scripts/bench-peers.sh path     print the program, exit 1 if it is not there
#
# Debian's package is unpacked with the libraries it needs, not installed: no
# package of this machine changes, and a newer release than the machine's own
# can be had. The program is run through that release's dynamic linker; what it
# starts (pg_dump, pg_restore) is this machine's. Without it, bench says so and
# leaves that contestant out.
#
# BENCH_PEERS_SUITE chooses the release of Debian, BENCH_PEERS_MIRROR where it is
# had from, BENCH_PEERS_DIR the place.
set -euo pipefail

suite=${BENCH_PEERS_SUITE:-forky}
dir=${BENCH_PEERS_DIR:-$(cd "$(dirname "$0")/.." && pwd)/.cache/bench-peers}
root=$dir/pgcopydb-$suite
program=$dir/bin/pgcopydb-$suite

if [ "${1:-}" = path ]; then
	[ -x "$program" ] || exit 1
	echo "$program"
	exit 0
fi
skip() {
	echo "pgcopydb is not available: $*" >&2
	exit 0
}
[ ! -x "$program" ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	skip "this is not Debian or Ubuntu; put a pgcopydb into PATH instead"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || skip "$keyring is missing; run: apt-get install debian-archive-keyring"

# The mirror of Debian from which this machine has its own packages.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 2>/dev/null |
	awk '$2 == "Debian" && $3 == "main" && $1 !~ /security/ && $1 ~ /^(https?|file):/ { print $1; exit }') || mirror=
mirror=${BENCH_PEERS_MIRROR:-$mirror}
[ -n "$mirror" ] || skip "apt knows no mirror of Debian; set BENCH_PEERS_MIRROR to one"

mkdir -p "$dir/bin"
new=$(mktemp -d "$dir/.new-XXXXXX")
trap 'rm -rf --one-file-system "$new"' EXIT
apt=$new/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$new/root"
: >"$apt/status" # nothing is installed: all that it needs is fetched
echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
options=(-qq -y --no-install-recommends -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
	-o "Dir::State=$apt" -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o "Dir::State::Status=$apt/status"
	-o APT::Sandbox::User=root -o Debug::NoLocking=1)
echo "unpacking pgcopydb of $suite (some 25 MB, once)"
log=$new/log
apt-get "${options[@]}" update >"$log" 2>&1 </dev/null &&
	apt-get "${options[@]}" --download-only install pgcopydb >>"$log" 2>&1 </dev/null ||
	skip "$(tail -n 3 "$log" | tr '\n' ' ')"
for package in "$apt"/cache/archives/*.deb; do
	case $(basename "$package") in
	lib*.deb | zlib1g_*.deb | pgcopydb_*.deb) dpkg-deb -x "$package" "$new/root" ;;
	esac
done
linker=$(find "$new/root" -name 'ld-linux*.so*' -print -quit)
library=$(dirname "$(find "$new/root" -name 'libpq.so.5' -print -quit)")
binary=$(find "$new/root/usr" -path '*/bin/pgcopydb' -print -quit)
[ -n "$linker" ] && [ -n "$binary" ] || skip "the packages of $suite are not as expected"
rm -rf "$root"
mv -T "$new/root" "$root"
cat >"$new/pgcopydb" <<END
#!/bin/sh
exec '$root${linker#"$new/root"}' --argv0 '$root${binary#"$new/root"}' --library-path '$root${library#"$new/root"}' '$root${binary#"$new/root"}' "\$@"
END
chmod 755 "$new/pgcopydb"
"$new/pgcopydb" --version >/dev/null 2>"$log" || skip "it does not run: $(tail -n 3 "$log")"
mv -T "$new/pgcopydb" "$program" # last: what is there is whole
