#!/usr/bin/env bash
# Says which optional things are missing, and so which tests skip.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
drivers=${PGDROVER_DRIVERS_DIR:-$top/.cache/drivers}
missing=()
"$top/scripts/pg-next.sh" path >/dev/null ||
	missing+=("a second major version of PostgreSQL (as root: make pg-next): tests between two versions skip")
"$top/scripts/prometheus.sh" path >/dev/null ||
	missing+=("Prometheus (scripts/prometheus.sh): the rules and the dashboard are not tried")
for language in python node java; do
	[ -s "$drivers/$language/.versions" ] ||
		missing+=("the $language clients (make drivers): their protocol tests skip")
done
if [ ${#missing[@]} = 0 ]; then
	echo "optional: nothing is missing"
	exit 0
fi
for what in "${missing[@]}"; do echo "optional: missing: $what"; done
