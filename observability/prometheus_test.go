package observability

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// program finds a program of Prometheus, or skips the test.
func program(tb testing.TB, name string) string {
	tb.Helper()
	for _, dir := range []string{os.Getenv("PGDROVER_PROMETHEUS_DIR"), "../.cache/prometheus"} {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil || dir == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Skipf("there is no %s: scripts/prometheus.sh unpacks it where it can", name)
	}
	return path
}

// TestRules lets promtool check the rules and run the examples.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "SUCCESS") {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	// The examples would be worth nothing if promtool took every rule.
	broken := filepath.Join(t.TempDir(), "alerts.yaml")
	if err := os.WriteFile(broken, []byte(strings.Replace(read(t, "alerts.yaml"), "== 1", "== == 1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", broken).CombinedOutput(); err == nil {
		t.Errorf("promtool takes a broken rule: %s", out)
	}
}

// TestPrometheus lets a Prometheus with the rules scrape an endpoint on which
// everything happens: every query of the dashboard is answered, with data.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	server := startPrometheus(t, serveMetrics(t))
	for _, p := range readDashboard(t).Panels {
		for _, q := range p.Targets {
			expr := substituted(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: a variable is left in %s", p.Title, expr)
			}
			within(t, p.Title+": "+expr, func() (string, bool) {
				n, problem := server.query(t, expr)
				return problem, n > 0
			})
		}
	}
	for _, v := range readDashboard(t).Templating.List {
		if _, args, found := strings.Cut(v.Definition, "label_values("); found {
			metric, label, _ := strings.Cut(strings.TrimSuffix(args, ")"), ", ")
			if n, problem := server.query(t, fmt.Sprintf("count by (%s) (%s)", label, metric)); n == 0 {
				t.Errorf("variable %s has no values: %s", v.Name, problem)
			}
		}
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	loaded := 0
	within(t, "every rule is evaluated", func() (string, bool) {
		server.get(t, "/api/v1/rules", &rules)
		loaded = 0
		for _, g := range rules.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Errorf("%s: %s", r.Name, r.LastError)
				}
				if r.Health != "unknown" {
					loaded++
				}
			}
		}
		return fmt.Sprintf("%d rules", loaded), loaded == len(alertNames(t))
	})
}

// substituted is a query as Grafana sends it with all of everything chosen.
func substituted(expr string) string {
	return strings.NewReplacer("$instance", ".*", "$mirror", ".*", "$__rate_interval", "10s").Replace(expr)
}

// serveMetrics opens an endpoint on which every metric changes all the time. It
// gives its address.
func serveMetrics(t *testing.T) string {
	t.Helper()
	m := metrics.New("", "test")
	m.Pools(somePools())
	endpoint, err := m.Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			happen(m)
			m.ClientLogin()
			m.ClientRefused("28P01")
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		if err := endpoint.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return endpoint.Addr().String()
}

