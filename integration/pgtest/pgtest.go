// Package pgtest gives tests real PostgreSQL servers, databases in them, a
// proxy that breaks connections, a disk that fills up and the pgdrover binary.
//
// A package that uses Shared or Binary has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// Everything is removed at the end of the test that made it, or of the test
// binary, and also when that is killed.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Options are those of pgcluster. With Installation.Major 0, the oldest
// installed version is run (see Base).
type Options = pgcluster.Options

// Cluster is a running cluster with helpers for tests. All of pgcluster's
// methods are there: Stop, Restart, Kill, DSN …
type Cluster struct{ *pgcluster.Cluster }

// Start starts a cluster for one test, which may stop, kill and restart it.
func Start(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	c := &Cluster{start(tb, options)}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the log of %s on port %d ends with:\n%s", c.Installation(), c.Port(), c.Log())
		}
		if err := c.Close(); err != nil {
			tb.Errorf("close the cluster: %v", err)
		}
	})
	return c
}

func start(tb testing.TB, options Options) *pgcluster.Cluster {
	tb.Helper()
	if options.Installation.BinDir == "" {
		options.Installation = installation(tb, options.Installation.Major)
	}
	c, err := pgcluster.Start(tb.Context(), options)
	if err != nil {
		e := pgerror.From(err)
		tb.Fatalf("%s\nDETAIL: %s\nHINT: %s", e.Message, e.Detail, e.Hint)
	}
	return c
}

// process is what lives as long as the test binary does.
var process struct {
	mu       sync.Mutex
	mainRuns bool
	shared   map[int]*pgcluster.Cluster
	atExit   []func() error
}

// Shared gives the test binary's own cluster of a major version, 0 for the
// oldest installed. It is started once and closed by Main. A test makes its own
// databases in it, leaves its settings alone and does not stop it.
func Shared(tb testing.TB, major int) *Cluster {
	tb.Helper()
	inst := installation(tb, major)
	process.mu.Lock()
	defer process.mu.Unlock()
	c := process.shared[inst.Major]
	if c == nil {
		atExit(tb, func() error { return nil }) // before a server is started that nobody would close
		c = start(tb, Options{Installation: inst})
		atExit(tb, c.Close)
		if process.shared == nil {
			process.shared = map[int]*pgcluster.Cluster{}
		}
		process.shared[inst.Major] = c
	}
	return &Cluster{c}
}

// atExit has Main call f. process.mu is held.
func atExit(tb testing.TB, f func() error) {
	tb.Helper()
	if !process.mainRuns {
		tb.Fatal("this package needs: func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	process.atExit = append(process.atExit, f)
}

// Main runs a package's tests, closes what they shared, and fails if a
// goroutine is left. It does not return.
func Main(m *testing.M, options ...goleak.Option) {
	process.mainRuns = true
	code := m.Run()
	var err error
	for _, f := range process.atExit {
		err = errors.Join(err, f())
	}
	if code == 0 {
		err = errors.Join(err, goleak.Find(options...))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Eventually waits until condition is true, at most as long as a machine may need
// on which much else runs: for what has no event to wait for. what completes
// "not after 5m0s: ".
func Eventually(tb testing.TB, what string, condition func(ctx context.Context) (bool, error)) {
	tb.Helper()
	const most = 5 * time.Minute
	ctx, cancel := context.WithTimeout(tb.Context(), most)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := condition(ctx)
		if ok && err == nil {
			return
		}
		if err != nil && ctx.Err() == nil {
			tb.Fatalf("wait until %s: %v", what, err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			tb.Fatalf("not after %v: %s", most, what)
		}
	}
}
