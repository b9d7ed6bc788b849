package schema

import (
	"context"
	"slices"
	"sync"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// A batch is at most this many cheap statements, or this many bytes of SQL: the
// whole batch is written before the first answer is read, so it must fit into
// the sockets' buffers together with its answers.
const (
	batchStatements = 128
	batchBytes      = 128 << 10
)

// scheduler deals out the statements of a plan to workers: those whose
// requirements are done and whose locks no statement in flight holds. Heavy
// statements go out one by one, the heaviest first; cheap ones in batches, in
// the plan's order, to be run in one transaction.
//
// It is safe for concurrent use.
type scheduler struct {
	mu       sync.Mutex
	changed  *sync.Cond
	waiting  []*Statement                               // not yet dealt out, in the plan's order
	finished map[int]bool                               // ordinals
	inFlight map[int][]*Statement                       // by ticket
	held     map[catalog.Name]*[AccessExclusive + 1]int // locks in flight, counted by mode
	heavy    int                                        // heavy statements among waiting
	tickets  int
	stopped  bool
	gate     *Gate // nil holds nothing back
}

func newScheduler(statements []*Statement, gate *Gate) *scheduler {
	s := &scheduler{gate: gate, finished: map[int]bool{}, inFlight: map[int][]*Statement{}, held: map[catalog.Name]*[AccessExclusive + 1]int{}}
	s.changed = sync.NewCond(&s.mu)
	for _, st := range statements {
		if st.Outcome == ToRun {
			s.waiting = append(s.waiting, st)
			if st.heavy() {
				s.heavy++
			}
		} else {
			s.finished[st.Ordinal] = true
		}
	}
	return s
}

// take waits until there is something to run and gives it with a ticket to
// hand back to finish. It gives nil when all is dealt out, the scheduler was
// stopped, or ctx has ended.
func (s *scheduler) take(ctx context.Context) (batch []*Statement, ticket int) {
	wake := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer wake()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.stopped || len(s.waiting) == 0 || ctx.Err() != nil {
			return nil, 0
		}
		if batch = s.pick(); len(batch) > 0 {
			s.tickets++
			s.inFlight[s.tickets] = batch
			s.remove(batch)
			s.hold(batch, 1)
			return batch, s.tickets
		}
		s.changed.Wait()
	}
}

// finish says that a batch has ended, well or badly.
func (s *scheduler) finish(ticket int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.inFlight[ticket] {
		s.finished[st.Ordinal] = true
	}
	s.hold(s.inFlight[ticket], -1)
	delete(s.inFlight, ticket)
	s.changed.Broadcast()
}

// wake makes those who wait look again: the gate has opened for a table.
func (s *scheduler) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// stop makes every take give nil from now on.
func (s *scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.changed.Broadcast()
}

// pick chooses what to run next: the heaviest statement that can run, else a
// batch of cheap ones.
func (s *scheduler) pick() []*Statement {
	var heaviest *Statement
	var batch []*Statement
	bytes, chosen := 0, map[int]bool{}
	serialBlocked, allBefore := s.serialInFlight(), len(s.inFlight) == 0
	for _, st := range s.waiting {
		full := len(batch) == batchStatements || bytes > batchBytes
		if full && s.heavy == 0 {
			break
		}
		tooEarly := s.gate.holds(st) || (st.Serial || st.AfterSerial) && serialBlocked || st.Barrier && !allBefore
		ready := !tooEarly && s.free(st)
		switch {
		case ready && st.heavy():
			if s.required(st, nil) && (heaviest == nil || st.Weight > heaviest.Weight) && !comesAfter(st, batch) {
				heaviest = st
			}
		case ready && !full && s.required(st, chosen):
			batch = append(batch, st)
			chosen[st.Ordinal] = true
			bytes += len(st.SQL)
			continue
		}
		// st stays behind: what has to come after it does too.
		serialBlocked = serialBlocked || st.Serial
		allBefore = false
	}
	if heaviest != nil {
		return []*Statement{heaviest}
	}
	return batch
}

// comesAfter tells whether something of a batch, which st would run without, has
// to come before st.
func comesAfter(st *Statement, batch []*Statement) bool {
	return st.Barrier && len(batch) > 0 ||
		(st.Serial || st.AfterSerial) && slices.ContainsFunc(batch, func(b *Statement) bool { return b.Serial })
}

func (s *scheduler) serialInFlight() bool {
	for _, batch := range s.inFlight {
		for _, st := range batch {
			if st.Serial {
				return true
			}
		}
	}
	return false
}

// required tells whether everything st needs is done, or precedes it in the
// batch that is being put together.
func (s *scheduler) required(st *Statement, chosen map[int]bool) bool {
	for _, ordinal := range st.Requires {
		if !s.finished[ordinal] && !chosen[ordinal] {
			return false
		}
	}
	return true
}

// free tells whether no statement in flight holds a lock that st would wait for.
func (s *scheduler) free(st *Statement) bool {
	for _, lock := range st.Locks {
		held := s.held[lock.Relation]
		if held == nil {
			continue
		}
		for mode, n := range held {
			if n > 0 && lock.Mode.Conflicts(LockMode(mode)) {
				return false
			}
		}
	}
	return true
}

// hold counts the locks of a batch in, or out again.
func (s *scheduler) hold(batch []*Statement, n int) {
	for _, st := range batch {
		for _, lock := range st.Locks {
			if lock.Relation == (catalog.Name{}) {
				continue
			}
			held := s.held[lock.Relation]
			if held == nil {
				held = new([AccessExclusive + 1]int)
				s.held[lock.Relation] = held
			}
			held[lock.Mode] += n
			if *held == ([AccessExclusive + 1]int{}) {
				delete(s.held, lock.Relation)
			}
		}
	}
}

func (s *scheduler) remove(batch []*Statement) {
	taken := make(map[*Statement]bool, len(batch))
	for _, st := range batch {
		taken[st] = true
		if st.heavy() {
			s.heavy--
		}
	}
	rest := s.waiting[:0]
	for _, st := range s.waiting {
		if !taken[st] {
			rest = append(rest, st)
		}
	}
	s.waiting = rest
}
