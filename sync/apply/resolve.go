package apply

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// resolver finds the target of a relation once for each of its shapes.
type resolver struct {
	a     *Applier
	ctx   context.Context // of Run
	ask   sync.Mutex      // Tables.Find is called by one goroutine at a time
	mu    sync.Mutex
	found map[uint32][]*resolved // by OID of the relation
}

// resolved is what Find answered for one relation.
type resolved struct {
	relation *stream.Relation
	target   *Target
	asked    int64 // number of stops when it was asked for: later ones hold for it
}

// shapesKept bounds the shapes that are remembered of one relation: streamed
// transactions may use an old one and a new one in turn.
const shapesKept = 8

func newResolver(a *Applier) *resolver {
	return &resolver{a: a, found: map[uint32][]*resolved{}}
}

// begin says whose end ends the waiting for answers.
func (r *resolver) begin(ctx context.Context) {
	r.ask.Lock()
	defer r.ask.Unlock()
	r.ctx = ctx
}

func (r *resolver) forget(oid uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.found, oid)
}

func (r *resolver) known(relation *stream.Relation) *resolved {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.found[relation.OID] {
		if f.relation == relation {
			return f
		}
	}
	return nil
}

func (r *resolver) find(relation *stream.Relation, at stream.LSN) (*resolved, error) {
	if f := r.known(relation); f != nil {
		return f, nil
	}
	r.ask.Lock()
	defer r.ask.Unlock()
	if f := r.known(relation); f != nil {
		return f, nil
	}
	f := &resolved{relation: relation, asked: r.a.stops.count.Load()}
	err := r.a.persist(r.ctx, func(ctx context.Context) (err error) {
		f.target, err = r.a.options.Tables.Find(ctx, relation, at)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	shapes := append(r.found[relation.OID], f)
	r.found[relation.OID] = shapes[max(0, len(shapes)-shapesKept):]
	return f, nil
}

// resolution is what a transaction's relations are resolved to, the same for
// every shard and every time it is read.
type resolution struct {
	resolver *resolver
	shards   int
	finalLSN stream.LSN

	completed map[int]stream.Tuple // rows that move, by the number of their change in the transaction

	last atomic.Pointer[resolved] // most changes are of the same relation as the one before
	mu   sync.Mutex
	all  []*resolved
}

// resolve finds the target of a relation. It is nil for one whose changes are
// left out: by Find, or by its gate. Tables that were stopped are others' to
// leave out.
func (n *resolution) resolve(relation *stream.Relation) (*resolved, error) {
	if l := n.last.Load(); l != nil && l.relation == relation {
		return l, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.all {
		if f.relation == relation {
			n.last.Store(f)
			return f, nil
		}
	}
	f, err := n.resolver.find(relation, n.finalLSN)
	if err != nil {
		return nil, err
	}
	if t := f.target; t != nil && (n.finalLSN < t.From || t.Until != 0 && n.finalLSN >= t.Until) {
		f = &resolved{relation: relation}
	}
	n.all = append(n.all, f)
	n.last.Store(f)
	return f, nil
}
