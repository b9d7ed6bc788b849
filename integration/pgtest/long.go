package pgtest

import (
	"os"
	"testing"
)

// Long skips a test that takes minutes on a small machine, unless
// PGDROVER_LONG_TESTS is set, as `make test-long` does.
func Long(tb testing.TB) {
	tb.Helper()
	if os.Getenv("PGDROVER_LONG_TESTS") == "" {
		tb.Skip("it takes long: make test-long runs it")
	}
}
