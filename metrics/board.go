package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// board holds what a look at servers has found. A look replaces it whole, so
// that a scrape never meets half of one, and what is gone has no series.
type board struct {
	descriptions map[*definition]*prometheus.Desc

	mu     sync.Mutex
	slots  []Slot
	mirror map[string]Mirror          // by name
	states []string                   // that a mirror can have
	tables map[shardOf]map[string]int // by state
	schema map[string][]SchemaStatus  // by mirror
}

type shardOf struct {
	mirror string
	shard  int
}

func newBoard(namespace string) *board {
	b := &board{descriptions: map[*definition]*prometheus.Desc{}, tables: map[shardOf]map[string]int{}, mirror: map[string]Mirror{}, schema: map[string][]SchemaStatus{}}
	for _, d := range definitions {
		if d.looked {
			b.descriptions[d] = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", d.name), d.help, d.labels, nil)
		}
	}
	return b
}

// Tables is Data's. States that are left out have no tables.
func (m *Metrics) Tables(mirror string, shard int, states map[string]int) {
	if m == nil {
		return
	}
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	m.board.tables[shardOf{mirror, shard}] = maps.Clone(states)
}

// Schema is Data's.
func (m *Metrics) Schema(mirror string, tables []SchemaStatus) {
	if m == nil {
		return
	}
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	m.board.schema[mirror] = slices.Clone(tables)
}

// Mirrors tells what mirrors are to do, of the states that there are. If that is
// all of them, the others are gone; else they are as they were.
func (m *Metrics) Mirrors(mirrors []Mirror, states []string, all bool) {
	if m == nil {
		return
	}
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	m.board.states = states
	next := map[string]Mirror{}
	if !all {
		maps.Copy(next, m.board.mirror)
	}
	for _, row := range mirrors {
		next[row.Name] = row
	}
	m.board.mirror = next
}

// Slots replaces what is known of slots: those that are gone have no metrics.
// Of two with the same database and name the first counts.
func (m *Metrics) Slots(slots []Slot) {
	if m == nil {
		return
	}
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	m.board.slots = nil
	known := map[[2]string]bool{}
	for _, s := range slots {
		if key := [2]string{s.Database, s.Name}; !known[key] {
			known[key] = true
			m.board.slots = append(m.board.slots, s)
		}
	}
}

// LookFailure counts a look that has not seen everything.
func (m *Metrics) LookFailure() { m.add(lookFailures, 1) }

// drop forgets a mirror. Its slots are gone with the next look, or orphans.
func (b *board) drop(mirror string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.tables, func(at shardOf, _ map[string]int) bool { return at.mirror == mirror })
	delete(b.schema, mirror)
	b.mirror = maps.Clone(b.mirror)
	delete(b.mirror, mirror)
	b.slots = slices.DeleteFunc(slices.Clone(b.slots), func(s Slot) bool { return s.Mirror == mirror && mirror != "" })
}

// Describe is prometheus.Collector's.
func (b *board) Describe(out chan<- *prometheus.Desc) {
	for _, d := range b.descriptions {
		out <- d
	}
}

// Collect is prometheus.Collector's.
func (b *board) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	slots, found, compared, mirrors, states := b.slots, maps.Clone(b.tables), maps.Clone(b.schema), b.mirror, b.states
	b.mu.Unlock()
	send := func(d *definition, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(b.descriptions[d], prometheus.GaugeValue, v, text(labels)...)
	}
	for name, mirror := range mirrors {
		for _, state := range states {
			send(mirrorState, truth(state == mirror.State), name, state)
		}
		send(mirrorAttended, truth(mirror.Attended), name)
	}
	for at, states := range found {
		for state, n := range states {
			send(tables, float64(n), at.mirror, number(at.shard), state)
		}
	}
	for mirror, statuses := range compared {
		blocked := map[string]int{}
		for _, s := range statuses {
			send(schemaStatus, float64(s.Level), mirror, s.Schema, s.Table)
			if s.Level == SchemaBlocked {
				blocked[s.Reason]++
			}
		}
		for reason, n := range blocked {
			send(schemaBlocked, float64(n), mirror, reason)
		}
	}
	orphans := map[string]int{}
	for _, s := range slots {
		at := []string{s.Database, s.Name, s.Mirror, number(s.Shard)}
		send(slotRetained, float64(s.RetainedBytes), at...)
		if s.SafeBytes != nil {
			send(slotSafe, float64(*s.SafeBytes), at...)
		}
		send(slotActive, truth(s.Active), at...)
		send(slotLost, truth(s.Lost), at...)
		database := strings.ToValidUTF8(s.Database, "\uFFFD")
		orphans[database] += int(truth(s.Mirror == ""))
	}
	for database, n := range orphans {
		send(slotOrphans, float64(n), database)
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
