#!/usr/bin/env bash
# Unpacks the PostgreSQL of the next Debian release into a root of its own, so
# that tests and the demo can run two major versions on one machine.
#
#   scripts/pg-next.sh          make it, unless it is there
#   scripts/pg-next.sh path     print where it is, exit 1 if it cannot be used
#
# The packages are unpacked, not installed: their scripts do not run, nothing is
# started. Package pgcluster runs the server by chroot and the clients without.
# Where it cannot be made (not root, no debootstrap, no network, an unknown
# system) that is said and the exit status is 0: the tests that need it skip.
#
# PG_NEXT_SUITE and PG_NEXT_MAJOR choose another release and version, and
# PG_NEXT_ROOT another place (then list it in PGDROVER_PG_ROOT).
set -euo pipefail

codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") || codename=
case $codename in
	bullseye) suite=bookworm major=15 ;;
	bookworm) suite=trixie major=17 ;;
	trixie) suite=forky major=18 ;;
	jammy) suite=noble major=16 ;;
	noble) suite=questing major=17 ;;
	*) suite='' major='' ;;
esac
suite=${PG_NEXT_SUITE:-$suite}
major=${PG_NEXT_MAJOR:-$major}
root=${PG_NEXT_ROOT:-/var/cache/pgdrover/postgresql-$major}

present() { [ -n "$major" ] && [ -x "$root/usr/lib/postgresql/$major/bin/postgres" ] && [ -e "$root/etc/passwd" ]; }

if [ "${1:-}" = path ]; then
	[ "$(id -u)" = 0 ] && present || exit 1 # chroot takes root
	echo "$root"
	exit 0
fi
skip() {
	echo "a second PostgreSQL is not available: $*" >&2
	exit 0
}
! present || exit 0
[ -n "$suite" ] && [ -n "$major" ] ||
	skip "the release after ${codename:-this system} is not known; set PG_NEXT_SUITE and PG_NEXT_MAJOR"
[ "$(id -u)" = 0 ] || skip "unpacking and chroot need root; run: sudo $0"
command -v debootstrap >/dev/null || skip "debootstrap is missing; run: apt-get install debootstrap"

# One at a time; whoever waited finds the work done. The lock goes with the process.
mkdir -p "$(dirname "$root")"
exec 9>"$(dirname "$root")/.$(basename "$root").lock"
flock 9
! present || exit 0

# The mirror from which this machine has its own packages; without one,
# debootstrap's default.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
	awk -v suite="$codename" '$2 == suite && $3 == "main" && $1 ~ /^(https?|file):/ { print $1; exit }') || mirror=
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy 2>/dev/null || true)"
[ -z "${http_proxy:-}" ] || export http_proxy
[ -z "${https_proxy:-}" ] || export https_proxy

# A leading dot: nobody looking for roots finds a half-made one.
new=$(mktemp -d "$(dirname "$root")/.$(basename "$root").new-XXXXXX")
log=$new/debootstrap.out
trap 'rm -rf --one-file-system "$new"' EXIT

echo "unpacking PostgreSQL $major of $suite (some 30 seconds, once)"
# --foreign downloads everything, verifies it and unpacks the base system.
if ! debootstrap --foreign --variant=minbase --include="postgresql-$major,postgresql-client-$major" \
	"$suite" "$new" ${mirror:+"$mirror"} >"$log" 2>&1 </dev/null; then
	skip "debootstrap of $suite failed: $(tail -n 3 "$log" | tr '\n' ' ')"
fi
# The release's newest minor version is in its security suite, if this machine
# has such a source: an older pg_dump cannot read what a newer server writes.
security=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null |
	awk -v suite="$codename-security" '$2 == suite { print $1; exit }') || security=
if [ -n "$security" ]; then
	apt=$new/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/new"
	: >"$apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $security $suite-security main" >"$apt/sources.list"
	options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
		-o "Dir::Cache=$apt/cache" -o "Dir::State::Status=$apt/status" -o APT::Sandbox::User=root)
	if ! (apt-get "${options[@]}" update && cd "$apt/new" &&
		for package in "postgresql-$major" "postgresql-client-$major" libpq5; do
			apt-get "${options[@]}" download "$package" || exit
		done) >>"$log" 2>&1 </dev/null; then
		echo "no update of PostgreSQL $major was found in $suite-security: the release's own is used" >&2
	fi
	for package in "$apt"/new/*.deb; do
		[ ! -e "$package" ] || mv "$package" "$new/var/cache/apt/archives/zz-$(basename "$package")" # unpacked last
	done
	rm -rf "$apt"
fi
for package in "$new"/var/cache/apt/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -f - -C "$new"
done
rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/debootstrap "$new"/var/lib/apt/lists \
	"$new"/usr/share/doc "$new"/usr/share/man "$log"

# What the packages' scripts would have done, as far as a server needs it: the
# linker's cache, accounts (the number that postgres has outside, if any),
# devices (a container may forbid mknod; then a file in their place does).
chroot "$new" /sbin/ldconfig
uid=$(id -u postgres 2>/dev/null || echo 101)
gid=$(id -g postgres 2>/dev/null || echo 104)
cat >"$new/etc/passwd" <<END
root:x:0:0:root:/root:/bin/sh
postgres:x:$uid:$gid:PostgreSQL:/var/lib/postgresql:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
END
cat >"$new/etc/group" <<END
root:x:0:
postgres:x:$gid:
nogroup:x:65534:
END
echo '127.0.0.1 localhost' >"$new/etc/hosts"
mkdir -p "$new/dev/shm" "$new/var/tmp" "$new/tmp"
chmod 1777 "$new/dev/shm" "$new/var/tmp" "$new/tmp"
for device in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9'; do
	read -r name type number <<<"$device"
	[ -c "$new/dev/$name" ] || mknod -m 666 "$new/dev/$name" c "$type" "$number" 2>/dev/null || :
done
[ -c "$new/dev/null" ] || (: >"$new/dev/null" && chmod 666 "$new/dev/null")

chroot "$new" "/usr/lib/postgresql/$major/bin/postgres" -V >/dev/null ||
	skip "the unpacked server does not run"
chmod 755 "$new"
mv -T "$new" "$root"
trap - EXIT
