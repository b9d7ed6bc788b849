package dial

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	// maxMessage bounds one message of a login, in bytes of its body. libpq
	// takes 30000 for an error, and 2000 for an authentication request.
	maxMessage = 64 << 10
	// maxMessages bounds all messages of a login together, in bytes.
	maxMessages = 1 << 20
	headLength  = 5
)

// messageReader reads the messages of a login, and not a byte more: what comes
// behind ReadyForQuery belongs to whoever uses the connection.
type messageReader struct {
	from io.Reader
	read int // bytes so far
}

// next reads a message, whose type must be one of kinds. The body is the
// caller's.
func (r *messageReader) next(kinds string) (kind byte, body []byte, err error) {
	var head [headLength]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return 0, nil, err
	}
	kind = head[0]
	if !strings.Contains(kinds, string(rune(kind))) {
		return 0, nil, pgerror.New(pgerror.ProtocolViolation, "the server sent an unexpected message during the login").
			WithDetail("Its type is %q; is it a PostgreSQL server?", kind)
	}
	length := int64(binary.BigEndian.Uint32(head[1:])) - 4
	r.read += headLength
	if length < 0 || length > maxMessage || int64(r.read)+length > maxMessages {
		return 0, nil, pgerror.New(pgerror.ProtocolViolation, "the server sent a message of an invalid length during the login").
			WithDetail("Message %q has %d bytes; at most %d are taken, and %d in all.", kind, length, maxMessage, maxMessages)
	}
	r.read += int(length)
	body = make([]byte, length)
	if _, err := io.ReadFull(r.from, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return kind, body, nil
}

// decodeAuthentication decodes an authentication request by its number. It
// gives nil for those that nobody here can answer.
func decodeAuthentication(body []byte) (pgproto3.BackendMessage, error) {
	if len(body) < 4 {
		return nil, malformed('R', io.ErrUnexpectedEOF)
	}
	var request pgproto3.BackendMessage
	switch binary.BigEndian.Uint32(body) {
	case pgproto3.AuthTypeOk:
		request = new(pgproto3.AuthenticationOk)
	case pgproto3.AuthTypeCleartextPassword:
		request = new(pgproto3.AuthenticationCleartextPassword)
	case pgproto3.AuthTypeMD5Password:
		request = new(pgproto3.AuthenticationMD5Password)
	case pgproto3.AuthTypeGSS:
		request = new(pgproto3.AuthenticationGSS)
	case pgproto3.AuthTypeSASL:
		request = new(pgproto3.AuthenticationSASL)
	case pgproto3.AuthTypeSASLContinue:
		request = new(pgproto3.AuthenticationSASLContinue)
	case pgproto3.AuthTypeSASLFinal:
		request = new(pgproto3.AuthenticationSASLFinal)
	default:
		return nil, nil
	}
	if err := request.Decode(body); err != nil {
		return nil, malformed('R', err)
	}
	return request, nil
}

func malformed(kind byte, err error) error {
	return pgerror.New(pgerror.ProtocolViolation, "the server sent a malformed message during the login: %w", err).
		WithDetail("The message's type is %q.", kind)
}
