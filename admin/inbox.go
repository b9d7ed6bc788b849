package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	// longestMessage is the size of the longest message that is read.
	longestMessage = 1 << 20
	// mostQueued is how many bytes of messages may wait while a command runs.
	// Beyond it reading stops, and with it the noticing of a client that leaves.
	mostQueued = 1 << 20
	// messageCost is what a message is counted for beside its texts.
	messageCost = 64
)

// errClientLeft is the cause of a context that ended because the client has
// gone, politely or not.
var errClientLeft = errors.New("client has disconnected")

// inbox reads the client's messages in a goroutine of its own, so that the
// session notices a client that leaves while a command waits. Messages that
// were sent ahead are kept in order. Whoever calls run stops it by ending its
// read.
type inbox struct {
	mu     sync.Mutex
	queue  []queuedMessage
	queued int   // bytes
	err    error // why no more will come

	arrived chan struct{} // has room for one: something was added
	taken   chan struct{} // has room for one: something was removed

	left  context.Context // ends when no more will come
	leave context.CancelFunc
}

type queuedMessage struct {
	message pgproto3.FrontendMessage
	size    int
}

func newInbox() *inbox {
	b := &inbox{arrived: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
	b.left, b.leave = context.WithCancel(context.Background())
	return b
}

// run reads until the client leaves, breaks the protocol, or reading fails. It
// also returns when stop is closed while the queue is full.
func (b *inbox) run(from *pgproto3.Backend, stop <-chan struct{}) {
	defer b.leave()
	for {
		message, err := from.Receive()
		if err != nil {
			b.end(receiveError(err))
			return
		}
		if _, ok := message.(*pgproto3.Terminate); ok {
			b.end(errClientLeft)
			return
		}
		kept, size := detach(message)
		for !b.add(kept, size) {
			select {
			case <-b.taken:
			case <-stop:
				return
			}
		}
	}
}

// add queues a message, or tells that there is no room.
func (b *inbox) add(message pgproto3.FrontendMessage, size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queued > 0 && b.queued+size > mostQueued {
		return false
	}
	b.queue = append(b.queue, queuedMessage{message, size})
	b.queued += size
	signal(b.arrived)
	return true
}

func (b *inbox) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	signal(b.arrived)
}

// reason tells why no more messages will come; nil while they may.
func (b *inbox) reason() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// next gives the next message. Its errors are errClientLeft, a *pgerror.Error
// for a broken protocol, and ctx's own.
func (b *inbox) next(ctx context.Context) (pgproto3.FrontendMessage, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		message, err := b.take()
		if message != nil || err != nil {
			return message, err
		}
		select {
		case <-b.arrived:
		case <-ctx.Done():
		}
	}
}

// take gives the oldest message, or why there will be none, or neither.
func (b *inbox) take() (pgproto3.FrontendMessage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil, b.err
	}
	first := b.queue[0]
	b.queue[0] = queuedMessage{}
	b.queue = b.queue[1:]
	b.queued -= first.size
	signal(b.taken)
	return first.message, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// receiveError tells a client that has gone from one that breaks the protocol.
// A plain io.EOF is of the latter kind: it comes from decoding a message that is
// shorter than it says. That of the connection arrives as ErrUnexpectedEOF.
func receiveError(err error) error {
	var network net.Error
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	switch {
	case errors.As(err, &tooLong):
		return pgerror.New(pgerror.ProtocolViolation, "message of %d bytes is longer than the limit of %d",
			tooLong.ActualBodyLen, tooLong.MaxExpectedBodyLen)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, net.ErrClosed), errors.As(err, &network):
		return fmt.Errorf("%w: %w", errClientLeft, err)
	}
	return pgerror.New(pgerror.ProtocolViolation, "invalid message: %w", err)
}

// detach copies what of a message would be overwritten by the next one, and
// counts its bytes.
func detach(message pgproto3.FrontendMessage) (pgproto3.FrontendMessage, int) {
	switch m := message.(type) {
	case *pgproto3.Query:
		c := *m
		return &c, messageCost + len(c.String)
	case *pgproto3.Parse:
		c := *m
		return &c, messageCost + len(c.Name) + len(c.Query) + 4*len(c.ParameterOIDs)
	case *pgproto3.Bind:
		return detachBind(m)
	case *pgproto3.Describe:
		c := *m
		return &c, messageCost + len(c.Name)
	case *pgproto3.Execute:
		c := *m
		return &c, messageCost + len(c.Portal)
	case *pgproto3.Close:
		c := *m
		return &c, messageCost + len(c.Name)
	case *pgproto3.FunctionCall:
		return &pgproto3.FunctionCall{}, messageCost
	case *pgproto3.CopyData:
		return &pgproto3.CopyData{}, messageCost
	case *pgproto3.CopyFail:
		return &pgproto3.CopyFail{}, messageCost
	}
	return message, messageCost // Sync, Flush and CopyDone have no content
}

func detachBind(m *pgproto3.Bind) (pgproto3.FrontendMessage, int) {
	c := *m
	c.Parameters = slices.Clone(m.Parameters)
	size := messageCost + len(c.DestinationPortal) + len(c.PreparedStatement) +
		2*len(c.ParameterFormatCodes) + 2*len(c.ResultFormatCodes)
	for i, p := range c.Parameters {
		c.Parameters[i] = slices.Clone(p)
		size += len(p) + 24
	}
	return &c, size
}
