package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// farewell is how long Close waits for the server to let go of the slot.
const farewell = time.Second

// errClosed ends the reader's goroutines and what waits in Next.
var errClosed = errors.New("the reader was closed")

// Reader reads transactions from a slot. Next and TryNext are for one goroutine
// at a time; the other methods may be called by any.
type Reader struct {
	options   *Options
	dir       *spoolDir
	conn      net.Conn
	paced     *pacedConn // conn, as it is read
	frames    *frames
	assembler *assembler
	queue     *queue
	status    *status
	heartbeat *heartbeat // nil for none
	counters  counters

	ctx        context.Context // of the goroutines
	cancel     context.CancelCauseFunc
	goroutines sync.WaitGroup
	close      func() error
}

func newReader(o *Options, dir *spoolDir, conn net.Conn, in *frames, interval time.Duration, proto2 bool) *Reader {
	r := &Reader{
		options: o, dir: dir, conn: conn, frames: in,
		assembler: newAssembler(dir, o.SpillMemory, proto2), queue: newQueue(o.QueueMemory),
	}
	r.counters.heard.Store(time.Now().UnixNano())
	r.status = newStatus(conn, interval, o.ReceiveTimeout/2, &r.counters.heard)
	r.queue.position = o.Start
	r.assembler.mark.lsn = o.Start
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	r.paced = newPacedConn(r.ctx, conn, o.ReceiveTimeout)
	in.from = r.paced
	r.close = sync.OnceValue(r.shut)
	return r
}

// run starts the goroutines, which end by themselves when one of them fails.
func (r *Reader) run() {
	r.goroutines.Go(func() {
		err := r.receive()
		r.assembler.close()
		r.queue.end(err)
		r.end(err)
	})
	r.goroutines.Go(func() {
		if err := r.status.run(r.ctx); err != nil {
			r.end(connectionLost(r.options.Server, err))
		}
	})
	if r.heartbeat != nil {
		r.goroutines.Go(func() { r.heartbeat.run(r.ctx) })
	}
}

// end ends the goroutines, also the one that reads.
func (r *Reader) end(err error) {
	r.cancel(err)
	_ = r.conn.SetReadDeadline(time.Unix(1, 0))
}

// Next gives the next transaction in the order of commits. It waits for one as
// long as ctx allows. When there is none and the server has told a position up
// to which there is none, it gives a mark. The caller releases it. An error is
// final, unless it is ctx's.
func (r *Reader) Next(ctx context.Context) (*Transaction, error) { return r.queue.next(ctx) }

// TryNext gives the next transaction if there is one now. It gives no marks but
// those that carry a message.
func (r *Reader) TryNext() (*Transaction, bool) { return r.queue.tryNext() }

// Confirm tells the slot that everything before lsn is durable and need not be
// sent again. It goes with the next status message, which comes soon.
func (r *Reader) Confirm(lsn LSN) { r.status.confirm(lsn) }

// Close ends the reading, tells the server what was confirmed last, and gives
// everything back: connections, memory of transactions that nobody has taken,
// files. It waits for the slot to be free as long as the server is quick.
func (r *Reader) Close() error { return r.close() }

func (r *Reader) shut() error {
	r.end(errClosed)
	r.goroutines.Wait()
	if r.queue.failedBy(errClosed) {
		r.sayGoodbye()
	}
	_ = r.conn.Close() // it may be broken
	r.queue.close()
	return r.dir.remove()
}

// sayGoodbye sends the last position, the end of the copy and Terminate, and
// waits for the server to close the connection: the slot is free then.
func (r *Reader) sayGoodbye() {
	now := time.Now()
	r.paced.setGather(false)
	_ = r.conn.SetDeadline(now.Add(farewell))
	err := r.status.send(now)
	if err == nil {
		_, err = r.conn.Write([]byte{'c', 0, 0, 0, 4, 'X', 0, 0, 0, 4})
	}
	if err == nil {
		_, _ = io.Copy(io.Discard, r.conn)
	}
}

