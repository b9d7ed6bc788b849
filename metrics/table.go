package metrics

// kind is what a metric is.
type kind string

// The kinds of metrics.
const (
	counter   kind = "counter"
	gauge     kind = "gauge"
	histogram kind = "histogram"
)

// definition is one metric. Its name has the namespace before it.
type definition struct {
	name    string
	kind    kind
	labels  []string
	help    string
	buckets []float64 // of a histogram
	pooled  bool      // read from the pools at each scrape: see pools
	looked  bool      // a gauge whose series are replaced together: see board
}

// Labels. shard is the source's, destination_shard the destination's.
var (
	perShard       = []string{"mirror", "shard"}
	perDestination = []string{"mirror", "shard", "destination_shard"}
	perSlot        = []string{"database", "slot", "mirror", "shard"}
)

// groupSeconds reach from a transaction of one row to a backlog's largest group
// on a slow disk; lagSeconds from a round trip to an outage.
var (
	groupSeconds  = []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30}
	detectSeconds = []float64{.1, .5, 1, 2, 5, 10, 30, 60, 120, 300, 1800}
	lagSeconds    = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}
)

// The metrics, in the order of the reference.
var definitions = append([]*definition{
	copyRows, copyBytes, copyRanges, copyRetries, copyFailures, tables,
	streamBytes, streamTransactions, streamSpilled, streamQueue, streamReconnects,
	applyTransactions, applyRows, applyGroups, applyGroupSeconds, applyLagSeconds, applyRetries, tableStops,
	schemaStatus, schemaBlocked, schemaMismatches, schemaRowsAffected, schemaValidations, schemaDetect,
	mirrorState, mirrorAttended,
	lagBytes, lagTime,
	slotRetained, slotSafe, slotActive, slotLost, slotOrphans,
	lookFailures, tasksRunning, tasksEnded, errorsSeen, buildInfo,
	clientLogins, clientRefusals,
}, poolDefinitions...)

