package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tellAll calls every method of Data once, and Slots.
func tellAll(d Data, mirror string) {
	bytes, behind := int64(4096), 1500*time.Millisecond
	d.CopyRows(mirror, 0, 10)
	d.CopyBytes(mirror, 0, 1000)
	d.CopyRange(mirror, 0)
	d.CopyRetry(mirror, 0)
	d.CopyFailure(mirror, 0)
	d.Tables(mirror, 0, map[string]int{"streaming": 2, "stopped": 1})
	d.StreamBytes(mirror, 0, 5)
	d.StreamTransactions(mirror, 0, 6)
	d.StreamSpilled(mirror, 0, 7)
	d.StreamQueue(mirror, 0, 8)
	d.StreamReconnect(mirror, 0)
	d.ApplyGroup(mirror, 0, 2, Group{Transactions: 3, Inserted: 4, Updated: 5, Deleted: 6, Truncated: 1, Took: 30 * time.Millisecond, Lag: 80 * time.Millisecond})
	d.ApplyGroup(mirror, 0, 2, Group{Transactions: 1, Exact: true, Took: 3 * time.Second, Lag: -1})
	d.ApplyRetry(mirror, 0, 2)
	d.TableStop(mirror, 0)
	d.Schema(mirror, []SchemaStatus{{Schema: "public", Table: "a", Level: SchemaEqual}, {Schema: "public", Table: "b", Level: SchemaBlocked, Reason: "unsafe_cast"}})
	d.SchemaMismatch(mirror, "unsafe_cast")
	d.SchemaRows(mirror, "skip_columns", 12)
	d.SchemaValidation(mirror, "drift")
	d.SchemaDetect(mirror, 40*time.Second)
	d.Lag(mirror, 0, &bytes, &behind)
	d.TaskStart("copy_data prod -> prod_new")
	d.TaskStart("schema_sync(pre) prod -> prod_new")
	d.TaskEnd("schema_sync(pre) prod -> prod_new", "finished")
	d.Error(mirror, "23505")
	d.Error(mirror, "")
}

func someSlots(mirror string) []Slot {
	safe := int64(1 << 30)
	return []Slot{
		{Database: "prod", Name: "pgdrover_a", Mirror: mirror, RetainedBytes: 100, SafeBytes: &safe, Active: true},
		{Database: "prod", Name: "pgdrover_left", RetainedBytes: 200, Lost: true},
		{Database: "prod", Name: "pgdrover_left", RetainedBytes: 300},
	}
}

// scrape gives what the endpoint answers, without the samples of the runtime
// and of the process.
func scrape(t *testing.T, m *Metrics, accept string) (string, http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, request)
	if w.status != http.StatusOK {
		t.Fatalf("status %d: %s", w.status, w.body.String())
	}
	return w.body.String(), w.header
}

// recorder is an http.ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

var (
	ofRuntime = regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?(go|process|promhttp)_.*\n`)
	version   = regexp.MustCompile(`goversion="[^"]*"`)
)

func ours(text string) string {
	text = ofRuntime.ReplaceAllString(text, "")
	return version.ReplaceAllString(text, `goversion="go"`)
}

