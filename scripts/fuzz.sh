#!/usr/bin/env bash
# Runs every fuzz target for $FUZZTIME (20s), one after the other.
set -euo pipefail

cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-20s}
grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . 2>/dev/null | xargs -r -n 1 dirname | sort -u |
	while read -r package; do
		{ grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go || :; } | sed 's/^func //' | sort -u |
			while read -r target; do
				echo "== $package $target"
				go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package" </dev/null
			done
	done
