package admin

import (
	"context"
	"errors"

	"github.com/pgdrover/pgdrover/pgerror"
)

// What can end a command's context, beside errClientLeft and the server's
// shutdown. The texts are PostgreSQL's own messages.
var (
	errUserCancel       = errors.New("canceling statement due to user request")
	errStatementTimeout = errors.New("canceling statement due to statement timeout")
)

// interrupted gives the error of a command whose context has ended: for the
// client's own doing a 57014, which keeps DETAIL and HINT if err has that code;
// for the rest the error that ends the session.
func interrupted(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, errUserCancel) && !errors.Is(cause, errStatementTimeout) {
		return &sessionEnd{cause}
	}
	if e := pgerror.From(err); e.Code == pgerror.QueryCanceled {
		return pgerror.New(pgerror.QueryCanceled, "%w", cause).WithDetail("%s", e.Detail).WithHint("%s", e.Hint)
	}
	return pgerror.New(pgerror.QueryCanceled, "%w", cause)
}

// sessionEnd is an error that ends the session rather than the command.
type sessionEnd struct{ cause error }

func (e *sessionEnd) Error() string { return e.cause.Error() }
func (e *sessionEnd) Unwrap() error { return e.cause }

// endsSession tells whether err is about the session and not its command.
func endsSession(err error) bool {
	var end *sessionEnd
	return errors.As(err, &end)
}
