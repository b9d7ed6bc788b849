package schema

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// randomPlan draws statements whose requirements lie before them, as those of
// Build do.
func randomPlan(t *rapid.T) []*Statement {
	n := rapid.IntRange(0, 60).Draw(t, "statements")
	relations := rapid.IntRange(1, 5).Draw(t, "relations")
	out := make([]*Statement, n)
	for i := range out {
		st := &Statement{
			Ordinal: i + 1,
			SQL:     "SELECT",
			Outcome: rapid.SampledFrom([]Outcome{ToRun, ToRun, ToRun, ToRun, Existed, Differs}).Draw(t, "outcome"),
			Serial:  rapid.IntRange(0, 3).Draw(t, "serial") == 0,
			Barrier: rapid.IntRange(0, 9).Draw(t, "barrier") == 0,
		}
		st.AfterSerial = !st.Serial && rapid.Bool().Draw(t, "after serial")
		st.NoTransaction = rapid.IntRange(0, 9).Draw(t, "no transaction") == 0
		if rapid.IntRange(0, 3).Draw(t, "has weight") == 0 {
			st.Weight = rapid.Int64Range(1, 100).Draw(t, "weight")
		}
		for range rapid.IntRange(0, 2).Draw(t, "locks") {
			name := catalog.Name{Schema: "s", Name: fmt.Sprint(rapid.IntRange(1, relations).Draw(t, "relation"))}
			if rapid.IntRange(0, 9).Draw(t, "anonymous") == 0 {
				name = catalog.Name{}
			}
			st.Locks = append(st.Locks, RelationLock{name, LockMode(rapid.IntRange(int(NoLock), int(AccessExclusive)).Draw(t, "mode"))})
		}
		for range rapid.IntRange(0, min(3, i)).Draw(t, "requires") {
			st.Requires = append(st.Requires, rapid.IntRange(1, i).Draw(t, "required"))
		}
		out[i] = st
	}
	return out
}

// observer checks what a scheduler deals out against what it promises.
type observer struct {
	plan     []*Statement
	dealt    map[int]int
	finished map[int]bool
	inFlight map[int][]*Statement
}

func newObserver(plan []*Statement) *observer {
	o := &observer{plan: plan, dealt: map[int]int{}, finished: map[int]bool{}, inFlight: map[int][]*Statement{}}
	for _, st := range plan {
		if st.Outcome != ToRun {
			o.finished[st.Ordinal] = true
		}
	}
	return o
}

// take checks a batch that is dealt out; "" is right.
func (o *observer) take(batch []*Statement, ticket int) string {
	if _, used := o.inFlight[ticket]; used || ticket == 0 {
		return fmt.Sprintf("ticket %d is no new one", ticket)
	}
	if !slices.IsSortedFunc(batch, func(a, b *Statement) int { return a.Ordinal - b.Ordinal }) {
		return "a batch is not in the plan's order"
	}
	if len(batch) > batchStatements {
		return fmt.Sprintf("a batch has %d statements", len(batch))
	}
	before := map[int]bool{} // in the batch, before the statement
	for _, st := range batch {
		switch {
		case st.Outcome != ToRun:
			return fmt.Sprintf("%d is dealt out, and there is nothing to run", st.Ordinal)
		case st.heavy() && len(batch) > 1:
			return fmt.Sprintf("%d is heavy and in a batch", st.Ordinal)
		}
		if o.dealt[st.Ordinal]++; o.dealt[st.Ordinal] > 1 {
			return fmt.Sprintf("%d is dealt out twice", st.Ordinal)
		}
		if wrong := o.tooEarly(st, before); wrong != "" {
			return wrong
		}
		before[st.Ordinal] = true
	}
	if wrong := o.conflicts(batch); wrong != "" {
		return wrong
	}
	o.inFlight[ticket] = batch
	return ""
}

// tooEarly tells what has to come before a statement and has not.
func (o *observer) tooEarly(st *Statement, before map[int]bool) string {
	for _, ordinal := range st.Requires {
		if !o.finished[ordinal] && !before[ordinal] {
			return fmt.Sprintf("%d is dealt out before %d, which it requires", st.Ordinal, ordinal)
		}
	}
	for _, earlier := range o.plan[:st.Ordinal-1] {
		if o.finished[earlier.Ordinal] || before[earlier.Ordinal] {
			continue
		}
		if st.Barrier || earlier.Serial && (st.Serial || st.AfterSerial) {
			return fmt.Sprintf("%d (%t %t %t) is dealt out before %d", st.Ordinal, st.Serial, st.AfterSerial, st.Barrier, earlier.Ordinal)
		}
	}
	return ""
}

func (o *observer) conflicts(batch []*Statement) string {
	for _, other := range o.inFlight {
		for _, a := range batch {
			for _, b := range other {
				for _, x := range a.Locks {
					for _, y := range b.Locks {
						if x.Relation == y.Relation && x.Relation.Name != "" && x.Mode.Conflicts(y.Mode) {
							return fmt.Sprintf("%d needs %s on %s, %d in flight has %s", a.Ordinal, x.Mode, x.Relation, b.Ordinal, y.Mode)
						}
					}
				}
			}
		}
	}
	return ""
}

