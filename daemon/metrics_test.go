package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// found is what a look sees.
type found struct {
	slots    []mirror.SlotRow
	mirrors  []string
	tables   map[string][]mirror.MirrorTableRow
	warnings []*pgerror.Error
}

func (f *found) Slots(context.Context) ([]mirror.SlotRow, []*pgerror.Error, error) {
	return f.slots, f.warnings, nil
}

func (f *found) Mirrors(context.Context) ([]mirror.MirrorRow, []*pgerror.Error, error) {
	var rows []mirror.MirrorRow
	for _, name := range f.mirrors {
		rows = append(rows, mirror.MirrorRow{Name: name, Wanted: mirror.MirrorRunning, Attended: name == "a"})
	}
	return rows, f.warnings, nil
}

func (f *found) MirrorTables(_ context.Context, name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error) {
	tables, ok := f.tables[name]
	if !ok {
		return nil, nil, errors.New("no answer")
	}
	return tables, nil, nil
}

// shown gives the samples of the product, one a line.
func shown(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	e, err := m.Listen(t.Context(), &net.ListenConfig{}, "127.0.0.1", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	return get(t, e.Addr().String())
}

func get(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLook(t *testing.T) {
	t.Parallel()
	safe := int64(77)
	f := &found{
		slots: []mirror.SlotRow{
			{Database: "prod", Name: "pgdrover_a_0", Mirror: "a", RetainedBytes: 5, SafeWALSize: &safe, Active: true, WALStatus: "reserved"},
			{Database: "prod", Name: "pgdrover_left", Orphan: true, WALStatus: "lost"},
			{Database: "prod", Name: "pgdrover_old", Orphan: true, Invalidated: "idle_timeout"},
		},
		mirrors: []string{"a", "b"},
		tables: map[string][]mirror.MirrorTableRow{
			"a": {{State: mirror.TableStreaming}, {State: mirror.TableStreaming}, {State: mirror.TableStopped}, {Shard: 1, State: mirror.TableCopying}},
			"b": {{State: mirror.TablePending}},
		},
	}
	m := metrics.New("", "1")
	o := &observer{engine: f, metrics: m}
	o.look(t.Context())
	expect := func(when string, samples map[string]bool) {
		t.Helper()
		text := shown(t, m)
		for sample, want := range samples {
			if strings.Contains(text, sample+"\n") != want {
				t.Errorf("%s: %s is there: %t", when, sample, !want)
			}
		}
	}
	expect("at first", map[string]bool{
		`pgdrover_slot_retained_bytes{database="prod",mirror="a",shard="0",slot="pgdrover_a_0"} 5`:  true,
		`pgdrover_slot_safe_wal_bytes{database="prod",mirror="a",shard="0",slot="pgdrover_a_0"} 77`: true,
		`pgdrover_slot_active{database="prod",mirror="a",shard="0",slot="pgdrover_a_0"} 1`:          true,
		`pgdrover_slot_lost{database="prod",mirror="a",shard="0",slot="pgdrover_a_0"} 0`:            true,
		`pgdrover_slot_lost{database="prod",mirror="",shard="0",slot="pgdrover_left"} 1`:            true,
		`pgdrover_slot_lost{database="prod",mirror="",shard="0",slot="pgdrover_old"} 1`:             true,
		`pgdrover_slots_orphaned{database="prod"} 2`:                                                true,
		`pgdrover_tables{mirror="a",shard="0",state="streaming"} 2`:                                 true,
		`pgdrover_tables{mirror="a",shard="0",state="stopped"} 1`:                                   true,
		`pgdrover_tables{mirror="a",shard="0",state="copying"} 0`:                                   true,
		`pgdrover_tables{mirror="a",shard="1",state="copying"} 1`:                                   true,
		`pgdrover_tables{mirror="b",shard="0",state="pending"} 1`:                                   true,
		`pgdrover_look_failures_total 1`:                                                            false,
		`pgdrover_mirror_state{mirror="a",state="running"} 1`:                                       true,
		`pgdrover_mirror_state{mirror="b",state="failed"} 0`:                                        true,
		`pgdrover_mirror_attended{mirror="a"} 1`:                                                    true,
		`pgdrover_mirror_attended{mirror="b"} 0`:                                                    true,
	})
	// A database that cannot be asked: its mirror is not forgotten.
	f.mirrors, f.slots, f.warnings = []string{"a"}, nil, []*pgerror.Error{pgerror.New("08001", "refused")}
	o.look(t.Context())
	expect("half", map[string]bool{
		`pgdrover_tables{mirror="b",shard="0",state="pending"} 1`: true, `pgdrover_look_failures_total 1`: true,
		`pgdrover_slots_orphaned{database="prod"} 2`: false, `pgdrover_mirror_attended{mirror="b"} 0`: true,
	})
	// It answers again, and the mirror is gone; the other's tables do not answer.
	f.warnings = nil
	delete(f.tables, "a")
	o.look(t.Context())
	expect("at last", map[string]bool{
		`pgdrover_tables{mirror="b",shard="0",state="pending"} 1`: false, `pgdrover_tables{mirror="a",shard="1",state="copying"} 1`: true,
		`pgdrover_look_failures_total 2`: true, `pgdrover_mirror_attended{mirror="b"} 0`: false, `pgdrover_mirror_attended{mirror="a"} 1`: true,
	})
}

// TestMetricsEndpoint starts a daemon that serves metrics, and one whose port is
// taken.
func TestMetricsEndpoint(t *testing.T) {
	t.Parallel()
	start := func(general string, ready func(net.Addr)) error {
		cfg, _, err := config.Parse("pgdog.toml", []byte("[general]\nhost = \"127.0.0.1\"\nopenmetrics_host = \"127.0.0.1\"\nopenmetrics_namespace = \"drover\"\n"+general),
			"users.toml", []byte("[admin]\npassword = \"hidden\"\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d, err := New(Options{Config: cfg, Version: "1", Logger: slog.New(slog.DiscardHandler), Ready: func(a net.Addr) { ready(a); cancel() }})
		if err != nil {
			t.Fatal(err)
		}
		return d.Run(ctx)
	}
	port := freePort(t)
	served := false
	err := start(fmt.Sprintf("port = %d\nopenmetrics_port = %d\n", freePort(t), port), func(net.Addr) {
		served = strings.Contains(get(t, fmt.Sprintf("127.0.0.1:%d", port)), "drover_build_info")
	})
	if err != nil || !served {
		t.Errorf("metrics were served: %t, %v", served, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = start(fmt.Sprintf("port = %d\nopenmetrics_port = %d\n", freePort(t), taken.Addr().(*net.TCPAddr).Port), func(net.Addr) { t.Error("it serves clients") })
	if e := pgerror.From(err); e == nil || !strings.Contains(e.Hint, "openmetrics_port") {
		t.Errorf("a port that is taken: %v", err)
	}
}

// freePort gives a port that nobody listened at a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
