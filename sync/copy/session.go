package copy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

const (
	// cancelTime is how long a request to cancel a statement may take.
	cancelTime = 5 * time.Second
	// cancelAttempts is how often that is requested, cancelPause how long the
	// statement may take to end each time.
	cancelAttempts = 10
	cancelPause    = 500 * time.Millisecond
	// recoverTime is how long a session has to become usable after an error,
	// before it is given up.
	recoverTime = 10 * time.Second
	// mostAnswers bounds the rows that an answer to our own queries may have.
	mostAnswers = 1 << 20
)

// keepAlive finds a peer that is gone without a word in about two minutes.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 6}

// session is a connection to a server whose protocol is spoken here. One
// goroutine may read from it while another writes.
type session struct {
	server config.Server
	pg     *pgconn.PgConn // knows how to send a cancel request, nothing else any more
	conn   net.Conn
	scan   scanner
	buffer []byte // for what is read in small
	unread []byte // what has been read and not been looked at
	busy   bool   // a query string was sent, and ReadyForQuery has not come
	broken bool   // closed
}

// answer is what a server says to a query string, up to ReadyForQuery.
type answer struct {
	tags  []string
	rows  [][]string // NULL is ""
	err   error      // *pgconn.PgError, the first
	ready bool
}

// openSession connects and runs setup, which may hold several statements.
func openSession(ctx context.Context, server config.Server, setup string) (*session, error) {
	pg, err := connect.OpenPlain(ctx, server, "copy")
	if err != nil {
		return nil, err
	}
	hijacked, err := connect.Hijack(pg)
	if err != nil {
		_ = pg.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("take over the connection to %s: %w", connect.Place(server), err)
	}
	s := &session{server: server, pg: pg, conn: hijacked.Conn, buffer: make([]byte, 8<<10)}
	if hijacked.Frontend.ReadBufferLen() > 0 {
		s.close()
		return nil, pgerror.New(pgerror.ProtocolViolation, "%s sent something nobody asked for", connect.Place(server))
	}
	if tcp, ok := hijacked.Conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // an improvement where it can be had
	}
	if _, err := s.exec(ctx, setup); err != nil {
		s.abandon(ctx)
		return nil, err
	}
	return s, nil
}

// watch makes the end of ctx interrupt reads and writes. The function it gives
// ends that, and lets the session read and write again.
func (s *session) watch(ctx context.Context) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = s.conn.SetDeadline(time.Unix(1, 0)) // a closed connection needs none
	})
	return func() {
		if !stop() {
			<-done
		}
		_ = s.conn.SetDeadline(time.Time{})
	}
}

// exec runs a query string and gives what came back. A server's error is the
// error; the session can be used again then.
func (s *session) exec(ctx context.Context, sql string) (*answer, error) {
	defer s.watch(ctx)()
	if err := s.query(sql); err != nil {
		return nil, ended(ctx, err)
	}
	var a answer
	if err := s.await(&a, nil); err != nil {
		return nil, ended(ctx, err)
	}
	return &a, a.err
}

// ended gives the reason why ctx ended instead of what that led to.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// query sends a query string.
func (s *session) query(sql string) error {
	if strings.ContainsRune(sql, 0) {
		return pgerror.New(pgerror.InternalError, "a statement has a NUL byte")
	}
	s.busy = true
	m := make([]byte, 0, len(sql)+6)
	m = append(m, 'Q')
	m = binary.BigEndian.AppendUint32(m, uint32(len(sql)+5))
	m = append(append(m, sql...), 0)
	return s.write(m)
}

func (s *session) write(data []byte) error {
	if _, err := s.conn.Write(data); err != nil {
		return fmt.Errorf("write to %s: %w", connect.Place(s.server), err)
	}
	return nil
}

// read gives more of what the server sends, unseen bytes first.
func (s *session) read(buffer []byte) (int, error) {
	if len(s.unread) > 0 {
		n := copy(buffer, s.unread)
		s.unread = s.unread[n:]
		return n, nil
	}
	n, err := s.conn.Read(buffer)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("read from %s: %w", connect.Place(s.server), err)
}

