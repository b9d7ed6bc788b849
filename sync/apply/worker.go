package apply

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// worker applies to one destination shard. All but its queue and its stats
// belong to the goroutine of run.
//
//	queue → pending → open group → flights (executor) → committed → flushed
//
// While one flight is executed the next may wait behind it, and a third group
// is being filled.
type worker struct {
	a      *Applier
	shard  int
	server config.Server
	place  string
	queue  *queue
	stats  *workerStats

	session       *session
	exec          *executor
	build         *builder
	pid           uint32 // of the last backend, which may outlive its connection
	stopInterrupt func() bool

	pending []*item
	next    int // of pending
	ended   bool
	discard bool

	open      *group
	sealed    []*group   // not committed yet, oldest first; without large ones
	flights   []*flight  // given to the executor, oldest first
	at        stream.LSN // everything before is in a group, or committed, or of no concern here
	submitted stream.LSN // position that the last submitted group records
	committed stream.LSN // recorded position
	recorded  time.Time
	stamp     int // changes when a table is stopped by this worker
	failures  int // in a row
	unflushed []commit
	caution   map[*Target]*caution
	carries   atomic.Bool // the dispatcher has left rows on the shard

	scripts []*script
	chunks  []*chunk
}

// inFlight is how many flights the executor has at most: one that runs, one
// that waits.
const inFlight = 2

func newWorker(a *Applier, shard int) *worker {
	server := a.options.Destinations[shard]
	a.stats[shard].begin()
	return &worker{
		a: a, shard: shard, server: server, place: connect.Place(server), stats: a.stats[shard],
		queue: newQueue(2*a.options.GroupRows, 2*a.options.GroupBytes), caution: map[*Target]*caution{}, open: &group{},
	}
}

