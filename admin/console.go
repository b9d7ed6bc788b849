package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

// console is one session: the client, what it has set and prepared, and the
// state of its transaction. It belongs to the goroutine of ServeSession, but
// for cancelRunning.
type console struct {
	server     *Server
	client     Session
	out        *pgproto3.Backend
	inbox      *inbox
	parameters *parameters
	tx         transaction
	extended   extended

	mu     sync.Mutex
	cancel context.CancelCauseFunc // ends the running command; nil when none runs
}

func newConsole(s *Server, client Session) *console {
	return &console{
		server: s, client: client, out: client.Backend, inbox: newInbox(),
		parameters: newParameters(s, client), extended: newExtended(),
	}
}

// serve greets the client and answers its messages.
func (c *console) serve(ctx context.Context) error {
	for _, p := range c.parameters.reported() {
		c.out.Send(&pgproto3.ParameterStatus{Name: p.name, Value: c.parameters.get(p.name)})
	}
	c.ready()
	err := c.out.Flush()
	for err == nil {
		var message pgproto3.FrontendMessage
		if message, err = c.inbox.next(ctx); err == nil {
			err = c.answer(ctx, message)
		}
	}
	return c.goodbye(ctx, err)
}

// goodbye tells the client why its session ends, and the caller if that is
// worth knowing.
func (c *console) goodbye(ctx context.Context, err error) error {
	var broken *pgerror.Error
	switch {
	case errors.Is(err, errClientLeft):
		return nil
	case errors.As(err, &broken) && broken.Code == pgerror.ProtocolViolation:
		c.sendError("FATAL", broken)
		_ = c.out.Flush() // the session has failed already
		return fmt.Errorf("serve admin session: %w", err)
	case ctx.Err() != nil:
		c.sendError("FATAL", pgerror.New(pgerror.AdminShutdown, "terminating connection due to administrator command"))
		_ = c.out.Flush() // nobody may be there to hear it
		return nil
	}
	return fmt.Errorf("serve admin session: %w", err)
}

// answer handles one message. Its errors end the session; those of commands
// are sent to the client instead.
func (c *console) answer(ctx context.Context, message pgproto3.FrontendMessage) error {
	if _, isSync := message.(*pgproto3.Sync); c.extended.skipping && !isSync {
		return nil
	}
	switch m := message.(type) {
	case *pgproto3.Query:
		return c.simpleQuery(ctx, m.String)
	case *pgproto3.Sync:
		return c.sync()
	case *pgproto3.Flush:
		return c.out.Flush()
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return nil // outside of COPY these are leftovers of one that failed
	case *pgproto3.FunctionCall:
		c.fail(pgerror.New(pgerror.FeatureNotSupported, "function calls are not supported").WithHint("%s", helpHint))
		c.ready()
		return c.out.Flush()
	case *pgproto3.Parse, *pgproto3.Bind, *pgproto3.Describe, *pgproto3.Execute, *pgproto3.Close:
		return c.extendedMessage(ctx, message)
	}
	return pgerror.New(pgerror.ProtocolViolation, "unexpected message %T", message)
}

// execute runs one command: checks that the session may, watches for what can
// interrupt it, and keeps a panic from ending more than the command.
func (c *console) execute(ctx context.Context, call call) (result, error) {
	if err := c.allowed(call.statement); err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if call.waits() {
		defer context.AfterFunc(c.inbox.left, func() { cancel(c.inbox.reason()) })()
		if timeout := c.parameters.statementTimeout(); timeout > 0 {
			var stop context.CancelFunc
			ctx, stop = context.WithTimeoutCause(ctx, timeout, errStatementTimeout)
			defer stop()
		}
	}
	c.setRunning(cancel)
	defer c.setRunning(nil)

	if call.changes() {
		c.server.options.Logger.Info("admin command", slog.String("command", call.command.name),
			slog.String("user", c.client.User), slog.String("application_name", c.parameters.get("application_name")))
	}
	answer, err := c.runRecovered(ctx, call)
	if err != nil && ctx.Err() != nil {
		err = interrupted(ctx, err)
	}
	c.tx.effects = c.tx.effects || c.tx.open && err == nil && call.changes()
	return answer, err
}

// allowed refuses what the session's role or the state of its transaction does
// not permit.
func (c *console) allowed(s *statement) error {
	if err := c.tx.allows(s.command); err != nil {
		return err
	}
	if c.client.ReadOnly && s.command.role == Admin {
		return pgerror.New(pgerror.InsufficientPrivilege, "permission denied for %s", s.command.name).
			WithDetail("User %q may look at the admin database and not change anything.", c.client.User).
			WithHint("Connect as the user of [admin].")
	}
	return nil
}

// runRecovered runs the command and turns a panic into an error.
func (c *console) runRecovered(ctx context.Context, call call) (answer result, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.options.Logger.Error("admin command panicked", slog.String("command", call.command.name),
				slog.String("user", c.client.User), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = pgerror.New(pgerror.InternalError, "internal error in %s", call.command.name).
				WithHint("The log has the details. This session goes on.")
		}
	}()
	return call.command.run(ctx, c, call)
}

func (c *console) setRunning(cancel context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
}

// cancelRunning ends the running command, if there is one. Called from any
// goroutine.
func (c *console) cancelRunning() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(errUserCancel)
	}
}
