package metrics

import (
	"cmp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// DefaultNamespace is the prefix of the metrics' names where the configuration
// has none.
const DefaultNamespace = "pgdrover"

// Metrics is a registry of its own with the metrics of the table, and those of
// the Go runtime and of the process. It starts no goroutines. It is safe for
// concurrent use; all methods of a nil one do nothing.
type Metrics struct {
	registry   *prometheus.Registry
	counters   map[*definition]*prometheus.CounterVec
	gauges     map[*definition]*prometheus.GaugeVec
	histograms map[*definition]*prometheus.HistogramVec
	board      *board
	pools      *pools
	ask        func() Health // nil: nobody
}

var _ Data = (*Metrics)(nil)

// New makes Metrics. namespace is the prefix of the names, DefaultNamespace if
// it is "".
func New(namespace, version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		counters: map[*definition]*prometheus.CounterVec{}, gauges: map[*definition]*prometheus.GaugeVec{},
		histograms: map[*definition]*prometheus.HistogramVec{}, board: newBoard(cmp.Or(namespace, DefaultNamespace)),
		pools: newPools(cmp.Or(namespace, DefaultNamespace)),
	}
	m.registry.MustRegister(m.board, m.pools, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, d := range definitions {
		m.register(cmp.Or(namespace, DefaultNamespace), d)
	}
	m.gauges[buildInfo].WithLabelValues(version, runtime.Version()).Set(1)
	return m
}

// register makes a definition's collector. A mistake in the table panics, which
// the tests meet.
func (m *Metrics) register(namespace string, d *definition) {
	switch {
	case d.looked, d.pooled: // the board's, the pools'
	case d.kind == counter:
		m.counters[d] = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: d.name, Help: d.help}, d.labels)
		m.registry.MustRegister(m.counters[d])
	case d.kind == gauge:
		m.gauges[d] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: d.name, Help: d.help}, d.labels)
		m.registry.MustRegister(m.gauges[d])
	case d.kind == histogram:
		m.histograms[d] = prometheus.NewHistogramVec(
			prometheus.HistogramOpts{Namespace: namespace, Name: d.name, Help: d.help, Buckets: d.buckets}, d.labels)
		m.registry.MustRegister(m.histograms[d])
	}
}

// add counts n, which is never negative but by a mistake of the caller's: a
// counter that panics would end the work it counts.
func (m *Metrics) add(d *definition, n int64, labels ...string) {
	if m == nil || n < 0 {
		return
	}
	m.counters[d].WithLabelValues(text(labels)...).Add(float64(n))
}

func (m *Metrics) set(d *definition, v float64, labels ...string) {
	m.gauges[d].WithLabelValues(text(labels)...).Set(v)
}

func (m *Metrics) observe(d *definition, took time.Duration, labels ...string) {
	m.histograms[d].WithLabelValues(labels...).Observe(took.Seconds())
}

// text makes labels fit: names of databases come from a file, slots from a
// server, and a label that is not UTF-8 panics.
func text(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}

func number(shard int) string { return strconv.Itoa(shard) }

// CopyRows is Data's.
func (m *Metrics) CopyRows(mirror string, shard int, n int64) {
	m.add(copyRows, n, mirror, number(shard))
}

// CopyBytes is Data's.
func (m *Metrics) CopyBytes(mirror string, shard int, n int64) {
	m.add(copyBytes, n, mirror, number(shard))
}

// CopyRange is Data's.
func (m *Metrics) CopyRange(mirror string, shard int) { m.add(copyRanges, 1, mirror, number(shard)) }

// CopyRetry is Data's.
func (m *Metrics) CopyRetry(mirror string, shard int) { m.add(copyRetries, 1, mirror, number(shard)) }

// CopyFailure is Data's.
func (m *Metrics) CopyFailure(mirror string, shard int) {
	m.add(copyFailures, 1, mirror, number(shard))
}

// StreamBytes is Data's.
func (m *Metrics) StreamBytes(mirror string, shard int, n int64) {
	m.add(streamBytes, n, mirror, number(shard))
}

// StreamTransactions is Data's.
func (m *Metrics) StreamTransactions(mirror string, shard int, n int64) {
	m.add(streamTransactions, n, mirror, number(shard))
}

// StreamSpilled is Data's.
func (m *Metrics) StreamSpilled(mirror string, shard int, n int64) {
	m.add(streamSpilled, n, mirror, number(shard))
}

// StreamQueue is Data's.
func (m *Metrics) StreamQueue(mirror string, shard int, bytes int64) {
	if m != nil {
		m.set(streamQueue, float64(bytes), mirror, number(shard))
	}
}