var (
	copyRows     = &definition{name: "copy_rows_total", kind: counter, labels: perShard, help: "Rows copied, retried ranges counted once."}
	copyBytes    = &definition{name: "copy_bytes_total", kind: counter, labels: perShard, help: "Bytes of COPY data of finished ranges."}
	copyRanges   = &definition{name: "copy_ranges_total", kind: counter, labels: perShard, help: "Ranges of tables that were copied."}
	copyRetries  = &definition{name: "copy_retries_total", kind: counter, labels: perShard, help: "Attempts at a range that were not its first."}
	copyFailures = &definition{name: "copy_failures_total", kind: counter, labels: perShard, help: "Tables whose copy was given up."}
	tables       = &definition{name: "tables", kind: gauge, looked: true, labels: []string{"mirror", "shard", "state"}, help: "Tables of a mirror by their state."}

	streamBytes        = &definition{name: "stream_received_bytes_total", kind: counter, labels: perShard, help: "Bytes received from a replication slot."}
	streamTransactions = &definition{name: "stream_transactions_total", kind: counter, labels: perShard, help: "Source transactions received."}
	streamSpilled      = &definition{name: "stream_spilled_bytes_total", kind: counter, labels: perShard, help: "Bytes of transactions written to the spill directory."}
	streamQueue        = &definition{name: "stream_queue_bytes", kind: gauge, labels: perShard, help: "Bytes received and not applied yet, in memory."}
	streamReconnects   = &definition{name: "stream_reconnects_total", kind: counter, labels: perShard, help: "Times that a lost stream was taken up again."}

	applyTransactions = &definition{name: "apply_transactions_total", kind: counter, labels: perDestination, help: "Source transactions applied."}
	applyRows         = &definition{name: "apply_rows_total", kind: counter, labels: append(perDestination[:3:3], "kind"),
		help: "Rows applied: insert, update, delete; and truncate, a table each."}
	applyGroups = &definition{name: "apply_groups_total", kind: counter, labels: append(perDestination[:3:3], "order"),
		help: "Destination transactions that applied changes: folded, as set statements; or exact, in which a part had to be applied again row by row."}
	applyGroupSeconds = &definition{name: "apply_group_seconds", kind: histogram, labels: perDestination, buckets: groupSeconds,
		help: "Time from the begin of a destination transaction to its commit."}
	applyLagSeconds = &definition{name: "apply_lag_seconds", kind: histogram, labels: perDestination, buckets: lagSeconds,
		help: "Time from the commit on the source to the commit on the destination, of the newest transaction of each group."}
	applyRetries = &definition{name: "apply_retries_total", kind: counter, labels: perDestination,
		help: "Groups that were begun anew because the destination's connection was lost or refused them for a while."}
	tableStops = &definition{name: "table_stops_total", kind: counter, labels: perShard, help: "Tables stopped because a change could not be applied."}

	schemaStatus = &definition{name: "schema_status", kind: gauge, looked: true, labels: []string{"mirror", "schema", "table"},
		help: "What the newest comparison of a table's structure with its source's has found: 0 every row arrives; 1 likewise, with differences that will matter; 2 it goes on by an escape hatch; 3 it is stopped."}
	schemaBlocked = &definition{name: "schema_tables_blocked", kind: gauge, looked: true, labels: []string{"mirror", "reason"},
		help: "Tables that are stopped because of their structure, by the kind of the worst difference."}
	schemaMismatches = &definition{name: "schema_mismatches_total", kind: counter, labels: []string{"mirror", "kind"},
		help: "Differences of structure that were found and not there at the comparison before, by their kind."}
	schemaRowsAffected = &definition{name: "schema_rows_affected_total", kind: counter, labels: []string{"mirror", "option"},
		help: "Rows that were written otherwise than they are on the source because of an escape hatch: skip_columns, allow_type_casts, preserve_columns, null_columns."}
	schemaValidations = &definition{name: "schema_validations_total", kind: counter, labels: []string{"mirror", "result"},
		help: "Comparisons of a mirror's tables: ok, warn, drift if one of them must not go on, or failed if they could not be made."}
	schemaDetect = &definition{name: "schema_detect_seconds", kind: histogram, labels: []string{"mirror"}, buckets: detectSeconds,
		help: "How old, at most, a difference that stops a table was when it was found: the time since the comparison that did not have it."}

	mirrorState = &definition{name: "mirror_state", kind: gauge, looked: true, labels: []string{"mirror", "state"},
		help: "1 for what a mirror is to do: created, running, paused or failed; 0 for the others."}
	mirrorAttended = &definition{name: "mirror_attended", kind: gauge, looked: true, labels: []string{"mirror"},
		help: "1 while a task works on the mirror, of whatever process."}

	lagBytes = &definition{name: "lag_bytes", kind: gauge, labels: perShard,
		help: "WAL of the source that is not applied on every destination shard; absent while nothing streams."}
	lagTime = &definition{name: "lag_seconds", kind: gauge, labels: perShard,
		help: "Age of the oldest source transaction that is not applied on every destination shard; absent while nothing streams."}

	slotRetained = &definition{name: "slot_retained_bytes", kind: gauge, looked: true, labels: perSlot,
		help: "WAL that the source keeps because of a slot; mirror is empty for an orphan."}
	slotSafe = &definition{name: "slot_safe_wal_bytes", kind: gauge, looked: true, labels: perSlot,
		help: "WAL that can be written before a slot is in danger of being lost; absent where the server sets no limit."}
	slotActive = &definition{name: "slot_active", kind: gauge, looked: true, labels: perSlot, help: "1 while a connection reads from the slot."}
	slotLost   = &definition{name: "slot_lost", kind: gauge, looked: true, labels: perSlot,
		help: "1 when the slot was invalidated: what it kept is gone, its mirror has to be copied again."}
	slotOrphans = &definition{name: "slots_orphaned", kind: gauge, looked: true, labels: []string{"database"},
		help: "Slots that bear our name and belong to no mirror: they hold WAL back for nobody."}

	lookFailures = &definition{name: "look_failures_total", kind: counter,
		help: "Looks at slots and tables that failed, or found a database that could not be asked: what is absent then is not known."}

	tasksRunning = &definition{name: "tasks_running", kind: gauge, labels: []string{"type"}, help: "Tasks that this process runs."}
	tasksEnded   = &definition{name: "tasks_ended_total", kind: counter, labels: []string{"type", "state"},
		help: "Tasks of this process that have ended: finished, failed, cancelled or interrupted."}
	errorsSeen = &definition{name: "errors_total", kind: counter, labels: []string{"mirror", "class"},
		help: "Errors, those that a retry got over too, by the first two characters of their SQLSTATE; mirror is empty for those of no mirror."}
	buildInfo = &definition{name: "build_info", kind: gauge, labels: []string{"version", "goversion"}, help: "1; its labels tell what runs."}
)

// Description is what the reference tells of a metric.
type Description struct {
	Name   string // without the namespace
	Type   string // "counter", "gauge" or "histogram"
	Labels []string
	Help   string
}

// Describe tells every metric of the product, in the order of the reference.
// Those of the Go runtime and of the process (go_*, process_*) come with the
// client library.
func Describe() []Description {
	out := make([]Description, len(definitions))
	for i, d := range definitions {
		out[i] = Description{Name: d.name, Type: string(d.kind), Labels: d.labels, Help: d.help}
	}
	return out
}
