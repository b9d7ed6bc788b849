package docs_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/metrics"
)

func TestMetricsPage(t *testing.T) {
	var out strings.Builder
	out.WriteString("# Metrics\n\n" +
		"With `general.openmetrics_port` a running pgdrover answers scrapes at `http://<openmetrics_host>:<openmetrics_port>/metrics`: in OpenMetrics\n" +
		"where the client asks for it, else in Prometheus's text format. Nobody is asked for a password; bind it where only the monitoring can reach it.\n" +
		"`data-sync` and `schema-sync` serve none: their slots and tables are seen by a running pgdrover with the same configuration.\n\n" +
		"Names have `general.openmetrics_namespace`, without one `" + metrics.DefaultNamespace + "`, and an underscore before them. Label `shard` is the source's shard.\n" +
		"`slot_*`, `slots_orphaned`, `mirror_*` and `tables` are looked up every 15 seconds; `schema_status` and `schema_tables_blocked` are those of the newest comparison of the mirror's task. `pool_*` are read from the pools at each scrape. The metrics `go_*` and `process_*` of the Go runtime and of the process are there too.\n\n")
	head(&out, "metric", "type", "labels", "meaning")
	for _, m := range metrics.Describe() {
		row(&out, code(m.Name), m.Type, code(strings.Join(m.Labels, ", ")), cell(m.Help))
	}
	out.WriteString(alerts)
	page(t, "metrics.md", out.String())
	for _, name := range alertNames.FindAllStringSubmatch(alerts, -1) {
		found := false
		for _, m := range metrics.Describe() {
			found = found || name[1] == m.Name || m.Type == "histogram" && name[1] == m.Name+"_bucket"
		}
		if !found {
			t.Errorf("the examples have %s, which is no metric", name[1])
		}
	}
}

// alertNames finds the metrics in the expressions.
var alertNames = regexp.MustCompile(metrics.DefaultNamespace + `_([a-z_]+)`)

// alerts are expressions that operators start from.
const alerts = `
## What to watch

[Observability](../observability.md) has alert rules, what to do about each, and a dashboard. What they are made of, in short:

| expression | meaning |
|---|---|
| ` + "`pgdrover_tables{state=\"stopped\"} > 0`" + ` | a table is left out: ` + "`SHOW MIRROR`" + ` tells why, and the way out |
| ` + "`pgdrover_schema_tables_blocked > 0`" + ` for 5 minutes | tables are stopped because of their structure: ` + "`SHOW SCHEMA_DIFF`" + ` of the mirror tells the ways out |
| ` + "`pgdrover_schema_status == 2`" + ` | a table goes on by an escape hatch: ` + "`SHOW MIRROR`" + ` tells by which, and what it has cost |
| ` + "`pgdrover_slot_retained_bytes > 50e9`" + ` | a source keeps WAL for a slot: its disk fills |
| ` + "`pgdrover_slot_lost == 1`" + ` | a slot was invalidated |
| ` + "`pgdrover_slots_orphaned > 0`" + ` | a slot of nobody's: ` + "`SHOW REPLICATION_SLOTS`" + ` |
| ` + "`pgdrover_lag_seconds > 60`" + ` | the destination falls behind |
| ` + "`absent(pgdrover_lag_seconds)`" + ` | nothing streams |
| ` + "`histogram_quantile(0.99, sum by (le, mirror) (rate(pgdrover_apply_lag_seconds_bucket[5m])))`" + ` | 99 of 100 groups are on the destination so many seconds after their commit on the source |
| ` + "`pgdrover_pool_wait_longest_seconds > 1`" + ` | applications wait for a server connection: ` + "`SHOW POOLS`" + `, ` + "`SHOW STATE`" + ` |
| ` + "`histogram_quantile(0.99, sum by (le, database) (rate(pgdrover_pool_query_seconds_bucket[5m])))`" + ` | 99 of 100 queries take no longer |
| ` + "`pgdrover_pool_healthy == 0`" + ` | a server cannot be connected to: ` + "`SHOW POOLS`" + ` has the error |
| ` + "`pgdrover_pool_paused == 1`" + ` for longer than a switch takes | somebody has stopped a database: ` + "`SHOW STATE`" + ` tells who |
| ` + "`increase(pgdrover_look_failures_total[5m]) > 2`" + ` | a database cannot be asked for its slots or tables |
`
