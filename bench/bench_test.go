package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestBenchmarksRun runs everything in small: each run checks its own result.
func TestBenchmarksRun(t *testing.T) {
	pgtest.Base(t) // skips where there is no server
	var out bytes.Buffer
	if err := command(t.Context(), []string{"-tables", "6", "-rows", "50", "-runs", "1"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"== schema10k", "== index200", "fsync = off", "ratio pgdrover / pg_dump | psql", "ratio pgdrover / pg_restore "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-run", "none"}, {"-runs", "0"}, {"-tables", "-1"}, {"-no-such"}} {
		if err := command(t.Context(), args, &bytes.Buffer{}); pgerror.Code(err) != pgerror.InvalidParameterValue {
			t.Errorf("%v gives %v", args, err)
		}
	}
}

func TestMiddle(t *testing.T) {
	t.Parallel()
	s := series{}
	for _, n := range []time.Duration{5, 1, 9, 3, 7} {
		s.runs = append(s.runs, measure{elapsed: n})
	}
	if got := s.middle().elapsed; got != 5 {
		t.Errorf("the median is %d", got)
	}
}

func TestWithoutPrimaryKeys(t *testing.T) {
	t.Parallel()
	toc := "; head\n1; 2606 1 CONSTRAINT public t t_pkey postgres\n2; 2606 2 CONSTRAINT public t t_u postgres\n3; 1259 3 INDEX public t_i postgres\n4; 6104 4 PUBLICATION - all_tables postgres\n"
	want := "; head\n2; 2606 2 CONSTRAINT public t t_u postgres\n3; 1259 3 INDEX public t_i postgres\n"
	if got := withoutPrimaryKeys(toc); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
