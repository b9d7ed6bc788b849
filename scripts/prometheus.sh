#!/usr/bin/env bash
# Unpacks Prometheus, and promtool, of this machine's Debian or Ubuntu for the
# tests of observability/.
#
#   scripts/prometheus.sh         make it, unless it is there
#   scripts/prometheus.sh path    print the folder of the programs, exit 1 if there is none
#
# The package is unpacked, not installed: no service is made or started, and it
# needs no root. Where that cannot be done it is said and the exit status is 0:
# the tests that need it skip.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
place=${PGDROVER_PROMETHEUS_DIR:-$top/.cache/prometheus}

present() { [ -x "$place/prometheus" ] && [ -x "$place/promtool" ]; }
if [ "${1:-}" = path ]; then
	if present; then
		echo "$place"
	elif command -v prometheus >/dev/null && command -v promtool >/dev/null; then
		dirname "$(command -v prometheus)"
	else
		exit 1
	fi
	exit 0
fi
skip() {
	echo "Prometheus is not available: $*" >&2
	exit 0
}
! "$0" path >/dev/null || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || skip "this is not Debian or Ubuntu; install prometheus, with promtool"

mkdir -p "$(dirname "$place")"
new=$(mktemp -d "$(dirname "$place")/.prometheus.new-XXXXXX")
trap 'rm -rf "$new"' EXIT
echo "unpacking Prometheus (once)"
download() { (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download prometheus) >"$new/apt.out" 2>&1 </dev/null; }
if ! download; then
	if [ "$(id -u)" = 0 ]; then
		apt-get -qq update >/dev/null 2>&1 </dev/null || true
	elif sudo -n true 2>/dev/null; then
		sudo -n apt-get -qq update >/dev/null 2>&1 </dev/null || true
	fi
	download || skip "apt-get download prometheus: $(tail -n 1 "$new/apt.out")"
fi
dpkg-deb --fsys-tarfile "$new"/prometheus_*.deb | tar -x -C "$new" ./usr/bin/prometheus ./usr/bin/promtool ||
	skip "the package has no prometheus and promtool"
"$new/usr/bin/promtool" --version >/dev/null 2>&1 || skip "it does not run here"
mkdir -p "$place"
mv "$new/usr/bin/promtool" "$new/usr/bin/prometheus" "$place/"
