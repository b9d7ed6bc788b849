package metrics

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// somePools are pools of every kind of value.
func somePools() []Pool {
	spread := Distribution{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{1, 2, 4}, Sum: 5 * time.Second}
	return []Pool{
		{Database: "prod", User: "app", Host: "h", Port: "5432", Shard: "0", Role: "primary", Waiting: 3, Idle: 1, Active: 2, Size: 10, Clients: 9, MaxWait: time.Second,
			Paused: true, Transactions: 11, Errors: map[string]int64{"23": 2, "odd": 1, "": 1}, Query: spread},
		{Database: "od\"d\xff", User: "app", Host: "h", Port: "5432", Shard: "0", Role: "replica", Clients: -1, Healthy: true},
	}
}

// TestPools scrapes what two pools tell, one of which has odd names.
func TestPools(t *testing.T) {
	t.Parallel()
	m := New("", "1")
	scrape := func() string {
		t.Helper()
		response := httptest.NewRecorder()
		var log bytes.Buffer
		m.Handler(slog.New(slog.NewTextHandler(&log, nil))).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if response.Code != 200 || log.Len() > 0 {
			t.Fatalf("a scrape is answered by %d, and logs %s", response.Code, log.String())
		}
		return response.Body.String()
	}
	if strings.Contains(scrape(), "pgdrover_pool_") {
		t.Error("there are pools before there are any")
	}
	m.Pools(somePools)
	m.ClientLogin()
	m.ClientRefused("28P01")
	m.ClientRefused("rubbish")
	got := scrape()
	at := `{database="prod",host="h",port="5432",role="primary",shard="0",user="app"}`
	for _, want := range []string{
		"pgdrover_pool_clients_waiting" + at + " 3", "pgdrover_pool_size" + at + " 10", "pgdrover_pool_paused" + at + " 1", "pgdrover_pool_healthy" + at + " 0",
		"pgdrover_pool_transactions_total" + at + " 11", `pgdrover_pool_clients{database="prod",user="app"} 9`,
		`pgdrover_pool_servers{database="prod",host="h",port="5432",role="primary",shard="0",state="active",user="app"} 2`,
		`pgdrover_pool_errors_total{class="23",database="prod"`, `pgdrover_pool_errors_total{class="XX",database="prod",host="h",port="5432",role="primary",shard="0",user="app"} 2`,
		`pgdrover_pool_query_seconds_bucket{database="prod",host="h",port="5432",role="primary",shard="0",user="app",le="0.001"} 1`,
		`pgdrover_pool_query_seconds_bucket{database="prod",host="h",port="5432",role="primary",shard="0",user="app",le="1"} 3`,
		`pgdrover_pool_query_seconds_bucket{database="prod",host="h",port="5432",role="primary",shard="0",user="app",le="+Inf"} 7`,
		`pgdrover_pool_query_seconds_sum{database="prod",host="h",port="5432",role="primary",shard="0",user="app"} 5`,
		"od\\\"d\uFFFD", "pgdrover_client_logins_total 1", `pgdrover_client_refusals_total{sqlstate="28P01"} 1`, `pgdrover_client_refusals_total{sqlstate="XX000"} 1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the scrape has no %s", want)
		}
	}
	if strings.Count(got, "pgdrover_pool_clients{") != 1 {
		t.Error("clients are counted twice")
	}
	var nothing *Metrics
	nothing.Pools(nil)
	nothing.ClientLogin()
	nothing.ClientRefused("28P01")
}
