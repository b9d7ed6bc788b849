package wire

import (
	"bytes"
	"encoding/binary"

	"github.com/pgdrover/pgdrover/pgerror"
)

// The messages that clients send, by their type byte.
const (
	MsgBind         = 'B'
	MsgClose        = 'C'
	MsgDescribe     = 'D'
	MsgExecute      = 'E'
	MsgFlush        = 'H'
	MsgFunctionCall = 'F'
	MsgParse        = 'P'
	MsgQuery        = 'Q'
	MsgSync         = 'S'
	MsgTerminate    = 'X'
)

// The messages that both sides send during COPY.
const (
	MsgCopyData = 'd'
	MsgCopyDone = 'c'
	MsgCopyFail = 'f'
)

// The messages that servers send.
const (
	MsgBindComplete         = '2'
	MsgCloseComplete        = '3'
	MsgCommandComplete      = 'C'
	MsgCopyBothResponse     = 'W'
	MsgCopyInResponse       = 'G'
	MsgCopyOutResponse      = 'H'
	MsgDataRow              = 'D'
	MsgEmptyQuery           = 'I'
	MsgErrorResponse        = 'E'
	MsgFunctionCallResponse = 'V'
	MsgNoData               = 'n'
	MsgNoticeResponse       = 'N'
	MsgNotification         = 'A'
	MsgParameterDescription = 't'
	MsgParameterStatus      = 'S'
	MsgParseComplete        = '1'
	MsgPortalSuspended      = 's'
	MsgReadyForQuery        = 'Z'
	MsgRowDescription       = 'T'
)

// The transaction states of ReadyForQuery.
const (
	Idle          = 'I'
	InTransaction = 'T'
	Failed        = 'E'
)

const (
	// HeaderLength is the type byte and the length field, in bytes.
	HeaderLength = 5
	// MaxMessageLength is the largest value of a length field that is taken for
	// one: PostgreSQL allocates no more for a message.
	MaxMessageLength = 1<<30 - 1
)

// MessageLength gives the length in bytes of the message that b begins with,
// type byte and all; b has at least HeaderLength bytes. It is false if the
// length field cannot be one.
func MessageLength(b []byte) (int, bool) {
	length := binary.BigEndian.Uint32(b[1:])
	return int(length) + 1, length >= 4 && length <= MaxMessageLength
}

// CutString cuts the string that b begins with, up to its zero byte; false if
// there is none.
func CutString(b []byte) (s, rest []byte, ok bool) { return bytes.Cut(b, []byte{0}) }

// AppendHeader appends the header of a message whose body has so many bytes.
func AppendHeader(b []byte, kind byte, body int) []byte {
	return binary.BigEndian.AppendUint32(append(b, kind), uint32(body+4))
}

// AppendEmpty appends a message without a body.
func AppendEmpty(b []byte, kind byte) []byte { return AppendHeader(b, kind, 0) }

// AppendQuery appends a Query.
func AppendQuery(b []byte, sql string) []byte {
	b = AppendHeader(b, MsgQuery, len(sql)+1)
	return append(append(b, sql...), 0)
}

// AppendParse appends a Parse of a statement's name; rest is the text, its zero
// byte, and what follows it.
func AppendParse(b []byte, name string, rest []byte) []byte {
	b = AppendHeader(b, MsgParse, len(name)+1+len(rest))
	b = append(append(b, name...), 0)
	return append(b, rest...)
}

// AppendNamed appends a Close or Describe of a statement ('S') or a portal ('P').
func AppendNamed(b []byte, kind, what byte, name string) []byte {
	b = AppendHeader(b, kind, len(name)+2)
	return append(append(append(b, what), name...), 0)
}

// AppendReadyForQuery appends a ReadyForQuery.
func AppendReadyForQuery(b []byte, status byte) []byte {
	return append(AppendHeader(b, MsgReadyForQuery, 1), status)
}

// AppendCommandComplete appends a CommandComplete.
func AppendCommandComplete(b []byte, tag string) []byte {
	b = AppendHeader(b, MsgCommandComplete, len(tag)+1)
	return append(append(b, tag...), 0)
}

// AppendParameterStatus appends a ParameterStatus.
func AppendParameterStatus(b []byte, name, value string) []byte {
	b = AppendHeader(b, MsgParameterStatus, len(name)+len(value)+2)
	b = append(append(b, name...), 0)
	return append(append(b, value...), 0)
}

// AppendError appends an ErrorResponse.
func AppendError(b []byte, severity string, e *pgerror.Error) []byte {
	out, err := ErrorResponse(severity, e).Encode(b)
	if err != nil { // a gigabyte of text
		out, _ = ErrorResponse(severity, pgerror.New(codeOr(e, pgerror.InternalError), "the error is too long to be sent")).Encode(b)
	}
	return out
}

// ParameterStatus gives the name and the value of a ParameterStatus' body.
func ParameterStatus(body []byte) (name, value string, ok bool) {
	n, rest, ok := CutString(body)
	if !ok {
		return "", "", false
	}
	v, _, ok := CutString(rest)
	return string(n), string(v), ok
}

// ErrorFields are what a proxy reads of an ErrorResponse.
type ErrorFields struct{ Severity, Code, Message, Detail, Hint, Where, Routine string }

// ParseError reads an ErrorResponse's body, which may be cut off: fields that
// are not whole are left out.
func ParseError(body []byte) ErrorFields {
	var f ErrorFields
	for len(body) > 1 && body[0] != 0 {
		kind := body[0]
		value, rest, ok := CutString(body[1:])
		if !ok {
			break
		}
		body = rest
		switch kind {
		case 'V':
			f.Severity = string(value)
		case 'S':
			if f.Severity == "" {
				f.Severity = string(value)
			}
		case 'C':
			f.Code = string(value)
		case 'M':
			f.Message = string(value)
		case 'D':
			f.Detail = string(value)
		case 'H':
			f.Hint = string(value)
		case 'W':
			f.Where = string(value)
		case 'R':
			f.Routine = string(value)
		}
	}
	return f
}

// Fatal tells whether the server ends the connection with the error.
func (f ErrorFields) Fatal() bool { return f.Severity == Fatal || f.Severity == "PANIC" }

// Err is the error with its fields, but for those a proxy has no use for.
func (f ErrorFields) Err() *pgerror.Error {
	return &pgerror.Error{Code: f.Code, Message: f.Message, Detail: f.Detail, Hint: f.Hint, Where: f.Where}
}