func TestEverySample(t *testing.T) {
	t.Parallel()
	m := New("", "1.2.3")
	tellAll(m, "a_to_b")
	m.Slots(someSlots("a_to_b"))
	m.Mirrors([]Mirror{{Name: "a_to_b", State: "running", Attended: true}}, []string{"running", "failed"}, true)
	m.LookFailure()
	text, _ := scrape(t, m, "")
	var samples []string
	for line := range strings.Lines(ours(text)) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			samples = append(samples, strings.TrimSpace(line))
		}
	}
	want := strings.Split(strings.TrimSpace(`
pgdrover_apply_group_seconds_count{destination_shard="2",mirror="a_to_b",shard="0"} 2
pgdrover_apply_group_seconds_sum{destination_shard="2",mirror="a_to_b",shard="0"} 3.03
pgdrover_apply_groups_total{destination_shard="2",mirror="a_to_b",order="exact",shard="0"} 1
pgdrover_apply_groups_total{destination_shard="2",mirror="a_to_b",order="folded",shard="0"} 1
pgdrover_apply_lag_seconds_count{destination_shard="2",mirror="a_to_b",shard="0"} 1
pgdrover_apply_lag_seconds_sum{destination_shard="2",mirror="a_to_b",shard="0"} 0.08
pgdrover_apply_retries_total{destination_shard="2",mirror="a_to_b",shard="0"} 1
pgdrover_apply_rows_total{destination_shard="2",kind="delete",mirror="a_to_b",shard="0"} 6
pgdrover_apply_rows_total{destination_shard="2",kind="insert",mirror="a_to_b",shard="0"} 4
pgdrover_apply_rows_total{destination_shard="2",kind="truncate",mirror="a_to_b",shard="0"} 1
pgdrover_apply_rows_total{destination_shard="2",kind="update",mirror="a_to_b",shard="0"} 5
pgdrover_apply_transactions_total{destination_shard="2",mirror="a_to_b",shard="0"} 4
pgdrover_build_info{goversion="go",version="1.2.3"} 1
pgdrover_copy_bytes_total{mirror="a_to_b",shard="0"} 1000
pgdrover_copy_failures_total{mirror="a_to_b",shard="0"} 1
pgdrover_copy_ranges_total{mirror="a_to_b",shard="0"} 1
pgdrover_copy_retries_total{mirror="a_to_b",shard="0"} 1
pgdrover_copy_rows_total{mirror="a_to_b",shard="0"} 10
pgdrover_errors_total{class="23",mirror="a_to_b"} 1
pgdrover_errors_total{class="XX",mirror="a_to_b"} 1
pgdrover_lag_bytes{mirror="a_to_b",shard="0"} 4096
pgdrover_lag_seconds{mirror="a_to_b",shard="0"} 1.5
pgdrover_slot_active{database="prod",mirror="",shard="0",slot="pgdrover_left"} 0
pgdrover_slot_active{database="prod",mirror="a_to_b",shard="0",slot="pgdrover_a"} 1
pgdrover_slot_lost{database="prod",mirror="",shard="0",slot="pgdrover_left"} 1
pgdrover_slot_lost{database="prod",mirror="a_to_b",shard="0",slot="pgdrover_a"} 0
pgdrover_slot_retained_bytes{database="prod",mirror="",shard="0",slot="pgdrover_left"} 200
pgdrover_slot_retained_bytes{database="prod",mirror="a_to_b",shard="0",slot="pgdrover_a"} 100
pgdrover_slot_safe_wal_bytes{database="prod",mirror="a_to_b",shard="0",slot="pgdrover_a"} 1.073741824e+09
pgdrover_slots_orphaned{database="prod"} 1
pgdrover_look_failures_total 1
pgdrover_mirror_attended{mirror="a_to_b"} 1
pgdrover_mirror_state{mirror="a_to_b",state="failed"} 0
pgdrover_mirror_state{mirror="a_to_b",state="running"} 1
pgdrover_schema_detect_seconds_count{mirror="a_to_b"} 1
pgdrover_schema_detect_seconds_sum{mirror="a_to_b"} 40
pgdrover_schema_mismatches_total{kind="unsafe_cast",mirror="a_to_b"} 1
pgdrover_schema_rows_affected_total{mirror="a_to_b",option="skip_columns"} 12
pgdrover_schema_status{mirror="a_to_b",schema="public",table="a"} 0
pgdrover_schema_status{mirror="a_to_b",schema="public",table="b"} 3
pgdrover_schema_tables_blocked{mirror="a_to_b",reason="unsafe_cast"} 1
pgdrover_schema_validations_total{mirror="a_to_b",result="drift"} 1
pgdrover_stream_queue_bytes{mirror="a_to_b",shard="0"} 8
pgdrover_stream_received_bytes_total{mirror="a_to_b",shard="0"} 5
pgdrover_stream_reconnects_total{mirror="a_to_b",shard="0"} 1
pgdrover_stream_spilled_bytes_total{mirror="a_to_b",shard="0"} 7
pgdrover_stream_transactions_total{mirror="a_to_b",shard="0"} 6
pgdrover_table_stops_total{mirror="a_to_b",shard="0"} 1
pgdrover_tables{mirror="a_to_b",shard="0",state="stopped"} 1
pgdrover_tables{mirror="a_to_b",shard="0",state="streaming"} 2
pgdrover_tasks_ended_total{state="finished",type="schema_sync"} 1
pgdrover_tasks_running{type="copy_data"} 1
pgdrover_tasks_running{type="schema_sync"} 0`), "\n")
	slices.Sort(want)
	slices.Sort(samples)
	if diff := cmp.Diff(want, samples); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