// await reads up to ReadyForQuery. CopyData is dropped. failed, unless nil, is
// called as soon as the server reports an error. The error is one of the
// connection; one that the server reported before it went is the better one.
func (s *session) await(a *answer, failed func(error)) error {
	for !a.ready {
		if len(s.unread) == 0 {
			n, err := s.read(s.buffer)
			if err != nil && a.err != nil {
				return a.err
			}
			if err != nil {
				return err
			}
			s.unread = s.buffer[:n]
		}
		n, err := s.scan.copyData(s.unread)
		if err != nil {
			return err
		}
		if s.unread = s.unread[n:]; len(s.unread) == 0 {
			continue
		}
		m, rest, ok, err := s.scan.next(s.unread)
		if err != nil {
			return err
		}
		if s.unread = rest; !ok {
			continue
		}
		before := a.err
		if err := s.take(a, m); err != nil {
			return err
		}
		if before == nil && a.err != nil && failed != nil {
			failed(a.err)
		}
	}
	return nil
}

// take adds a message to an answer.
func (s *session) take(a *answer, m message) error {
	switch m.kind {
	case 'C':
		a.tags = append(a.tags, string(bytes.TrimRight(m.body, "\x00")))
	case 'D':
		row, err := dataRow(m.body)
		if err != nil {
			return err
		}
		if a.rows = append(a.rows, row); len(a.rows) > mostAnswers {
			return pgerror.New(pgerror.ProtocolViolation, "%s answers with more rows than can be", connect.Place(s.server))
		}
	case 'E':
		var e pgproto3.ErrorResponse
		if err := e.Decode(m.body); err != nil {
			return pgerror.New(pgerror.ProtocolViolation, "read an error of %s: %w", connect.Place(s.server), err)
		}
		if a.err == nil {
			a.err = fmt.Errorf("%s: %w", connect.Place(s.server), pgconn.ErrorResponseToPgError(&e))
		}
	case 'Z':
		a.ready, s.busy = true, false
	case 'G', 'H', 'c', 'T', 'I', 'N', 'S', 'A': // COPY begins and ends; rows follow; nothing to do; asynchronous messages
	default:
		return pgerror.New(pgerror.ProtocolViolation, "%s sent a message of type %q that does not belong here", connect.Place(s.server), m.kind)
	}
	return nil
}

// dataRow gives the fields of a DataRow in text form.
func dataRow(body []byte) ([]string, error) {
	var m pgproto3.DataRow
	if err := m.Decode(body); err != nil {
		return nil, pgerror.New(pgerror.ProtocolViolation, "read a row: %w", err)
	}
	row := make([]string, len(m.Values))
	for i, v := range m.Values {
		row[i] = string(v)
	}
	return row, nil
}

// copied gives n of the tag "COPY n".
func (a *answer) copied() (int64, error) {
	for _, tag := range a.tags {
		if count, ok := strings.CutPrefix(tag, "COPY "); ok {
			return strconv.ParseInt(count, 10, 64)
		}
	}
	return 0, errors.New("the server did not say how many rows it copied")
}

// cancel asks the server to end the statement under way.
func (s *session) cancel(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	return s.pg.CancelRequest(ctx)
}

// abandon ends the statement under way, if there is one, and closes the
// connection. A server that waits, for a lock say, does not notice that its
// client is gone.
func (s *session) abandon(ctx context.Context) {
	if s.broken {
		return
	}
	var a answer
	for range cancelAttempts {
		if !s.busy || s.cancel(ctx) != nil {
			break
		}
		// A request that comes before the statement has begun has no effect.
		_ = s.conn.SetDeadline(time.Now().Add(cancelPause)) // a closed connection fails below
		var timeout net.Error
		if err := s.await(&a, nil); err == nil || !errors.As(err, &timeout) || !timeout.Timeout() {
			break
		}
	}
	s.broken = true
	_ = s.conn.Close()
}

// close ends a session that is idle.
func (s *session) close() {
	if s.broken {
		return
	}
	s.broken = true
	_ = s.conn.SetDeadline(time.Now().Add(cancelTime))
	_ = s.write([]byte{'X', 0, 0, 0, 4}) // closing says the same, only less politely
	_ = s.conn.Close()
}