// run applies what is in the queue until it has ended. Errors are final.
func (w *worker) run(ctx context.Context) (err error) {
	defer w.letGo()
	defer func() {
		if errors.Is(err, errStopped) {
			err = nil
		}
	}()
	if err := w.connectAtLast(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		err := w.advance(ctx)
		if errors.Is(err, errStopped) && w.exec != nil {
			err = w.abandonLarge(ctx)
		}
		if err != nil {
			return err
		}
		if w.discard || w.ended && w.idle() {
			return w.finish(ctx)
		}
		timer.Reset(w.wake())
		select {
		case <-w.queue.changed:
		case o := <-w.exec.out:
			if err := w.handle(ctx, o); err != nil {
				return err
			}
		case <-timer.C:
			if err := w.tick(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// idle tells whether nothing is left to do.
func (w *worker) idle() bool {
	return w.next == len(w.pending) && len(w.open.items) == 0 && len(w.flights) == 0
}

// advance takes what is in the queue, fills groups, and hands one over when it
// is full or the executor has nothing to do.
func (w *worker) advance(ctx context.Context) error {
	for {
		if w.next == len(w.pending) {
			clear(w.pending)
			w.pending, w.ended, w.discard = w.queue.take(w.pending[:0])
			w.next = 0
		}
		if w.discard {
			return nil
		}
		if w.next == len(w.pending) {
			break
		}
		it := w.pending[w.next]
		w.next++
		if err := w.take(ctx, it); err != nil {
			return err
		}
		if err := w.poll(ctx); err != nil {
			return err
		}
		// Do not let the backend wait for the rest of what is there.
		if len(w.flights) == 0 && w.open.rows >= eagerRows && w.linger() == 0 {
			if err := w.seal(ctx); err != nil {
				return err
			}
		}
	}
	if len(w.flights) == 0 && len(w.open.items) > 0 && w.linger() == 0 {
		return w.seal(ctx)
	}
	return nil
}

const (
	eagerRows = 1000 // are enough for a group while the executor is idle
	// Far behind, when the stream is slower than the destination, a group waits
	// a moment for more: the larger it is the more changes of a row become one.
	farBehind  = time.Second
	mostLinger = 50 * time.Millisecond
)

// linger tells how long the open group should still wait for more. Where the
// clocks of source and this machine differ it is mostLinger too much at worst.
func (w *worker) linger() time.Duration {
	n := len(w.open.items)
	if n == 0 || w.ended || w.open.rows >= w.a.options.GroupRows/2 || w.open.bytes >= w.a.options.GroupBytes/2 ||
		time.Since(w.open.items[n-1].tx.CommitTime) < farBehind {
		return 0
	}
	return max(0, mostLinger-time.Since(w.open.opened))
}

// take takes one item.
func (w *worker) take(ctx context.Context, it *item) error {
	switch {
	case it.barrier != nil:
		err := w.drain(ctx)
		if err == nil && w.at > w.committed {
			err = w.mark(ctx)
		}
		it.barrier.arrive(err)
		return err
	case it.renew:
		return w.renew(ctx)
	case it.tx.Mark(), it.tx.FinalLSN < w.committed, it.rows(w.shard) == 0:
		w.at = max(w.at, it.tx.EndLSN)
		it.release()
		w.stats.position(w)
		return nil
	}
	rows, bytes := it.rows(w.shard), it.tx.Bytes
	o := &w.a.options
	if it.tx.Spool != nil || rows > o.GroupRows || bytes > o.GroupBytes {
		if err := w.seal(ctx); err != nil {
			it.release()
			return err
		}
		return w.large(ctx, it)
	}
	if w.open.rows+rows > o.GroupRows || w.open.bytes+bytes > o.GroupBytes {
		if err := w.seal(ctx); err != nil {
			it.release()
			return err
		}
	}
	w.open.items = append(w.open.items, it)
	w.at = it.tx.EndLSN
	if len(w.open.items) == 1 {
		w.open.stamp, w.open.opened = w.stamp, time.Now()
	}
	w.open.rows += rows
	w.open.bytes += bytes
	return w.fold(w.open, it)
}

// poll handles outcomes that are there.
func (w *worker) poll(ctx context.Context) error {
	for len(w.flights) > 0 {
		select {
		case o := <-w.exec.out:
			if err := w.handle(ctx, o); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// fold puts the changes of a transaction into the chunks of a group in memory.
func (w *worker) fold(g *group, it *item) error {
	stopped := w.a.stops.snapshot()
	return it.each(w.shard, stopped, func(c *stream.Change) error {
		return w.change(it, c, stopped, func(w2 *Target, truncate []entry) error {
			var ch *chunk
			if n := len(g.chunks); n > 0 {
				ch = g.chunks[n-1]
			}
			if truncate != nil {
				ch = w.newChunk()
				ch.truncate = truncate
				g.chunks = append(g.chunks, ch)
				return nil
			}
			var win *window
			if ch != nil && ch.truncate == nil {
				win = w.window(ch, w2)
			}
			if win == nil {
				ch = w.newChunk()
				g.chunks = append(g.chunks, ch)
				win = w.window(ch, w2)
			}
			return ch.add(win, entry{change: c, item: it})
		})
	})
}

// change finds out what is to be done with a change: nothing, or put gets its
// target, or the tables that a TRUNCATE empties.
func (w *worker) change(it *item, c *stream.Change, stopped []stopped, put func(t *Target, truncate []entry) error) error {
	live := func(relation *stream.Relation) (*Target, error) {
		f, err := it.targets.resolve(relation)
		if err != nil || f.target == nil {
			return nil, err
		}
		if len(stopped) > 0 && holds(stopped, f, it.tx.FinalLSN) {
			return nil, nil
		}
		return f.target, nil
	}
	switch c.Kind {
	case stream.Insert, stream.Update, stream.Delete:
		t, err := live(c.Relation)
		if err != nil || t == nil {
			return err
		}
		return put(t, nil)
	case stream.Truncate:
		var entries []entry
		for _, relation := range c.Truncated.Relations {
			t, err := live(relation)
			if err != nil {
				return err
			}
			if t != nil {
				entries = append(entries, entry{change: c, item: it, target: t})
			}
		}
		if entries != nil {
			return put(nil, entries)
		}
	}
	return nil
}

// window finds the window of a target, one by one for a while if folding it has
// failed before.
func (w *worker) window(ch *chunk, t *Target) *window {
	known := ch.byTarget[t] != nil
	win := ch.window(t)
	if win != nil && !known {
		if c := w.caution[t]; c != nil && c.left > 0 {
			win.single, win.checked = true, c.checked
		}
		win.single = win.single || w.a.exactOnly
	}
	return win
}

func (w *worker) newChunk() *chunk {
	if n := len(w.chunks); n > 0 {
		c := w.chunks[n-1]
		w.chunks = w.chunks[:n-1]
		return c
	}
	return newChunk()
}

func (w *worker) recycle(c *chunk) {
	if len(w.chunks) < 4 {
		c.reset()
		w.chunks = append(w.chunks, c)
	}
}

func (w *worker) newScript() *script {
	if n := len(w.scripts); n > 0 {
		s := w.scripts[n-1]
		w.scripts = w.scripts[:n-1]
		return s
	}
	return &script{}
}

func (w *worker) keepScript(s *script) {
	s.reset()
	w.scripts = append(w.scripts, s)
}

func (w *worker) shardText() string { return strconv.Itoa(w.a.options.SourceShard) }
