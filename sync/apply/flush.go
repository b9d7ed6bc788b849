package apply

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// confirms tells the source what every shard has recorded and flushed.
type confirms struct {
	mu        sync.Mutex
	source    Source
	safe      []stream.LSN // by shard
	confirmed stream.LSN
	divided   []span // transactions that are applied in parts
}

// span is from where the commit record of a transaction begins to its end.
type span struct{ final, end stream.LSN }

func (c *confirms) begin(source Source, shards int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source, c.safe, c.confirmed, c.divided = source, make([]stream.LSN, shards), 0, nil
}

// divide notes a transaction that is applied in parts: between them the slot
// has to keep it whole.
func (c *confirms) divide(final, end stream.LSN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.divided = append(c.divided, span{final, end})
}

// whole gives the position up to which whole transactions are safe, 0 if that is
// not known.
func (c *confirms) whole(lsn stream.LSN) stream.LSN {
	for len(c.divided) > 0 && c.divided[0].end <= lsn {
		c.divided = c.divided[1:]
	}
	if len(c.divided) > 0 && c.divided[0].final < lsn {
		return c.divided[0].final
	}
	if Between(lsn) {
		return 0 // of an earlier Run; the transaction comes again
	}
	return lsn
}

func (c *confirms) report(shard int, lsn stream.LSN) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.safe[shard] = max(c.safe[shard], lsn)
	least := c.safe[0]
	for _, s := range c.safe {
		least = min(least, s)
	}
	if least = c.whole(least); least > c.confirmed {
		c.confirmed = least
		c.source.Confirm(least)
	}
}

// pollInterval is how often an idle worker looks whether the destination has
// flushed its last commits; the WAL writer takes up to three wal_writer_delay,
// 0.6 s, for that.
const pollInterval = 100 * time.Millisecond

// wake is when there is something to do without any event.
func (w *worker) wake() time.Duration {
	switch {
	case len(w.flights) > 0:
		return time.Hour
	case len(w.open.items) > 0:
		return w.linger()
	case len(w.unflushed) > 0:
		return pollInterval
	case w.at > w.committed:
		return max(0, min(pollInterval*10, time.Until(w.recorded.Add(w.a.options.MarkInterval))))
	}
	return time.Hour
}

// tick records a position that has got old and asks how far the destination is.
func (w *worker) tick(ctx context.Context) error {
	if len(w.flights) > 0 || len(w.open.items) > 0 {
		return nil
	}
	if w.at > w.committed && (time.Since(w.recorded) >= w.a.options.MarkInterval || int64(w.at-w.committed) >= w.a.options.MarkBytes) {
		return w.mark(ctx)
	}
	if len(w.unflushed) > 0 {
		w.submit(&flight{group: &group{}, poll: true})
	}
	return nil
}

// mark records the position; nothing is in flight.
func (w *worker) mark(ctx context.Context) error {
	return w.recordNow(ctx, &group{end: w.at})
}

// recordNow applies a group that is nothing but a position.
func (w *worker) recordNow(ctx context.Context, g *group) error {
	w.exec.stop()
	w.exec = nil
	for g.end > w.committed || g.sync && !g.committed {
		g.end = max(g.end, w.committed) // a step may have moved it
		err := w.runGroup(ctx, g)
		if err != nil && !errors.Is(err, errRestart) {
			return err
		}
	}
	w.restart()
	return nil
}

// finish ends a Run cleanly: what is in flight is waited for, and the last
// position is flushed, which flushes everything before it.
func (w *worker) finish(ctx context.Context) error {
	for len(w.flights) > 0 {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	end := w.committed
	if !w.discard {
		end = max(end, w.at)
	} else if len(w.open.items) == 0 && len(w.sealed) == 0 && w.next == len(w.pending) {
		end = max(end, w.at)
	}
	if end == w.committed && len(w.unflushed) == 0 {
		return nil
	}
	err := w.recordNow(ctx, &group{end: end, sync: true})
	if errors.Is(err, errStopped) {
		w.a.log.Warn("the last position could not be flushed; it will be looked up at the next start", "destination", w.place)
	}
	return err
}

func (q *queue) discarded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.discard
}
