package pool

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

// mostAnswer bounds what the answer to one of the pool's own queries may be, in
// bytes of a message.
const mostAnswer = 1 << 16

// exchange sends one simple query and reads the answer up to ReadyForQuery, not a
// byte more. It gives the columns of the first row. "" is the empty query: the
// cheapest proof that a server answers. The session must be outside a
// transaction afterwards; else that is an error. An error leaves the connection unfit.
func (s *Server) exchange(ctx context.Context, timeout time.Duration, sql string) (row []string, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err() // the deadline may have been set already
		}
	}()
	message, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(message); err != nil {
		return nil, fmt.Errorf("send to the server: %w", err)
	}
	var failed error
	for {
		kind, body, err := s.message()
		if err != nil {
			return nil, err
		}
		switch kind {
		case 'D':
			if row == nil {
				row, err = columns(body)
			}
		case 'S':
			var m pgproto3.ParameterStatus
			if err = m.Decode(body); err == nil {
				s.parameters[m.Name] = m.Value
			}
		case 'E':
			failed = serverError(body)
		case 'Z':
			if failed == nil && (len(body) != 1 || body[0] != 'I') {
				failed = pgerror.New(pgerror.ProtocolViolation, "the session is in a transaction")
			}
			return row, failed
		}
		if err != nil {
			return nil, fmt.Errorf("read the server's answer: %w", err)
		}
	}
}

// message reads one message.
func (s *Server) message() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return 0, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > mostAnswer {
		return 0, nil, pgerror.New(pgerror.ProtocolViolation, "the server sent a message of %d bytes", size)
	}
	body = make([]byte, size-4)
	if _, err := io.ReadFull(s.conn, body); err != nil {
		return 0, nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return head[0], body, nil
}

// columns gives the text of a row's columns, "" for NULL.
func columns(body []byte) ([]string, error) {
	var m pgproto3.DataRow
	if err := m.Decode(body); err != nil {
		return nil, err
	}
	out := make([]string, len(m.Values))
	for i, v := range m.Values {
		out[i] = string(v)
	}
	return out, nil
}

// serverError is an ErrorResponse as an error.
func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("read the server's error: %w", err)
	}
	return &pgerror.Error{Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint}
}

// goodbye ends a session in order.
var goodbye, _ = (&pgproto3.Terminate{}).Encode(nil)

// closeTimeout bounds what the end of a connection may take.
const closeTimeout = time.Second

// close closes the connection; politely tells the server before.
func (s *Server) close(politely bool) {
	if politely {
		_ = s.conn.SetDeadline(time.Now().Add(closeTimeout)) // the write that fails is of no importance
		_, _ = s.conn.Write(goodbye)
	}
	_ = s.conn.Close()
}
