// Package metrics counts what the engine does, for Prometheus.
//
// Every metric is a row of the table in table.go: the collectors, Describe and
// the reference are made from it. There are counters, gauges and histograms,
// never averages. Labels are bounded by the configuration: a mirror, a shard, a
// slot, a state; never a table's name or a text of a user's.
//
// The engine knows the interface Data alone. A nil *Metrics is one that takes
// everything and does nothing: at the command line nobody scrapes.
package metrics
