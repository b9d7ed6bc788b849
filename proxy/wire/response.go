package wire

import (
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Severities of ErrorResponse and NoticeResponse.
const (
	Error   = "ERROR"   // ends the statement
	Fatal   = "FATAL"   // ends the connection
	Notice  = "NOTICE"  // progress
	Warning = "WARNING" // something to know
	Info    = "INFO"    // what the client asked for
)

// ErrorResponse is e as a message. The fields that clients rely on (severity
// in both forms, SQLSTATE, message) are always there.
func ErrorResponse(severity string, e *pgerror.Error) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{
		Severity:            severity,
		SeverityUnlocalized: severity,
		Code:                codeOr(e, pgerror.InternalError),
		Message:             messageOr(e, "internal error"),
		Detail:              e.Detail,
		Hint:                e.Hint,
		Where:               e.Where,
		Position:            int32(e.Position),
	}
}

// NoticeResponse is e as a notice. Its SQLSTATE is 00000 if e has none.
func NoticeResponse(severity string, e *pgerror.Error) *pgproto3.NoticeResponse {
	response := pgproto3.NoticeResponse(*ErrorResponse(severity, e))
	response.Code = codeOr(e, successfulCompletion)
	return &response
}

const successfulCompletion = "00000"

func codeOr(e *pgerror.Error, otherwise string) string {
	if len(e.Code) != 5 {
		return otherwise
	}
	return e.Code
}

func messageOr(e *pgerror.Error, otherwise string) string {
	if e.Message == "" {
		return otherwise
	}
	return e.Message
}
