#!/usr/bin/env bash
# Unpacks pgcopydb and PgBouncer, against which the benchmarks measure, for
# package bench.
#
#   scripts/bench-peers.sh             unpack them, unless they are there
#   scripts/bench-peers.sh path        print pgcopydb's program, exit 1 if it is not there
#   scripts/bench-peers.sh path NAME   the same of pgcopydb or pgbouncer
#
# Debian's packages are unpacked with the libraries they need, not installed: no
# package of this machine changes, and a newer release than the machine's own
# can be had. A program is run through that release's dynamic linker; what it
# starts (pg_dump, pg_restore) is this machine's. Without it, bench says so and
# leaves that contestant out.
#
# BENCH_PEERS_SUITE chooses the release of Debian, BENCH_PEERS_MIRROR where it is
# had from, BENCH_PEERS_DIR the place.
set -euo pipefail

suite=${BENCH_PEERS_SUITE:-forky}
dir=${BENCH_PEERS_DIR:-$(cd "$(dirname "$0")/.." && pwd)/.cache/bench-peers}
peers=(pgcopydb pgbouncer)
program() { echo "$dir/bin/$1-$suite"; }
runs() { "$(program "$1")" --version >/dev/null 2>&1; }

if [ "${1:-}" = path ]; then
	runs "${2:-pgcopydb}" || exit 1
	program "${2:-pgcopydb}"
	exit 0
fi
skip() {
	echo "not all peers are available: $*" >&2
	exit 0
}
missing=()
for peer in "${peers[@]}"; do
	runs "$peer" || missing+=("$peer")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
	skip "this is not Debian or Ubuntu; put ${missing[*]} into PATH instead"
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
log=$new/log
apt-get "${options[@]}" update >"$log" 2>&1 </dev/null || skip "$(tail -n 3 "$log" | tr '\n' ' ')"

# unpack NAME unpacks one program with its libraries.
unpack() {
	local name=$1 root=$dir/$1-$suite program
	program=$(program "$name")
	echo "unpacking $name of $suite (some 25 MB, once)"
	rm -rf "$new/root" "$apt"/cache/archives/*.deb
	mkdir "$new/root"
	apt-get "${options[@]}" --download-only install "$name" >>"$log" 2>&1 </dev/null ||
		skip "$(tail -n 3 "$log" | tr '\n' ' ')"
	for package in "$apt"/cache/archives/*.deb; do
		case $(basename "$package") in
		lib*.deb | zlib1g_*.deb | "$name"_*.deb) dpkg-deb -x "$package" "$new/root" ;;
		esac
	done
	linker=$(find "$new/root" -name 'ld-linux*.so*' -print -quit)
	libraries=$(find "$new/root" -name 'lib*.so.*' -printf '%h\n' | sort -u | sed "s|^$new/root|\$here/$name-$suite|" | paste -sd:)
	binary=$(find "$new/root/usr" \( -path "*/bin/$name" -o -path "*/sbin/$name" \) -print -quit)
	[ -n "$linker" ] && [ -n "$binary" ] || skip "the packages of $suite are not as expected"
	rm -rf "$root"
	mv -T "$new/root" "$root"
	# Its paths are relative to itself: the directory may be moved.
	cat >"$new/$name" <<END
#!/bin/sh
here=\$(cd "\$(dirname "\$0")/.." && pwd) || exit
root=\$here/$name-$suite
exec "\$root${linker#"$new/root"}" --argv0 "\$root${binary#"$new/root"}" --library-path "$libraries" "\$root${binary#"$new/root"}" "\$@"
END
	chmod 755 "$new/$name"
	"$new/$name" --version >/dev/null 2>"$log" || skip "$name does not run: $(tail -n 3 "$log")"
	mv -T "$new/$name" "$program" # last: what is there is whole
}
for peer in "${missing[@]}"; do
	unpack "$peer"
done