// TestDescribe compares the reference with what a scrape says of itself.
func TestDescribe(t *testing.T) {
	t.Parallel()
	m := New("proxy", "1")
	tellAll(m, "m")
	m.Slots(someSlots("m"))
	m.Mirrors([]Mirror{{Name: "m", State: "running"}}, []string{"running"}, true)
	m.LookFailure()
	m.Pools(somePools)
	m.ClientLogin()
	m.ClientRefused("28P01")
	text, _ := scrape(t, m, "")
	text = ours(text)
	labelled := regexp.MustCompile(`(?m)^proxy_([a-z_]+?)(?:_bucket|_sum|_count)?\{([^}]*)\}`)
	label := regexp.MustCompile(`([a-z_]+)="`)
	labels := map[string]map[string]bool{}
	for _, found := range labelled.FindAllStringSubmatch(text, -1) {
		name := found[1]
		if labels[name] == nil {
			labels[name] = map[string]bool{}
		}
		for _, l := range label.FindAllStringSubmatch(found[2], -1) {
			if l[1] != "le" {
				labels[name][l[1]] = true
			}
		}
	}
	names := map[string]bool{}
	for _, d := range Describe() {
		names[d.Name] = true
		for _, want := range []string{
			fmt.Sprintf("# HELP proxy_%s %s\n", d.Name, d.Help), fmt.Sprintf("# TYPE proxy_%s %s\n", d.Name, d.Type),
		} {
			if !strings.Contains(text, want) {
				t.Errorf("a scrape has no %q", want)
			}
		}
		if got := slices.Sorted(maps.Keys(labels[d.Name])); !slices.Equal(got, slices.Sorted(slices.Values(d.Labels))) {
			t.Errorf("%s has labels %v, described are %v", d.Name, got, d.Labels)
		}
		if strings.HasSuffix(d.Name, "_total") != (d.Type == "counter") || !strings.HasSuffix(d.Help, ".") {
			t.Errorf("%s, a %s: %q", d.Name, d.Type, d.Help)
		}
	}
	for name := range labels {
		if !names[name] {
			t.Errorf("%s is not described", name)
		}
	}
}

// TestNil: nobody scrapes at the command line.
func TestNil(t *testing.T) {
	t.Parallel()
	tellAll(Discard, "m")
	Discard.StreamEnd("m", 0)
	Discard.DropMirror("m")
	(*Metrics)(nil).Slots(someSlots("m"))
	(*Metrics)(nil).Mirrors([]Mirror{{Name: "m"}}, nil, true)
	(*Metrics)(nil).LookFailure()
}

// TestForgetting: what is gone has no samples, and the others keep theirs.
func TestForgetting(t *testing.T) {
	t.Parallel()
	m := New("", "1")
	tellAll(m, "a")
	tellAll(m, "b")
	m.Slots(someSlots("a"))
	m.StreamEnd("a", 0)
	m.Lag("b", 0, nil, nil)
	text, _ := scrape(t, m, "")
	for sample, want := range map[string]bool{
		`pgdrover_lag_bytes{mirror="a"`: false, `pgdrover_stream_queue_bytes{mirror="a"`: false, `pgdrover_lag_seconds{mirror="b"`: false,
		`pgdrover_stream_queue_bytes{mirror="b"`: true, `pgdrover_copy_rows_total{mirror="a"`: true, `slot="pgdrover_a"`: true,
	} {
		if strings.Contains(text, sample) != want {
			t.Errorf("%s is there: %t", sample, !want)
		}
	}
	m.DropMirror("a")
	m.Slots(nil)
	text, _ = scrape(t, m, "")
	if strings.Contains(text, `mirror="a"`) || strings.Contains(text, "pgdrover_slot") || !strings.Contains(text, `pgdrover_tables{mirror="b"`) {
		t.Errorf("after DropMirror:\n%s", ours(text))
	}
}

