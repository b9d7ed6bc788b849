// Package pgerror is the error that reaches an operator: SQLSTATE, message,
// DETAIL, HINT and where it happened, as PostgreSQL itself reports errors.
//
// Any error may be wrapped with %w on its way up; From finds the fields again,
// whether they were made here or came from a server (pgconn.PgError).
package pgerror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes used by pgdrover itself. The names are those of
// errcodes.txt in the PostgreSQL sources.
const (
	ConnectionException          = "08000"
	UnableToConnect              = "08001"
	ConnectionFailure            = "08006"
	ProtocolViolation            = "08P01"
	FeatureNotSupported          = "0A000"
	InvalidParameterValue        = "22023"
	InvalidAuthorization         = "28000"
	InvalidPassword              = "28P01"
	NoActiveTransaction          = "25P01"
	IdleInTransactionTimeout     = "25P03"
	InvalidSQLStatementName      = "26000"
	InvalidCursorName            = "34000"
	InvalidCatalogName           = "3D000"
	InsufficientPrivilege        = "42501"
	SyntaxError                  = "42601"
	UndefinedColumn              = "42703"
	UndefinedObject              = "42704"
	UndefinedTable               = "42P01"
	UndefinedParameter           = "42P02"
	DuplicateObject              = "42710"
	DuplicatePreparedStatement   = "42P05"
	DiskFull                     = "53100"
	TooManyConnections           = "53300"
	ConfigurationLimitExceeded   = "53400"
	ProgramLimitExceeded         = "54000"
	ObjectNotInPrerequisiteState = "55000"
	ObjectInUse                  = "55006"
	LockNotAvailable             = "55P03"
	QueryCanceled                = "57014"
	AdminShutdown                = "57P01"
	CannotConnectNow             = "57P03"
	IdleSessionTimeout           = "57P05"
	SystemError                  = "58000"
	UndefinedFile                = "58P01"
	ConfigFileError              = "F0000"
	InternalError                = "XX000"
)

// Error is one error as an operator reads it. The zero fields are left out.
type Error struct {
	Code     string // SQLSTATE, five characters
	Message  string // one line, lower case, no full stop
	Detail   string // the object, the position, what was found; may have several lines
	Hint     string // what to do: the exact command or SQL
	Where    string // database, shard, file and line
	Position int    // 1-based character in the command's text, 0 if none
	Cause    error  // what it was made from, for errors.Is and errors.As
}

// New makes an error with a SQLSTATE and a formatted message. A %w verb in
// format becomes the error's cause.
func New(code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// WithDetail sets DETAIL and returns e.
func (e *Error) WithDetail(format string, args ...any) *Error {
	e.Detail = fmt.Sprintf(format, args...)
	return e
}

// WithHint sets HINT and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithWhere sets where it happened and returns e.
func (e *Error) WithWhere(format string, args ...any) *Error {
	e.Where = fmt.Sprintf(format, args...)
	return e
}

// At sets the 1-based character position in the command's text and returns e.
func (e *Error) At(position int) *Error {
	e.Position = position
	return e
}

// Error gives the message alone: wrappers put what was being done before it.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error {
	if e == nil { // no error, in an interface
		return nil
	}
	return e.Cause
}

// From gives err as an Error: the fields of the innermost *Error or
// *pgconn.PgError in its chain, with the whole chain's text as message. Errors
// without a SQLSTATE get one by their nature: 57014 for a cancelled context,
// 08006 for a broken connection, XX000 for the rest. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // an Error that is not wrapped is given as it is
		return e
	}
	var own *Error
	if errors.As(err, &own) {
		out := *own
		out.Message, out.Cause = err.Error(), err
		return &out
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return fromServer(err, server)
	}
	return &Error{Code: codeOf(err), Message: err.Error(), Cause: err}
}

// fromServer keeps every field a server sent, and the words wrapped round it.
func fromServer(err error, server *pgconn.PgError) *Error {
	out := &Error{
		Code: server.Code, Message: server.Message, Detail: server.Detail,
		Hint: server.Hint, Where: server.Where, Cause: err,
	}
	// PgError.Error() is "SEVERITY: message (SQLSTATE x)"; readers see those
	// fields apart, so only the words before it are kept.
	if before, _, found := strings.Cut(err.Error(), server.Error()); found && before != "" {
		out.Message = before + server.Message
	}
	return out
}

func codeOf(err error) string {
	var netError net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect):
		return UnableToConnect
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return QueryCanceled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, pgconn.ErrConnClosed), errors.As(err, &netError):
		return ConnectionFailure
	}
	return InternalError
}

// Code is the SQLSTATE of err, "" for nil.
func Code(err error) string {
	if e := From(err); e != nil {
		return e.Code
	}
	return ""
}

// IsConnectionLost tells whether err means that the server's connection is
// gone, so that the statement may be tried again on a new one.
func IsConnectionLost(err error) bool {
	code := Code(err)
	if len(code) != 5 {
		return false
	}
	// 57P01..57P05 end the session from the server's side.
	return code[:2] == "08" || code[:4] == "57P0"
}