// happen lets everything happen once.
func happen(m *metrics.Metrics) {
	bytes, behind, safe := int64(4096), 1500*time.Millisecond, int64(1<<40)
	var states []string
	for _, state := range mirror.MirrorStates() {
		states = append(states, string(state))
	}
	m.Mirrors([]metrics.Mirror{{Name: "shop", State: "running", Attended: true}, {Name: "left", State: "failed"}}, states, true)
	m.CopyRows("shop", 0, 10)
	m.CopyBytes("shop", 0, 1000)
	m.CopyRange("shop", 0)
	m.CopyRetry("shop", 0)
	m.CopyFailure("shop", 0)
	m.Tables("shop", 0, map[string]int{"streaming": 2, "stopped": 1})
	m.StreamBytes("shop", 0, 5)
	m.StreamTransactions("shop", 0, 6)
	m.StreamSpilled("shop", 0, 7)
	m.StreamQueue("shop", 0, 8)
	m.StreamReconnect("shop", 0)
	m.ApplyGroup("shop", 0, 0, metrics.Group{Transactions: 3, Inserted: 4, Updated: 5, Deleted: 6, Truncated: 1, Took: 30 * time.Millisecond, Lag: 80 * time.Millisecond})
	m.ApplyGroup("shop", 0, 0, metrics.Group{Transactions: 1, Exact: true, Took: 3 * time.Second, Lag: -1})
	m.ApplyRetry("shop", 0, 0)
	m.TableStop("shop", 0)
	m.Schema("shop", []metrics.SchemaStatus{
		{Schema: "public", Table: "a", Level: metrics.SchemaEqual}, {Schema: "public", Table: "b", Level: metrics.SchemaDiffers},
		{Schema: "public", Table: "c", Level: metrics.SchemaAllowed}, {Schema: "public", Table: "d", Level: metrics.SchemaBlocked, Reason: "unsafe_cast"},
	})
	m.SchemaMismatch("shop", "unsafe_cast")
	m.SchemaRows("shop", "skip_columns", 12)
	m.SchemaValidation("shop", "drift")
	m.SchemaDetect("shop", 40*time.Second)
	m.Lag("shop", 0, &bytes, &behind)
	m.Slots([]metrics.Slot{{Database: "prod", Name: "pgdrover_shop_0", Mirror: "shop", RetainedBytes: 100, SafeBytes: &safe, Active: true}, {Database: "prod", Name: "left"}})
	m.TaskStart("copy_data prod -> prod_new")
	m.TaskEnd("copy_data prod -> prod_new", "finished")
	m.Error("shop", "23505")
	m.LookFailure()
}

// somePools gives a pool in which everything happens.
func somePools() func() []metrics.Pool {
	var n atomic.Int64
	return func() []metrics.Pool {
		n := n.Add(1)
		spread := metrics.Distribution{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{uint64(n), uint64(2 * n), uint64(n)}, Sum: time.Duration(n) * time.Second}
		return []metrics.Pool{{
			Database: "prod", User: "app", Host: "h", Port: "5432", Shard: "0", Role: "primary", Waiting: 3, Idle: 1, Active: 2, Size: 10, Clients: 9, MaxWait: time.Second, Healthy: true,
			Transactions: n, Queries: n, Rollbacks: n, Assignments: n, Received: n, Sent: n, Connects: n, ConnectFailures: n, Healthchecks: n, HealthcheckFailures: n, Cleaned: n, Lost: n, Forced: n,
			Errors: map[string]int64{"23": n}, Wait: spread, Query: spread, Transaction: spread,
		}}
	}
}

// prometheus is a Prometheus that runs.
type prometheus struct{ address string }

// startPrometheus starts one with the rules, which scrapes target every second.
func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	path, dir := program(t, "prometheus"), t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := prometheus{listener.Addr().String()}
	if err := listener.Close(); err != nil { // Prometheus cannot be given a port of its choice
		t.Fatal(err)
	}
	configuration := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yaml]\nscrape_configs:\n  - job_name: pgdrover\n    static_configs:\n      - targets: [%q]\n", target)
	for name, text := range map[string]string{"prometheus.yml": configuration, "alerts.yaml": read(t, "alerts.yaml")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("Prometheus has ended: %v", err)
		}
		_ = cmd.Wait() // the log tells
		if t.Failed() {
			t.Logf("Prometheus wrote:\n%s", log.String())
		}
	})
	within(t, "Prometheus answers", func() (string, bool) {
		answer, err := http.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return err.Error(), false
		}
		defer answer.Body.Close()
		return answer.Status, answer.StatusCode == http.StatusOK
	})
	return p
}

// query gives how many series answer an expression; an error of it fails the
// test.
func (p prometheus) query(tb testing.TB, expr string) (series int, problem string) {
	tb.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	p.get(tb, "/api/v1/query?query="+url.QueryEscape(expr), &answer)
	if answer.Status != "success" {
		tb.Fatalf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result), "no series"
}

func (p prometheus) get(tb testing.TB, path string, into any) {
	tb.Helper()
	answer, err := http.Get("http://" + p.address + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		tb.Fatalf("%s: %v\n%s", path, err, text)
	}
}

// within waits for what takes a few scrapes, far beyond what it takes.
func within(tb testing.TB, what string, done func() (problem string, ok bool)) {
	tb.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		problem, ok := done()
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			tb.Fatalf("not in time: %s (%s)", what, problem)
		}
	}
}
