package mirror

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// journal writes what becomes of a task to the destination's shard 0, over a
// connection of its own. Everything it writes may be written twice, so a lost
// connection is opened anew and the write repeated.
//
// Events of statements are collected and written together by one goroutine,
// which start starts and close stops: the workers never wait for the journal.
type journal struct {
	open     func(context.Context) (*pgx.Conn, error)
	mirrorID int32
	task     int64
	phase    string
	part     state.Part // whose subtasks it speaks for

	writing sync.Mutex // guards conn
	conn    *pgx.Conn

	mu       sync.Mutex
	newest   map[place]state.Change
	states   map[place]schema.State
	counters map[int]state.Counter
	failures []error

	wake chan struct{}
	end  chan struct{}
	done sync.WaitGroup
}

// place is a statement's place in the durable table.
type place struct{ shard, ordinal int }

// writeTime bounds one write, with the attempts to reach the server again.
const writeTime = 60 * time.Second

// flushInterval is the least time between two writes of events: what becomes of
// a statement meanwhile is written once, and the server has its time for the
// statements themselves.
const flushInterval = 200 * time.Millisecond

// reopenDelay is the pause between two attempts to reach the server.
const reopenDelay = time.Second

func newJournal(open func(context.Context) (*pgx.Conn, error), conn *pgx.Conn, mirrorID int32, task int64, phase string) *journal {
	return &journal{
		open: open, conn: conn, mirrorID: mirrorID, task: task, phase: phase,
		newest: map[place]state.Change{}, states: map[place]schema.State{}, counters: map[int]state.Counter{},
		wake: make(chan struct{}, 1), end: make(chan struct{}),
	}
}

// start starts the goroutine that writes events.
func (j *journal) start(ctx context.Context) {
	ctx = context.WithoutCancel(ctx) // what happened is recorded even after a stop
	j.done.Go(func() {
		for {
			select {
			case <-j.wake:
				j.flush(ctx)
			case <-j.end:
				j.flush(ctx)
				return
			}
			select {
			case <-time.After(flushInterval):
			case <-j.end: // the next turn flushes and ends
			}
		}
	})
}

// close writes what is left and closes the connection. It gives the first
// error that kept something from being recorded.
func (j *journal) close(ctx context.Context) error {
	close(j.end)
	j.done.Wait()
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.conn != nil {
		_ = j.conn.Close(context.WithoutCancel(ctx))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.failures) > 0 {
		return fmt.Errorf("record the task: %w", j.failures[0])
	}
	return nil
}

// write runs one write, on a new connection when the old one is lost. ctx is
// not cancelled by a stop of the task: see start.
func (j *journal) write(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	j.writing.Lock()
	defer j.writing.Unlock()
	for {
		err := error(nil)
		if j.conn == nil || j.conn.IsClosed() {
			j.conn, err = j.open(ctx)
		}
		if err == nil {
			if err = do(ctx, j.conn); err == nil {
				return nil
			}
		}
		if !pgerror.IsConnectionLost(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(reopenDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// event takes a statement's change of state. It never blocks on the server.
func (j *journal) event(e schema.Event) {
	j.mu.Lock()
	at := place{e.Statement.Shard, e.Statement.Ordinal}
	next, err := j.states[at].To(e.State)
	if err != nil {
		j.failures = append(j.failures, err)
	}
	j.states[at] = next
	change := j.newest[at]
	change.Shard, change.Ordinal, change.State, change.Attempts = at.shard, at.ordinal, string(e.State), e.Attempt
	change.Backend, change.Error, change.FinishedAt = int64(e.Backend), e.Err, nil
	counter := j.counters[at.shard]
	switch e.State {
	case schema.StateRunning:
		if change.StartedAt == nil || e.Attempt == 1 {
			change.StartedAt = &e.At
		}
	case schema.StateDone:
		change.FinishedAt = &e.At
		counter.Done++
	case schema.StateFailed:
		change.FinishedAt = &e.At
		counter.Done++
		counter.Failed++
	}
	j.newest[at], j.counters[at.shard] = change, counter
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// flush writes the newest state of every statement that changed. The changes
// are taken once the connection is free, so that a plan recorded meanwhile is
// not overwritten by what was before it.
func (j *journal) flush(ctx context.Context) {
	var changes []state.Change
	var counters map[int]state.Counter
	err := j.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if changes == nil {
			changes, counters = j.take()
		}
		if len(changes) == 0 {
			return nil
		}
		return state.ApplyChanges(ctx, conn, j.mirrorID, j.task, j.phase, changes, counters)
	})
	if err != nil {
		j.mu.Lock()
		j.failures = append(j.failures, err)
		j.mu.Unlock()
	}
}

func (j *journal) take() ([]state.Change, map[int]state.Counter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	changes := make([]state.Change, 0, len(j.newest))
	counters := map[int]state.Counter{}
	for _, c := range j.newest {
		changes = append(changes, c)
		counters[c.Shard] = j.counters[c.Shard]
	}
	j.newest = map[place]state.Change{}
	return changes, counters
}

// plan records a shard's statements in place of those of an earlier run, and
// what is known of them already.
func (j *journal) plan(ctx context.Context, shard int, rows []state.Statement) error {
	j.mu.Lock()
	var counter state.Counter
	for at := range j.states {
		if at.shard == shard {
			delete(j.states, at)
			delete(j.newest, at)
		}
	}
	for _, r := range rows {
		current := schema.State(r.State)
		j.states[place{shard, r.Ordinal}] = current
		if current != schema.StatePending {
			counter.Done++
		}
		if current == schema.StateFailed {
			counter.Failed++
		}
	}
	j.counters[shard] = counter
	j.mu.Unlock()
	return j.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.PutStatements(ctx, conn, j.mirrorID, j.task, j.phase, shard, rows)
	})
}

// inner records what the task is doing.
func (j *journal) inner(ctx context.Context, what string) error {
	return j.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.SetInner(ctx, conn, j.task, what, j.part)
	})
}

// failed is how many statements have failed so far.
func (j *journal) failed() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n int64
	for _, c := range j.counters {
		n += c.Failed
	}
	return n
}
