package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench runs the command line.
func bench(t *testing.T, args ...string) (string, error) {
	t.Helper()
	pgtest.Base(t) // skips where there is no server
	var out bytes.Buffer
	err := command(t.Context(), args, &out)
	if err != nil {
		e := pgerror.From(err)
		return out.String() + e.Message + e.Detail, err
	}
	return out.String(), nil
}

// TestBenchmarksRun runs everything in small: each run checks its own result.
// Of the programs only those of PostgreSQL itself are there in any case.
func TestBenchmarksRun(t *testing.T) {
	cases := []struct {
		args []string
		want []string
	}{
		{[]string{"-run", "schema10k,index200", "-tables", "6", "-rows", "50"},
			[]string{"== schema10k", "== index200", "fsync = off", "ratio pgdrover / pg_dump | psql", "ratio pgdrover / pg_restore "}},
		{[]string{"-run", "clone,rows"}, []string{"== clone", "fsync = on", "pg_restore -j 2", "then vacuumdb", "== rows", "s per GB"}},
		{[]string{"-run", "catchup"}, []string{"ratio native / pg_recvlogical", "rows/s"}},
		{[]string{"-run", "latency"}, []string{"native catches up with", "medians: p50 "}},
		{[]string{"-run", "memory"}, []string{"peak of memory: median"}},
	}
	for _, c := range cases {
		t.Run(c.args[1], func(t *testing.T) {
			out, err := bench(t, append([]string{"-runs", "1", "-scale", "0.001", "-without", "pgdrover,pgcopydb"}, c.args...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("the output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestWorkNotDoneIsNoResult: whoever does nothing, quickly, is not measured.
func TestWorkNotDoneIsNoResult(t *testing.T) {
	idle, err := exec.LookPath("true")
	if err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{
		"clone":   "do not hold the same objects",
		"rows":    "the source has 100000 rows",
		"catchup": "ended before it was told to",
		"memory":  "table large differs",
	} {
		t.Run(name, func(t *testing.T) {
			out, err := bench(t, "-run", name, "-runs", "1", "-scale", "0.001", "-without", "pgcopydb,psql,native,pg_recvlogical", "-pgdrover", idle)
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("it says %v, not %q:\n%s", err, want, out)
			}
		})
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-run", "none"}, {"-run", "clone,"}, {"-runs", "0"}, {"-tables", "-1"}, {"-no-such"}, {"-scale", "0"}, {"-scale", "11"},
		{"-scale", "NaN"}, {"-without", "nobody"},
	} {
		if err := command(t.Context(), args, &bytes.Buffer{}); pgerror.Code(err) != pgerror.InvalidParameterValue {
			t.Errorf("%v gives %v", args, err)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	field := func() []*contestant { return []*contestant{{key: ours}, {key: copydb}, {key: pipes}} }
	var out bytes.Buffer
	got, err := flags{without: "pgdrover", pgcopydb: "/there"}.choose(&out, field()...)
	if err != nil || len(got) != 2 || got[0].key != copydb || got[1].key != pipes {
		t.Errorf("%v, %v", got, err)
	}
	_, err = flags{without: "pgdrover,pgcopydb,psql"}.choose(&out, field()...)
	if pgerror.Code(err) != pgerror.InvalidParameterValue {
		t.Errorf("nobody is left, and it says %v", err)
	}
	_, err = flags{pgdrover: "/no/such/pgdrover", pgcopydb: "/there"}.choose(&out, field()...)
	if pgerror.Code(err) != pgerror.UndefinedFile {
		t.Errorf("there is no pgdrover, and it says %v", err)
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

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []int
		want   int
	}{{[]int{4}, 4}, {[]int{9, 1, 5}, 5}, {[]int{4, 1, 3, 2}, 3}} {
		before := slices.Clone(c.values)
		if got := median(c.values); got != c.want || !slices.Equal(before, c.values) {
			t.Errorf("the median of %v is %d, want %d (afterwards %v)", before, got, c.want, c.values)
		}
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	a := &series{runs: []measure{{elapsed: 2 * time.Second}, {elapsed: 6 * time.Second}, {elapsed: 3 * time.Second}}}
	b := &series{runs: []measure{{elapsed: 4 * time.Second}, {elapsed: 4 * time.Second}, {elapsed: 12 * time.Second}}}
	var out bytes.Buffer
	ratio(&out, "a / b", a, b)
	if got := strings.Join(strings.Fields(out.String()), " "); got != "ratio a / b 0.75 (run by run 0.50 1.50 0.25)" {
		t.Error(got)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	var took []time.Duration
	for n := range 200 {
		took = append(took, time.Duration(200-n))
	}
	if got, want := spreadOf(took), (spread{200, 100, 190, 198, 200}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := spreadOf(took[:1]), (spread{1, 200, 200, 200, 200}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := spreadOf(nil); got != (spread{}) {
		t.Errorf("of nothing: %v", got)
	}
	runs := []spread{{3, 1, 9, 5, 7}, {3, 2, 8, 6, 9}, {3, 3, 7, 4, 8}}
	if got, want := medianOf(runs), (spread{3, 2, 8, 5, 8}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParsePgbench(t *testing.T) {
	t.Parallel()
	const report = `pgbench (15.18)
number of transactions actually processed: 15012
latency average = 4.912 ms
rate limit schedule lag: avg 3.250 (max 41.070) ms
initial connection time = 7.1 ms
tps = 7506.310 (without initial connection time)
`
	got, err := parsePgbench(report)
	if want := (load{7506.31, 3250 * time.Microsecond}); err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", strings.ReplaceAll(report, "tps", "tpm"), strings.ReplaceAll(report, "lag", "delay"), strings.ReplaceAll(report, "7506.310", "1.2.3")} {
		if got, err := parsePgbench(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

func TestVersionLine(t *testing.T) {
	t.Parallel()
	const said = "12:48:14 30214 INFO   Running pgcopydb version 0.18\npgcopydb version 0.18-1\ncompiled with PostgreSQL 18.4\n"
	if got := versionLine(said); got != "pgcopydb version 0.18-1" {
		t.Errorf("%q", got)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	source := map[string]content{"a": {1, "5"}, "b": {2, "6"}}
	if err := difference(source, map[string]content{"a": {1, "5"}, "b": {2, "6"}}); err != nil {
		t.Error(err)
	}
	for name, destination := range map[string]map[string]content{
		"fewer rows":    {"a": {1, "5"}, "b": {1, "6"}},
		"other rows":    {"a": {1, "5"}, "b": {2, "7"}},
		"missing table": {"a": {1, "5"}},
		"further table": {"a": {1, "5"}, "b": {2, "6"}, "c": {}},
	} {
		if difference(source, destination) == nil {
			t.Errorf("%s: no difference is seen", name)
		}
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	if got, want := standardOf(1), (standard{50, 3_000_000}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := backlogOf(1), (backlog{100_000, 300_000, 200_000}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := standardOf(0.00001), (standard{1, 1000}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if n := backlogOf(0.00123).transactions; n%backlogClients != 0 || n == 0 {
		t.Errorf("%d transactions cannot be spread over %d clients", n, backlogClients)
	}
}

func TestProgramIsStopped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, script string
		ended, ok    bool
	}{
		{name: "in good order", script: "trap 'kill $!; exit 0' TERM", ok: true},
		{name: "stopped before its time", script: "trap 'kill $!; exit 1' TERM", ok: true},
		{name: "by the signal", script: ":", ok: true},
		{name: "broken", script: "trap 'kill $!; exit 2' TERM"},
		{name: "not there any more", script: "echo ready; exit 0", ended: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// The sleeper does not keep the output open.
			p, err := launch(t.Context(), nil, "sh", "-c", c.script+"; sleep 20 >/dev/null 2>&1 & echo ready; wait")
			if err != nil {
				t.Fatal(err)
			}
			ready := func(context.Context) (bool, error) { return strings.Contains(p.said.String(), "ready"), nil }
			if err := until(t.Context(), 10*time.Second, nil, ready); err != nil {
				t.Fatal(err)
			}
			if c.ended {
				<-p.ended
			}
			if err := p.stop(); (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("there is no /proc")
	}
	if got := peakMemory(syscall.Getpid()); got < 1<<20 || got > 1<<40 {
		t.Errorf("this process has needed %d bytes", got)
	}
	if got := peakMemory(1 << 30); got != 0 {
		t.Errorf("no process has needed %d bytes", got)
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	if _, err := pipe(t.Context(), []string{"echo", "hello"}, []string{"grep", "-q", "hello"}); err != nil {
		t.Error(err)
	}
	if _, err := pipe(t.Context(), []string{"echo", "hello"}, []string{"grep", "-q", "other"}); err == nil {
		t.Error("the second program's failure is not seen")
	}
	if _, err := pipe(t.Context(), []string{"false"}, []string{"cat"}); err == nil {
		t.Error("the first program's failure is not seen")
	}
	if _, err := pipe(t.Context(), []string{"echo"}, []string{"/no/such/program"}); err == nil {
		t.Error("that the second program is not there is not seen")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var said tail
	for range 1000 {
		_, _ = said.Write([]byte("0123456789"))
	}
	_, _ = said.Write([]byte("end\n"))
	if got := said.String(); !strings.HasSuffix(got, "789end") || len(got) >= tailBytes {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-10:])
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