// receive reads until an error.
func (r *Reader) receive() error {
	r.assembler.block = r.frames.block
	for {
		if err := r.decode(); err != nil {
			return err
		}
		if err := r.queue.waitForSpace(r.ctx); err != nil {
			return err
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// decode takes all messages that have come and hands over what they complete.
func (r *Reader) decode() error {
	var failure error
	for {
		kind, body, ok, err := r.frames.next()
		if err != nil || !ok {
			failure = err
			break
		}
		if failure = r.message(kind, body); failure != nil {
			break
		}
	}
	a := r.assembler
	r.counters.decoded(a, r.frames.total)
	if len(a.out) > 0 || a.mark.lsn > r.queue.given {
		r.queue.put(a.out, a.mark)
		r.queue.given = a.mark.lsn
		clear(a.out)
		a.out = a.out[:0]
	}
	return failure
}

// fill reads what the connection has.
func (r *Reader) fill() error {
	moved, err := r.frames.fill()
	if moved {
		r.assembler.moved(r.frames.block)
	}
	if err != nil {
		return r.readFailed(err)
	}
	now := time.Now()
	r.assembler.received = now
	r.counters.heard.Store(now.UnixNano())
	return nil
}

func (r *Reader) readFailed(err error) error {
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return pgerror.New(pgerror.ConnectionFailure, "%s has sent nothing for %s, though asked for an answer: %w", connect.Place(r.options.Server), r.options.ReceiveTimeout, err).
			WithHint("is the network between here and that server in order?")
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if pgerror.Code(err) == pgerror.ProtocolViolation {
		return err
	}
	return connectionLost(r.options.Server, err)
}

// message takes one message of the protocol.
func (r *Reader) message(kind byte, body []byte) error {
	switch kind {
	case 'd':
		return r.copyData(body)
	case 'E':
		return whileStreaming(r.options, serverError(body), r.counters.at())
	case 'N', 'S', 'A': // notice, changed setting, notification
		return nil
	case 'c', 'C', 'Z': // a server that stops ends the copy
		return pgerror.New(pgerror.AdminShutdown, "%s has ended the stream", connect.Place(r.options.Server)).
			WithHint("was that server stopped? Look into its log")
	}
	return pgerror.New(pgerror.ProtocolViolation, "message %q is not known in a stream of changes", kind)
}

// copyData takes what the replication protocol puts into a CopyData message:
// XLogData or a keepalive.
func (r *Reader) copyData(body []byte) error {
	const dataHeader, keepalive = 1 + 8 + 8 + 8, 1 + 8 + 8 + 1
	switch {
	case len(body) > dataHeader && body[0] == 'w':
		r.counters.position = max(r.counters.position, LSN(binary.BigEndian.Uint64(body[1:])))
		return r.assembler.message(body[dataHeader:])
	case len(body) == keepalive && body[0] == 'k':
		end := LSN(binary.BigEndian.Uint64(body[1:]))
		r.counters.position = max(r.counters.position, end)
		r.assembler.keepalive(end, timestamp(binary.BigEndian.Uint64(body[9:])))
		if body[17] != 0 {
			signal(r.status.asked)
		}
		return nil
	}
	return pgerror.New(pgerror.ProtocolViolation, "malformed message of the replication protocol (%d bytes)", len(body))
}

// counters are what Stats tells. Those that are not atomic are the receiving
// goroutine's own.
type counters struct {
	heard        atomic.Int64 // UnixNano of the last message
	received     atomic.Uint64
	server       atomic.Uint64
	bytes        atomic.Int64
	transactions atomic.Int64
	spilled      atomic.Int64
	inProgress   atomic.Int64
	unfinished   atomic.Int64

	position LSN // of the last message
}

func (c *counters) at() LSN { return c.position }

// decoded publishes what has changed since the last call.
func (c *counters) decoded(a *assembler, bytes int64) {
	c.received.Store(uint64(c.position))
	c.bytes.Store(bytes)
	c.transactions.Store(a.finished)
	c.spilled.Store(a.spilled)
	c.inProgress.Store(int64(len(a.streams)))
	c.unfinished.Store(a.held)
}

// Stats are what a Reader has done so far.
type Stats struct {
	ReceivedLSN     LSN       // of the last message
	ServerLSN       LSN       // the server's own, as far as it is known
	ConfirmedLSN    LSN       // told, or about to be told, to the slot
	LastMessage     time.Time // when anything was received
	Bytes           int64     // received
	Transactions    int64     // finished
	QueuedBytes     int64     // of finished transactions that wait to be taken
	UnfinishedBytes int64     // memory of transactions that have not ended
	InProgress      int       // transactions that are being streamed in progress
	SpilledBytes    int64     // written to files, ever
	Ended           error     // why nothing more is read, nil while it is; Next gives it behind what is queued
}

// Stats tells what the Reader has done so far.
func (r *Reader) Stats() Stats {
	c := &r.counters
	received := c.received.Load()
	return Stats{
		ReceivedLSN: LSN(received), ServerLSN: LSN(max(received, c.server.Load())), ConfirmedLSN: LSN(r.status.confirmed.Load()),
		LastMessage: time.Unix(0, c.heard.Load()), Bytes: c.bytes.Load(), Transactions: c.transactions.Load(),
		QueuedBytes: r.queue.bytes.Load(), UnfinishedBytes: c.unfinished.Load(), InProgress: int(c.inProgress.Load()),
		SpilledBytes: c.spilled.Load(), Ended: r.queue.ended(),
	}
}
