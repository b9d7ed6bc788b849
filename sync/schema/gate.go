package schema

import (
	"sync"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Gate holds back the statements on tables whose rows are still on their way:
// indexes and keys are built as soon as a table is complete, while others are
// still being copied. Several runners, one per shard, may share a gate.
type Gate struct {
	mu      sync.Mutex
	closed  map[catalog.Name]bool
	weights map[catalog.Name]int64
	waiting map[*scheduler]bool
}

// NewGate makes a gate that is closed for the given tables. weights are the
// bytes each will hold when it opens: what the tables hold when the plan is
// made says nothing.
func NewGate(weights map[catalog.Name]int64) *Gate {
	g := &Gate{closed: map[catalog.Name]bool{}, weights: weights, waiting: map[*scheduler]bool{}}
	for table := range weights {
		g.closed[table] = true
	}
	return g
}

// Open lets the statements on a table go. It may be called more than once.
func (g *Gate) Open(table catalog.Name) {
	g.mu.Lock()
	delete(g.closed, table)
	waiting := make([]*scheduler, 0, len(g.waiting))
	for s := range g.waiting {
		waiting = append(waiting, s)
	}
	g.mu.Unlock()
	for _, s := range waiting {
		s.wake()
	}
}

// holds tells whether a statement has to wait for a table.
func (g *Gate) holds(st *Statement) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.closed) == 0 {
		return false
	}
	for _, lock := range st.Locks {
		if g.closed[lock.Relation] {
			return true
		}
	}
	return st.Table != "" && g.closed[catalog.Name{Schema: st.Schema, Name: st.Table}]
}

// Holds tells whether a table is being filled: the gate has or had it.
func (g *Gate) Holds(table catalog.Name) bool {
	if g == nil {
		return false
	}
	_, ok := g.weights[table]
	return ok
}

// weight is how many bytes a table will hold, 0 if the gate knows nothing of it.
func (g *Gate) weight(table catalog.Name) int64 {
	if g == nil {
		return 0
	}
	return g.weights[table]
}

func (g *Gate) join(s *scheduler) {
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.waiting[s] = true
	}
}

func (g *Gate) leave(s *scheduler) {
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.waiting, s)
	}
}
