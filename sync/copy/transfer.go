package copy

import (
	"context"
	"fmt"
	"sync"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// transfer is one attempt at copying the rows of a range, from the COPY on the
// source up to the ends of the COPYs on the destinations; committing them is
// the caller's. When it ends, each session is usable, or closed.
//
// The goroutine that runs it reads from the source. Each target has one that
// writes and one that reads; run waits for them.
type transfer struct {
	r        *Range
	source   *session
	check    string    // runs behind the COPY on the source, in the same query string
	targets  []*target // those that do not have the range yet
	routes   []*target // by shard, nil for those that have it; nil if every row goes to all targets
	progress func(rows, bytes int64)

	ctx      context.Context // of this attempt: ends as soon as any part of it fails
	fail     context.CancelCauseFunc
	answer   answer // of the source
	rows     int64  // read from the source
	bytes    int64
	complete bool // the source has sent everything; set before the channels are closed
	finished sync.WaitGroup
	row      routing // of routeRows
}

// target is a destination of a transfer.
type target struct {
	shard   int
	session *session
	in      chan *block // to the writer
	blocks  *ring       // of what is filled for this target alone
	filling *block
	answer  answer
	failed  bool  // a write failed: what was written may end within a message
	rows    int64 // sent to it
}

// The ends of a COPY.
var (
	copyDone = []byte{'c', 0, 0, 0, 4}
	copyFail = []byte{'f', 0, 0, 0, 5, 0}
)

// run copies. After an error nothing of it is left on any destination.
func (t *transfer) run(ctx context.Context) error {
	t.ctx, t.fail = context.WithCancelCause(ctx)
	defer t.fail(nil)
	release := t.source.watch(t.ctx)
	for _, to := range t.targets {
		to.in, to.blocks = make(chan *block, blocksInFlight), newRing()
		t.finished.Go(func() { t.serve(to) })
	}
	passed := newRing()
	err := t.relay(passed)
	if err != nil {
		t.fail(err)
	}
	t.complete = t.ctx.Err() == nil
	for _, to := range t.targets {
		to.flush()
		close(to.in)
	}
	t.finished.Wait()
	release()
	for _, to := range t.targets {
		to.blocks.giveBack()
	}
	passed.giveBack()
	if t.ctx.Err() == nil {
		if err := t.compare(); err != nil {
			t.fail(err)
		}
	}
	if t.ctx.Err() == nil {
		return nil
	}
	// The first failure is the reason of the others.
	err = context.Cause(t.ctx)
	t.recover(ctx)
	return err
}

// relay runs the COPY on the source and hands what it sends to the writers.
func (t *transfer) relay(passed *ring) error {
	if err := t.source.query(t.r.SQL() + ";" + t.check); err != nil {
		return err
	}
	if t.routes != nil {
		return t.routeRows()
	}
	return t.passBlocks(passed)
}

// passBlocks gives every block to every target, as it comes.
func (t *transfer) passBlocks(ring *ring) error {
	for !t.answer.ready {
		b, err := ring.get(t.ctx)
		if err != nil {
			return err
		}
		before := t.source.scan.copied
		size, err := t.fill(b.space)
		b.data = b.space[:size]
		b.writers.Store(int32(len(t.targets)))
		for _, to := range t.targets {
			to.in <- b // never waits: there are no more blocks than it has room for
		}
		if err != nil {
			return err
		}
		t.count(t.source.scan.copied-before, int64(size))
	}
	return t.answer.err
}

// fill reads CopyData into space until there is enough of it, or no more. Other
// messages are taken out.
func (t *transfer) fill(space []byte) (size int, err error) {
	for size < fullBlock && !t.answer.ready {
		n, err := t.source.read(space[size:])
		if err != nil {
			return size, t.sourceError(err)
		}
		size, err = t.sift(space, size, size+n)
		if err != nil {
			return size, err
		}
	}
	return size, nil
}

// sift takes other messages out of space[from:to], which has just been read, and
// gives the end of the CopyData that is left.
func (t *transfer) sift(space []byte, from, to int) (int, error) {
	for from < to {
		n, err := t.source.scan.copyData(space[from:to])
		from += n
		if err != nil || from == to {
			return from, err
		}
		rest, err := t.other(space[from:to])
		if err != nil {
			return from, err
		}
		to = from + copy(space[from:], rest)
	}
	return from, nil
}

// other takes a message of the source that is not CopyData.
func (t *transfer) other(data []byte) (rest []byte, err error) {
	m, rest, ok, err := t.source.scan.next(data)
	if err != nil || !ok {
		return nil, err
	}
	if err := t.source.take(&t.answer, m); err != nil {
		return nil, err
	}
	if t.answer.ready {
		t.source.unread = append([]byte(nil), rest...) // hardly ever anything
		return nil, nil
	}
	return rest, nil
}

// sourceError gives what the source said before its connection broke.
func (t *transfer) sourceError(err error) error {
	if t.answer.err != nil {
		return t.answer.err
	}
	return err
}

// count adds to what has been read.
func (t *transfer) count(rows, bytes int64) {
	t.rows += rows
	t.bytes += bytes
	if t.progress != nil && (rows != 0 || bytes != 0) {
		t.progress(rows, bytes)
	}
}

// serve begins the COPY on a destination, has it written, and reads what the
// destination answers, to its end.
func (t *transfer) serve(to *target) {
	defer to.session.watch(t.ctx)()
	if err := to.session.query("BEGIN; " + t.r.Table.copyIn()); err != nil {
		to.failed = true
		t.fail(err)
	}
	begun := !to.failed
	var writer sync.WaitGroup
	writer.Go(func() { t.writeBlocks(to) })
	if begun {
		if err := to.session.await(&to.answer, t.fail); err != nil {
			t.fail(err)
		}
	}
	writer.Wait()
}

// writeBlocks writes what comes for a destination until its channel is closed,
// then ends the COPY if all has gone well. After a failure blocks are dropped,
// so that nobody waits for them.
func (t *transfer) writeBlocks(to *target) {
	for b := range to.in {
		if !to.failed && len(b.data) > 0 {
			to.write(t, b.data)
		}
		b.release()
	}
	if t.complete && !to.failed {
		to.write(t, copyDone)
	}
}

func (to *target) write(t *transfer, data []byte) {
	if err := to.session.write(data); err != nil {
		to.failed = true
		t.fail(err)
	}
}

// flush hands what has been filled to the writer.
func (to *target) flush() {
	if to.filling != nil {
		to.filling.writers.Store(1)
		to.in <- to.filling // never waits: there are no more blocks than it has room for
		to.filling = nil
	}
}

// compare makes sure that what went in is what came out.
func (t *transfer) compare() error {
	sent, err := t.answer.copied()
	if err != nil {
		return fmt.Errorf("%s: %w", connect.Place(t.source.server), err)
	}
	if t.routes != nil && sent != t.rows {
		return pgerror.New(pgerror.ProtocolViolation, "%s sent %d rows of %s, and then says that they were %d", connect.Place(t.source.server), t.rows, t.r, sent)
	}
	t.count(sent-t.rows, 0)
	for _, to := range t.targets {
		if t.routes == nil {
			to.rows = sent
		}
		got, err := to.answer.copied()
		if err != nil {
			return fmt.Errorf("%s: %w", connect.Place(to.session.server), err)
		}
		if got != to.rows {
			return pgerror.New(pgerror.InternalError, "%s took %d of the %d rows of %s", connect.Place(to.session.server), got, to.rows, t.r).
				WithDetail("Something there leaves rows out or adds some: a trigger or a rule that is enabled ALWAYS or for REPLICA.").
				WithHint(`look at them in psql: \d %s`, quote(t.r.Table.Destination.Table))
		}
	}
	return nil
}

// recover makes the sessions usable after a failure, or closes them. ctx is
// that of the whole copy: when it has ended nothing will be used again.
func (t *transfer) recover(ctx context.Context) {
	whole := t.source.scan.boundary()
	var all sync.WaitGroup
	defer all.Wait()
	if ctx.Err() != nil {
		all.Go(func() { t.source.abandon(ctx) })
		for _, to := range t.targets {
			all.Go(func() { to.session.abandon(ctx) })
		}
		return
	}
	all.Go(func() { t.source.recover(ctx, &t.answer, true, rollbackToSavepoint) })
	for _, to := range t.targets {
		// The end of a COPY cannot be told to a server that waits for the rest of a row.
		within := !whole && (t.routes == nil || t.row.to == to)
		all.Go(func() {
			if to.failed || within {
				to.session.abandon(ctx)
				return
			}
			to.session.recover(ctx, &to.answer, false, "ROLLBACK")
		})
	}
}

// recover ends the statement whose answer is being read, by a request to cancel
// it or by CopyFail, and runs rollback. If that does not work in time, the
// session is closed.
func (s *session) recover(ctx context.Context, a *answer, cancel bool, rollback string) {
	ctx, stop := context.WithTimeout(ctx, recoverTime)
	defer stop()
	err := func() error {
		if !a.ready {
			defer s.watch(ctx)()
			end := func() error { return s.write(copyFail) }
			if cancel {
				end = func() error { return s.cancel(ctx) }
			}
			if err := end(); err != nil {
				return err
			}
			if err := s.await(a, nil); err != nil {
				return err
			}
		}
		return nil
	}()
	if err == nil {
		_, err = s.exec(ctx, rollback)
	}
	if err != nil {
		s.abandon(ctx)
	}
}