// StreamReconnect is Data's.
func (m *Metrics) StreamReconnect(mirror string, shard int) {
	m.add(streamReconnects, 1, mirror, number(shard))
}

// StreamEnd is Data's.
func (m *Metrics) StreamEnd(mirror string, shard int) {
	if m == nil {
		return
	}
	for _, d := range []*definition{streamQueue, lagBytes, lagTime} {
		m.gauges[d].DeleteLabelValues(text([]string{mirror, number(shard)})...)
	}
}

// ApplyRetry is Data's.
func (m *Metrics) ApplyRetry(mirror string, shard, destination int) {
	m.add(applyRetries, 1, mirror, number(shard), number(destination))
}

// TableStop is Data's.
func (m *Metrics) TableStop(mirror string, shard int) { m.add(tableStops, 1, mirror, number(shard)) }

// ApplyGroup is Data's.
func (m *Metrics) ApplyGroup(mirror string, shard, destination int, g Group) {
	if m == nil {
		return
	}
	at := text([]string{mirror, number(shard), number(destination)})
	m.add(applyTransactions, g.Transactions, at...)
	for _, rows := range []struct {
		kind string
		n    int64
	}{{"insert", g.Inserted}, {"update", g.Updated}, {"delete", g.Deleted}, {"truncate", g.Truncated}} {
		if rows.n > 0 {
			m.add(applyRows, rows.n, append(at[:3:3], rows.kind)...)
		}
	}
	order := "folded"
	if g.Exact {
		order = "exact"
	}
	m.add(applyGroups, 1, append(at[:3:3], order)...)
	m.observe(applyGroupSeconds, g.Took, at...)
	if g.Lag >= 0 {
		m.observe(applyLagSeconds, g.Lag, at...)
	}
}

// Lag is Data's.
func (m *Metrics) Lag(mirror string, shard int, bytes *int64, behind *time.Duration) {
	if m == nil {
		return
	}
	at := text([]string{mirror, number(shard)})
	if bytes != nil {
		m.set(lagBytes, float64(*bytes), at...)
	} else {
		m.gauges[lagBytes].DeleteLabelValues(at...)
	}
	if behind != nil {
		m.set(lagTime, behind.Seconds(), at...)
	} else {
		m.gauges[lagTime].DeleteLabelValues(at...)
	}
}

// SchemaMismatch is Data's.
func (m *Metrics) SchemaMismatch(mirror, kind string) { m.add(schemaMismatches, 1, mirror, kind) }

// SchemaRows is Data's.
func (m *Metrics) SchemaRows(mirror, option string, n int64) {
	m.add(schemaRowsAffected, n, mirror, option)
}

// SchemaValidation is Data's.
func (m *Metrics) SchemaValidation(mirror, result string) {
	m.add(schemaValidations, 1, mirror, result)
}

// SchemaDetect is Data's.
func (m *Metrics) SchemaDetect(mirror string, took time.Duration) {
	if m != nil {
		m.observe(schemaDetect, took, text([]string{mirror})...)
	}
}

// TaskStart is Data's.
func (m *Metrics) TaskStart(what string) {
	if m != nil {
		m.gauges[tasksRunning].WithLabelValues(firstWord(what)).Inc()
	}
}

// TaskEnd is Data's.
func (m *Metrics) TaskEnd(what, state string) {
	if m != nil {
		m.gauges[tasksRunning].WithLabelValues(firstWord(what)).Dec()
		m.add(tasksEnded, 1, firstWord(what), state)
	}
}

// firstWord leaves out what would make a label without bound: the names of the
// databases.
func firstWord(what string) string {
	what, _, _ = strings.Cut(what, " ")
	what, _, _ = strings.Cut(what, "(")
	return strings.ToValidUTF8(what, "\uFFFD")
}

// Error is Data's.
func (m *Metrics) Error(mirror, sqlstate string) { m.add(errorsSeen, 1, mirror, class(sqlstate)) }

// class is the class of a SQLSTATE, two digits or upper case letters; XX of
// what is none.
func class(sqlstate string) string {
	if len(sqlstate) != 5 {
		return "XX"
	}
	for _, c := range sqlstate[:2] {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return "XX"
		}
	}
	return sqlstate[:2]
}

// DropMirror is Data's.
func (m *Metrics) DropMirror(mirror string) {
	if m == nil {
		return
	}
	with := prometheus.Labels{"mirror": strings.ToValidUTF8(mirror, "\uFFFD")}
	for _, v := range m.counters {
		v.DeletePartialMatch(with)
	}
	for _, v := range m.gauges {
		v.DeletePartialMatch(with)
	}
	for _, v := range m.histograms {
		v.DeletePartialMatch(with)
	}
	m.board.drop(mirror)
}