func (o *observer) finish(ticket int) {
	for _, st := range o.inFlight[ticket] {
		o.finished[st.Ordinal] = true
	}
	delete(o.inFlight, ticket)
}

// complete tells what was never dealt out.
func (o *observer) complete() string {
	for _, st := range o.plan {
		if st.Outcome == ToRun && o.dealt[st.Ordinal] != 1 {
			return fmt.Sprintf("%d is never dealt out", st.Ordinal)
		}
	}
	return ""
}

// TestSchedulerKeepsItsPromises deals plans out to several simulated workers,
// in any order of taking and finishing.
func TestSchedulerKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plan := randomPlan(t)
		workers := rapid.IntRange(1, 4).Draw(t, "workers")
		s, o := newScheduler(plan, nil), newObserver(plan)
		for len(s.waiting) > 0 || len(o.inFlight) > 0 {
			ready := len(s.waiting) > 0 && len(o.inFlight) < workers && len(s.pick()) > 0
			switch {
			case ready && (len(o.inFlight) == 0 || rapid.Bool().Draw(t, "take")):
				batch, ticket := s.take(t.Context()) // does not wait: there is something
				if wrong := o.take(batch, ticket); wrong != "" {
					t.Fatal(wrong)
				}
			case len(o.inFlight) > 0:
				tickets := make([]int, 0, len(o.inFlight))
				for ticket := range o.inFlight {
					tickets = append(tickets, ticket)
				}
				slices.Sort(tickets)
				ticket := rapid.SampledFrom(tickets).Draw(t, "finish")
				s.finish(ticket)
				o.finish(ticket)
			default:
				t.Fatalf("nothing is in flight, %d statements wait, and none can run", len(s.waiting))
			}
		}
		if wrong := o.complete(); wrong != "" {
			t.Fatal(wrong)
		}
		if len(s.held) > 0 || s.heavy != 0 {
			t.Fatalf("all has ended, and %d relations are held, %d heavy statements counted", len(s.held), s.heavy)
		}
		if batch, _ := s.take(t.Context()); batch != nil {
			t.Fatal("something is dealt out after the end")
		}
	})
}

// TestSchedulerServesWorkers does the same with goroutines.
func TestSchedulerServesWorkers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	rapid.Check(t, func(t *rapid.T) {
		plan := randomPlan(t)
		s, o := newScheduler(plan, nil), newObserver(plan)
		var mu sync.Mutex // guards o and wrong
		var wrong []string
		var workers sync.WaitGroup
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			workers.Go(func() {
				for {
					batch, ticket := s.take(t.Context())
					if batch == nil {
						return
					}
					mu.Lock()
					if w := o.take(batch, ticket); w != "" {
						wrong = append(wrong, w)
					}
					mu.Unlock()
					runtime.Gosched()
					mu.Lock()
					o.finish(ticket) // before the scheduler lets others follow
					mu.Unlock()
					s.finish(ticket)
				}
			})
		}
		workers.Wait()
		if w := o.complete(); w != "" {
			wrong = append(wrong, w)
		}
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
	})
}

// blocked is a plan whose second statement waits for the first.
func blocked() *scheduler {
	return newScheduler([]*Statement{{Ordinal: 1, Weight: 1}, {Ordinal: 2, Weight: 1, Requires: []int{1}}}, nil)
}

func TestSchedulerStopWakesWhoWaits(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	for name, end := range map[string]func(*scheduler){
		"stop":    (*scheduler).stop,
		"context": func(*scheduler) { cancel() },
	} {
		s := blocked()
		if batch, _ := s.take(ctx); len(batch) != 1 {
			t.Fatalf("%s: the first statement is not dealt out", name)
		}
		got := make(chan []*Statement)
		go func() {
			batch, _ := s.take(ctx)
			got <- batch
		}()
		end(s)
		if batch := <-got; batch != nil {
			t.Errorf("%s: %d is dealt out", name, batch[0].Ordinal)
		}
		if batch, _ := s.take(ctx); batch != nil {
			t.Errorf("%s: a later take gives %d", name, batch[0].Ordinal)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
}

func TestSchedulerBatches(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", batchBytes/2+1)
	var plan []*Statement
	for i := range 300 {
		plan = append(plan, &Statement{Ordinal: i + 1, SQL: "x"})
	}
	for i := range 3 {
		plan = append(plan, &Statement{Ordinal: 301 + i, SQL: large, Requires: []int{300}})
	}
	plan = append(plan, &Statement{Ordinal: 304, Weight: 5}, &Statement{Ordinal: 305, Weight: 9})
	s := newScheduler(plan, nil)
	var got []string
	for {
		batch, ticket := s.take(t.Context())
		if batch == nil {
			break
		}
		got = append(got, fmt.Sprintf("%d-%d", batch[0].Ordinal, batch[len(batch)-1].Ordinal))
		s.finish(ticket)
	}
	// The heaviest first; then what is cheap, bounded by number and by size.
	want := []string{"305-305", "304-304", "1-128", "129-256", "257-302", "303-303"}
	if !slices.Equal(got, want) {
		t.Errorf("batches are %v, want %v", got, want)
	}
}
