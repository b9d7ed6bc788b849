package pgtest

import (
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Environment variables that turn skipping into failing; make test sets them,
// so that a test which must run there cannot be left out unseen.
const (
	requirePostgres = "PGDROVER_REQUIRE_POSTGRES"
	requireNewer    = "PGDROVER_REQUIRE_NEWER"
)

var installed = sync.OnceValue(pgcluster.Installed)

// Majors lists one installation per major version, oldest first. Without any
// the test is skipped, or fails if PGDROVER_REQUIRE_POSTGRES is 1.
func Majors(tb testing.TB) []pgcluster.Installation {
	tb.Helper()
	newestFirst := slices.CompactFunc(slices.Clone(installed()), func(a, b pgcluster.Installation) bool { return a.Major == b.Major })
	slices.Reverse(newestFirst)
	if len(newestFirst) == 0 {
		_, err := pgcluster.Find(0)
		skipUnless(tb, requirePostgres, "%v (HINT: %s)", err, pgerror.From(err).Hint)
	}
	return newestFirst
}

// Base is the oldest installed PostgreSQL, which tests run on by default.
func Base(tb testing.TB) pgcluster.Installation {
	tb.Helper()
	return Majors(tb)[0]
}

// Newer is the newest installed PostgreSQL if it is of a later major version
// than Base. Otherwise the test is skipped, or fails if PGDROVER_REQUIRE_NEWER is 1.
func Newer(tb testing.TB) pgcluster.Installation {
	tb.Helper()
	majors := Majors(tb)
	if len(majors) < 2 {
		skipUnless(tb, requireNewer, "only %s is installed; for a later one run, as root: make pg-next", majors[0])
	}
	return majors[len(majors)-1]
}

// installation finds a major version, 0 for Base.
func installation(tb testing.TB, major int) pgcluster.Installation {
	tb.Helper()
	majors := Majors(tb)
	if major == 0 {
		return majors[0]
	}
	i := slices.IndexFunc(majors, func(i pgcluster.Installation) bool { return i.Major == major })
	if i < 0 {
		tb.Skipf("PostgreSQL %d is not installed", major)
	}
	return majors[i]
}

func skipUnless(tb testing.TB, variable, format string, args ...any) {
	tb.Helper()
	if os.Getenv(variable) == "1" {
		tb.Fatalf(format+"; "+variable+"=1 forbids skipping", args...)
	}
	tb.Skipf(format, args...)
}
