package apply

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// session is a connection to a destination of which this package speaks the
// extended protocol itself: whole scripts go out in one write, and their
// answers are compared with what is wanted as they come in. It owns a goroutine
// that writes, so that neither side waits for the other however long a script
// is. The other methods are for one goroutine at a time, but for interrupt.
type session struct {
	conn   net.Conn
	cancel *pgconn.PgConn // knows how to ask for cancellation; its connection is conn
	buf    []byte
	r, w   int

	outgoing chan net.Buffers
	wrote    chan struct{}
	writer   sync.WaitGroup
	closing  sync.Once
	writeErr error // of the writer, read after wrote
}

// answer is what a script gives besides counts.
type answer struct {
	insertLSN, flushLSN stream.LSN
	status              byte // of the transaction: 'I', 'T', 'E'
}

// settings are those of a session that applies. Plans are made once for a
// statement, not for its values, and always by index: a table that was empty
// when the plan was made must not be scanned for each row for ever.
const settings = `
SET session_replication_role = replica;
SET synchronous_commit = off;
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET jit = off;
`

// newSession takes conn over, which must be idle.
func newSession(ctx context.Context, conn *pgx.Conn) (*session, error) {
	if err := conn.PgConn().SyncConn(ctx); err != nil {
		return nil, err
	}
	hijacked, err := connect.Hijack(conn.PgConn())
	if err != nil {
		return nil, err
	}
	raw := hijacked.Conn
	cancel, err := pgconn.Construct(hijacked)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	s := &session{
		conn: raw, cancel: cancel, buf: make([]byte, 32<<10),
		outgoing: make(chan net.Buffers, 4), wrote: make(chan struct{}, 4),
	}
	s.writer.Go(s.write)
	return s, nil
}

func (s *session) write() {
	for b := range s.outgoing {
		if _, err := b.WriteTo(s.conn); err != nil {
			s.writeErr = err
			_ = s.conn.Close() // whoever reads learns of it
		}
		s.wrote <- struct{}{}
	}
}

// close ends the session and its goroutine.
func (s *session) close() {
	s.closing.Do(func() {
		_ = s.conn.Close()
		close(s.outgoing)
		go func() { // what was queued is not awaited any more
			for range s.wrote {
			}
		}()
		s.writer.Wait()
		close(s.wrote)
	})
}

// terminate says goodbye before close: the backend then ends at once.
func (s *session) terminate() {
	_, _ = s.conn.Write([]byte{'X', 0, 0, 0, 4})
	s.close()
}

// interrupt asks the server to cancel what runs and closes the connection. It
// may be called while another goroutine uses the session.
func (s *session) interrupt(ctx context.Context) {
	_ = s.cancel.CancelRequest(ctx)
	_ = s.conn.Close()
}

// send begins to write a script. It must not be reset before await is done.
func (s *session) send(scripts ...*script) {
	var b net.Buffers
	for _, script := range scripts {
		b = append(b, script.buffers()...)
	}
	s.outgoing <- b
}

// sent waits until the bytes of one send are not needed any more.
func (s *session) sent() { <-s.wrote }

// run sends a script and awaits its answers.
func (s *session) run(script *script) (answer, *failure) {
	s.send(script)
	a, f := s.await(script)
	s.sent()
	return a, f
}

// await reads the answers of one script and compares them with its ops. The
// first that is not as wanted is the failure.
func (s *session) await(script *script) (a answer, first *failure) {
	ops := script.ops
	at := 0
	current := func() op {
		if at < len(ops) {
			return ops[at]
		}
		return op{}
	}
	for {
		kind, body, err := s.message()
		if err != nil {
			_ = s.conn.Close() // the writer may wait for room
			if first == nil || first.fatal == nil {
				lost := &failure{op: current(), fatal: fmt.Errorf("connection lost: %w", err)}
				if first != nil && first.err != nil && isFatal(first.err) {
					lost.err = first.err
				}
				first = lost
			}
			return a, first
		}
		switch kind {
		case 'C':
			o := current()
			at++
			if first == nil {
				first = check(o, body)
			}
		case 'I':
			at++
		case 'D':
			if current().kind == opLSN {
				a.insertLSN, a.flushLSN = lsnRow(body)
			}
		case 'E':
			if first == nil {
				first = &failure{op: current(), err: serverError(body)}
			} else if e := serverError(body); isFatal(e) {
				first.err = e
			}
		case 'Z':
			a.status = body[0]
			if first == nil && at != len(ops) {
				first = &failure{op: current(), fatal: fmt.Errorf("%d of %d statements were answered", at, len(ops))}
			}
			return a, first
		}
	}
}

// check compares a command tag with what is wanted.
func check(o op, tag []byte) *failure {
	tag = bytes.TrimRight(tag, "\x00")
	if o.kind == opCommit {
		if string(tag) != "COMMIT" {
			return &failure{op: o, err: pgerror.New("25P02", "the transaction was rolled back at its end")}
		}
		return nil
	}
	if o.want == anyCount || o.kind == opControl || o.kind == opLSN || o.kind == opConstraints || o.kind == opTruncate {
		return nil
	}
	n := int64(0)
	for _, c := range tag[bytes.LastIndexByte(tag, ' ')+1:] {
		if c < '0' || c > '9' {
			n = 0
			break
		}
		n = n*10 + int64(c-'0')
	}
	if n != o.want {
		return &failure{op: o, got: n}
	}
	return nil
}

func serverError(body []byte) *pgerror.Error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return pgerror.From(fmt.Errorf("read an error of the server: %w", err))
	}
	return pgerror.From(pgconn.ErrorResponseToPgError(&m))
}

// isFatal tells whether the server ends the session with this error.
func isFatal(e *pgerror.Error) bool {
	var server *pgconn.PgError
	return errors.As(e.Cause, &server) && (server.SeverityUnlocalized == "FATAL" || server.SeverityUnlocalized == "PANIC")
}

// lsnRow reads two LSNs of a DataRow, 0 for what is none.
func lsnRow(body []byte) (a, b stream.LSN) {
	var out [2]stream.LSN
	if len(body) < 2 {
		return 0, 0
	}
	body = body[2:]
	for i := range out {
		if len(body) < 4 {
			break
		}
		n := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if n < 0 || n > len(body) {
			break
		}
		out[i], _ = parseLSN(string(body[:n]))
		body = body[n:]
	}
	return out[0], out[1]
}

// largestAnswer bounds one message of the server: an error may quote a value.
const largestAnswer = 64 << 20

// message reads one message. Its body is valid until the next call.
func (s *session) message() (kind byte, body []byte, err error) {
	if err := s.need(5); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(s.buf[s.r+1:])) - 4
	if n < 0 || n > largestAnswer {
		return 0, nil, fmt.Errorf("a message of %d bytes from the server", n)
	}
	kind = s.buf[s.r]
	if err := s.need(5 + n); err != nil {
		return 0, nil, err
	}
	body = s.buf[s.r+5 : s.r+5+n]
	s.r += 5 + n
	return kind, body, nil
}

// need reads until n bytes are there.
func (s *session) need(n int) error {
	if s.w-s.r >= n {
		return nil
	}
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if n > len(s.buf) {
		s.buf = append(s.buf, make([]byte, n-len(s.buf))...)
	}
	for s.w < n {
		m, err := s.conn.Read(s.buf[s.w:])
		s.w += m
		if err != nil && s.w < n {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
