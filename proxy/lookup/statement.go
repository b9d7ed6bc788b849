package lookup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

const (
	// maxAnswer bounds one message of an answer, in bytes, and maxRows the rows
	// that are read.
	maxAnswer = 64 << 10
	maxRows   = 2
)

// runStatement runs one statement with one parameter of type text and gives the first
// rows. The connection is of no use afterwards.
func runStatement(ctx context.Context, c *dial.Connection, statement, parameter string) ([][][]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.Conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	defer context.AfterFunc(ctx, func() {
		_ = c.Conn.SetDeadline(time.Unix(1, 0)) // fails if it is closed: as well
	})()
	f := pgproto3.NewFrontend(c.Conn, c.Conn)
	f.SetMaxBodyLen(maxAnswer)
	f.Send(&pgproto3.Parse{Query: statement, ParameterOIDs: []uint32{textOID}})
	f.Send(&pgproto3.Bind{Parameters: [][]byte{[]byte(parameter)}})
	f.Send(&pgproto3.Execute{MaxRows: maxRows})
	f.Send(&pgproto3.Sync{})
	f.Send(&pgproto3.Terminate{})
	if err := f.Flush(); err != nil {
		return nil, reason(ctx, err)
	}
	return receive(ctx, f)
}

const textOID = 25

// receive reads the answer up to its end.
func receive(ctx context.Context, f *pgproto3.Frontend) ([][][]byte, error) {
	var rows [][][]byte
	for {
		message, err := f.Receive()
		if err != nil {
			return nil, reason(ctx, err)
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			if len(rows) < maxRows {
				rows = append(rows, clone(m.Values))
			}
		case *pgproto3.CommandComplete, *pgproto3.PortalSuspended, *pgproto3.EmptyQueryResponse:
			return rows, nil
		case *pgproto3.ErrorResponse:
			return nil, pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyInResponse, *pgproto3.CopyOutResponse, *pgproto3.ReadyForQuery:
			return nil, errors.New("it is no statement that gives rows")
		}
	}
}

// clone copies values, which belong to the Frontend.
func clone(values [][]byte) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		if v != nil {
			out[i] = append([]byte{}, v...)
		}
	}
	return out
}

// reason says of a deadline what it was.
func reason(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		return pgerror.New(pgerror.ConnectionFailure, "the server did not answer in time: %w", err)
	}
	return fmt.Errorf("read the answer: %w", err)
}