// TestOddTexts: a name that is not UTF-8, or a count that goes backwards, must
// not end the work that is counted.
func TestOddTexts(t *testing.T) {
	t.Parallel()
	m := New("", "1")
	tellAll(m, "a\xffb\n\"")
	m.Slots([]Slot{{Database: "\xfe", Name: "\xfd", Mirror: "\xfc"}})
	m.CopyRows("m", 0, -1)
	m.Error("\xff", "2\xff505")
	m.TaskStart("\xff")
	m.DropMirror("a\xffb\n\"")
	if text, _ := scrape(t, m, ""); !strings.Contains(text, `slot="�"`) || strings.Contains(text, `mirror="a`) || strings.Contains(text, `mirror="m"`) {
		t.Error(ours(text))
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	m := New("", "1")
	text, header := scrape(t, m, "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(header.Get("Content-Type"), "application/openmetrics-text") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("OpenMetrics was asked for: %s", header.Get("Content-Type"))
	}
	for _, want := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if _, header := scrape(t, m, "*/*"); !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("anything was asked for: %s", header.Get("Content-Type"))
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := New("", "1")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			mirror := fmt.Sprint(i % 2)
			for range 50 {
				tellAll(m, mirror)
				m.Slots(someSlots(mirror))
				m.DropMirror(mirror)
				if _, err := m.registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// open starts an endpoint on a free port.
func open(t *testing.T) *Endpoint {
	t.Helper()
	e, err := New("", "1").Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Shutdown(context.Background()) })
	return e
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	e := open(t)
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	for _, test := range []struct {
		method, path string
		status       int
		text         string
	}{
		{"GET", "/metrics", 200, "pgdrover_build_info"},
		{"GET", "/", 200, "pgdrover_build_info"},
		{"HEAD", "/metrics", 200, ""},
		{"GET", "/live", 200, "live\n"},
		{"GET", "/ready", 503, "not ready\nnobody tells\n"},
		{"GET", "/debug/pprof", 404, "/live and /ready"},
		{"POST", "/metrics", 405, "metrics are read with GET"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+e.Addr().String()+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != test.status || !strings.Contains(string(body), test.text) {
			t.Errorf("%s %s: %d, %v\n%.200s", test.method, test.path, answer.StatusCode, err, body)
		}
	}
}

func TestEndpointShutdown(t *testing.T) {
	t.Parallel()
	e := open(t)
	idle, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // who only holds a connection is not waited for
	if err := e.Shutdown(ctx); err != nil && !strings.Contains(err.Error(), "wait for scrapes to end") {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", e.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("the endpoint listens after Shutdown")
	}
}

// TestEndpointTakesSoMany: one connection more than it takes is closed, and the
// place of one that left is free again.
func TestEndpointTakesSoMany(t *testing.T) {
	t.Parallel()
	e := open(t)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return conn
	}
	answered := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := conn.Read(make([]byte, 12))
		return n == 12
	}
	first := dial()
	for range mostConnections - 1 {
		if !answered(dial()) {
			t.Fatal("a connection was refused before its time")
		}
	}
	if !answered(first) {
		t.Fatal("the first connection was refused")
	}
	if answered(dial()) {
		t.Error("one connection too many is answered")
	}
	_ = first.Close()
	deadline, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for e.open.Load() >= mostConnections { // the server's look at a closed connection has no event
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the place of a connection that left is not free")
		}
	}
	if !answered(dial()) {
		t.Error("a freed place is refused")
	}
}

func TestListenTells(t *testing.T) {
	t.Parallel()
	e := open(t)
	port := e.Addr().(*net.TCPAddr).Port
	_, err := New("", "1").Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1", port, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("listen for metrics on 127.0.0.1:%d", port)) {
		t.Errorf("a port that is taken: %v", err)
	}
}
