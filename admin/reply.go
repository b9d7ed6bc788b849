package admin

import (
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

// flushEvery is how many bytes of rows are gathered before they are written.
const flushEvery = 64 << 10

// ready sends ReadyForQuery.
func (c *console) ready() {
	c.out.Send(&pgproto3.ReadyForQuery{TxStatus: c.tx.status()})
}

// fail sends a command's error, after which the transaction, if there is one,
// has failed.
func (c *console) fail(err error) {
	c.sendError("ERROR", pgerror.From(err))
	c.tx.fail()
}

func (c *console) sendError(severity string, e *pgerror.Error) {
	c.out.Send(errorResponse(severity, e))
}

// notify sends a notice of the severity NOTICE, WARNING or INFO, unless the
// client asked for fewer of them, and writes it at once.
func (c *console) notify(severity string, e *pgerror.Error) {
	if !c.parameters.wantsNotice(severity) {
		return
	}
	notice := pgproto3.NoticeResponse(*errorResponse(severity, e))
	c.out.Send(&notice)
	_ = c.out.Flush() // a broken connection shows at the next write that matters
}

// warn sends what the engine found without failing. What has the SQLSTATE of
// success is a NOTICE.
func (c *console) warn(warnings []*pgerror.Error) {
	for _, w := range warnings {
		out, severity := *w, "WARNING"
		switch out.Code {
		case "":
			out.Code = warning
		case successfulCompletion:
			severity = "NOTICE"
		}
		c.notify(severity, &out)
	}
}

// notice sends a line of progress.
func (c *console) notice(format string, args ...any) {
	c.notify("NOTICE", &pgerror.Error{Code: successfulCompletion, Message: fmt.Sprintf(format, args...)})
}

// warning sends a warning that has its own SQLSTATE.
func (c *console) warning(code, format string, args ...any) {
	c.notify("WARNING", &pgerror.Error{Code: code, Message: fmt.Sprintf(format, args...)})
}

func errorResponse(severity string, e *pgerror.Error) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code, Message: clean(e.Message),
		Detail: clean(e.Detail), Hint: clean(e.Hint), Where: clean(e.Where),
		Position: int32(min(max(e.Position, 0), math.MaxInt32)),
	}
}

// sendRows sends rows, writing now and then so that a large result is not held
// twice. The rows before one that cannot be encoded have been sent.
func (c *console) sendRows(columns []Column, rows [][]any, formats []int16) error {
	pending := 0
	for _, values := range rows {
		row, err := encodeRow(columns, values, formats)
		if err != nil {
			return err
		}
		c.out.Send(row)
		for _, v := range row.Values {
			pending += len(v)
		}
		if pending > flushEvery {
			pending = 0
			if err := c.out.Flush(); err != nil {
				return &sessionEnd{err}
			}
		}
	}
	return nil
}

// complete sends CommandComplete.
func (c *console) complete(command *command, answer result, rows int) {
	tag := answer.tag
	if tag == "" {
		tag = command.commandTag()
	}
	if tag == "SELECT" {
		tag = fmt.Sprintf("SELECT %d", rows)
	}
	c.out.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// errNoSuchSetting is the error for a name that is neither a setting nor a
// session parameter.
func errNoSuchSetting(name string, near string) *pgerror.Error {
	e := pgerror.New(pgerror.UndefinedObject, "unrecognized setting \"%s\"", name)
	if near == "" {
		return e.WithHint("SHOW CONFIG lists the settings.")
	}
	return e.WithHint("Perhaps you meant %s. SHOW CONFIG lists the settings.", near)
}

// configError gives a configuration's error with the place of the argument it
// is about, if it names none of its own.
func configError(err error, place int) error {
	e := *pgerror.From(err)
	if e.Position == 0 {
		e.Position = place
	}
	return &e
}
