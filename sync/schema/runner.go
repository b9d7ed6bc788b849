package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

// RunOptions say how a plan's statements are run.
type RunOptions struct {
	Owner              string        // tells the sessions of one mirror apart from those of others
	Jobs               int           // connections per shard, at least 1
	LockTimeout        time.Duration // a statement waits no longer for a lock
	RetryMaxAttempts   int           // attempts of a statement that meets a lock or deadlock error
	RetryMinDelay      time.Duration // before the second attempt; doubles, up to 32 times
	IgnoreErrors       bool          // go on after a failed statement
	MaintenanceWorkMem string        // "" leaves the server's own
	Gate               *Gate         // holds statements back until their table is filled; nil for none
	// Postpone tells whether a failure is one that passes later: it is only
	// reported then. nil for none. It is called from several goroutines.
	Postpone func(*Statement, *pgerror.Error) bool
}

// Runner runs the plan of one shard. Its Run owns every goroutine it starts.
type Runner struct {
	Server  config.Server
	Options RunOptions
	Report  func(Event) // called from several goroutines, for each statement in order
}

// ErrConnectionLost says that a shard's connection broke while statements were
// in flight: whether they were committed can only be seen by looking again, so
// the shard has to be planned anew.
var ErrConnectionLost = errors.New("connection lost")

// Run runs every statement that the plan found missing. In strict mode the
// first failure is returned, once the statements in flight have ended: a long
// build is not thrown away for another statement's error. With IgnoreErrors
// failures are only reported. No statement is in flight when it returns.
func (r *Runner) Run(ctx context.Context, plan *Plan) error {
	schedule := newScheduler(plan.Statements, r.Options.Gate)
	r.Options.Gate.join(schedule)
	defer r.Options.Gate.leave(schedule)
	var group errgroup.Group
	for i := range max(1, min(r.Options.Jobs, len(schedule.waiting))) {
		group.Go(func() error {
			err := r.work(ctx, schedule, i == 0)
			if err != nil {
				schedule.stop()
			}
			return err
		})
	}
	return group.Wait()
}

// work is one worker: one session, from the first statement to the last. When
// the server has no connection left for it, a worker other than the first
// leaves its work to the others.
func (r *Runner) work(ctx context.Context, schedule *scheduler, first bool) error {
	s, err := openSession(ctx, r.Server, r.Options)
	switch {
	case err == nil:
	case !first && pgerror.Code(err) == pgerror.TooManyConnections:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("%w: %w", ErrConnectionLost, err)
	}
	defer s.close(ctx)
	for {
		batch, ticket := schedule.take(ctx)
		if batch == nil {
			return context.Cause(ctx)
		}
		err := r.run(ctx, s, batch)
		schedule.finish(ticket)
		if err != nil {
			return err
		}
	}
}

// run runs a batch in one transaction. When a statement of it fails nothing of
// the batch was done; then those before it run again, it by itself with its own
// attempts, and the rest.
func (r *Runner) run(ctx context.Context, s *session, batch []*Statement) error {
	for len(batch) > 1 {
		failed, err := r.together(ctx, s, batch)
		if err == nil {
			return nil
		}
		if lost := r.lost(ctx, err); lost != nil {
			return r.during(ctx, batch[min(failed, len(batch)-1)], lost)
		}
		if failed == len(batch) { // COMMIT: a deferred constraint, say
			for _, st := range batch {
				if err := r.alone(ctx, s, st); err != nil {
					return err
				}
			}
			return nil
		}
		if err := r.run(ctx, s, batch[:failed]); err != nil {
			return err
		}
		if err := r.alone(ctx, s, batch[failed]); err != nil {
			return err
		}
		batch = batch[failed+1:]
	}
	if len(batch) == 1 {
		return r.alone(ctx, s, batch[0])
	}
	return nil
}

func (r *Runner) together(ctx context.Context, s *session, batch []*Statement) (failed int, err error) {
	queries := make([]string, len(batch))
	for i, st := range batch {
		queries[i] = st.SQL
		r.report(s, st, StateRunning, 1, nil)
	}
	failed, err = s.transaction(ctx, queries)
	for _, st := range batch {
		if err == nil {
			r.report(s, st, StateDone, 1, nil)
		} else {
			r.report(s, st, StatePending, 0, nil)
		}
	}
	return failed, err
}

// alone runs one statement by itself, again when it met a lock or a deadlock.
func (r *Runner) alone(ctx context.Context, s *session, st *Statement) error {
	for attempt := 1; ; attempt++ {
		r.report(s, st, StateRunning, attempt, nil)
		err := r.once(ctx, s, st)
		if err == nil {
			r.report(s, st, StateDone, attempt, nil)
			return nil
		}
		if lost := r.lost(ctx, err); lost != nil {
			r.cleanUp(ctx, st)
			r.report(s, st, StatePending, attempt, nil)
			return r.during(ctx, st, lost)
		}
		if st.NoTransaction && st.Kind == string(dump.KindIndex) {
			if err := s.dropInvalid(ctx, st); err != nil {
				return fmt.Errorf("remove the invalid index that a failed build left: %w", err)
			}
			if err := s.exec(ctx, fmt.Sprintf("SET lock_timeout = %d", s.lockTimeout)); err != nil {
				return err
			}
		}
		if retryable(err) && attempt < r.Options.RetryMaxAttempts {
			r.report(s, st, StatePending, attempt, nil)
			if err := pause(ctx, backoff(r.Options.RetryMinDelay, attempt)); err != nil {
				return err
			}
			continue
		}
		failure := r.explain(st, err, attempt)
		if hint := s.whoHas(ctx, st, err); hint != "" {
			failure.Hint = hint
		}
		r.report(s, st, StateFailed, attempt, failure)
		if r.Options.IgnoreErrors || r.Options.Postpone != nil && r.Options.Postpone(st, failure) {
			return nil
		}
		return failure
	}
}

func (r *Runner) once(ctx context.Context, s *session, st *Statement) error {
	if st.NoTransaction {
		return s.concurrently(ctx, st)
	}
	return s.exec(ctx, st.SQL)
}

// lost turns an error into one that ends the worker: the end of ctx, or a lost
// connection. nil for errors of the statement itself.
func (r *Runner) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if pgerror.IsConnectionLost(err) {
		return fmt.Errorf("%w: %w", ErrConnectionLost, err)
	}
	return nil
}

// during says with which statement a connection was lost.
func (r *Runner) during(ctx context.Context, st *Statement, lost error) error {
	if ctx.Err() != nil {
		return lost
	}
	return fmt.Errorf("%s %s on %q shard %d: %w", lower(st.Kind), describe(st), r.Server.Cluster, st.Shard, lost)
}

// cleanUpTime bounds the removal of an invalid index after a stop.
const cleanUpTime = 10 * time.Second

// cleanUp tries to remove what an interrupted CONCURRENTLY build left. If it
// cannot, the next plan finds it.
func (r *Runner) cleanUp(ctx context.Context, st *Statement) {
	if !st.NoTransaction || st.Kind != string(dump.KindIndex) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	s, err := openSession(ctx, r.Server, r.Options)
	if err != nil {
		return
	}
	defer s.close(ctx)
	_ = s.dropInvalid(ctx, st)
}

func (r *Runner) report(s *session, st *Statement, state State, attempt int, err *pgerror.Error) {
	r.Report(Event{Statement: st, State: state, Attempt: attempt, Backend: s.backend(), At: time.Now(), Err: err})
}

// retryable tells whether a statement may succeed when tried again: 55P03
// lock_not_available, 40P01 deadlock_detected, 40001 serialization_failure, and
// two sessions that met in one row of a catalog (the name of an array type, the
// grants of one object).
func retryable(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	switch server.Code {
	case "55P03", "40P01", "40001":
		return true
	case "23505":
		return server.SchemaName == "pg_catalog"
	}
	return server.Code == "XX000" && strings.HasPrefix(server.Message, "tuple concurrently ")
}

// backoff is the delay after the attempt-th try: doubling, at most 32-fold.
func backoff(first time.Duration, attempt int) time.Duration {
	return first << min(attempt-1, 5)
}

// explain gives a failed statement's error the object, and the way out.
func (r *Runner) explain(st *Statement, err error, attempts int) *pgerror.Error {
	server := pgerror.From(err)
	e := pgerror.New(server.Code, "%s %s on %q shard %d: %s", lower(st.Kind), describe(st), r.Server.Cluster, st.Shard, server.Message)
	e.Cause, e.Detail, e.Hint, e.Where = err, server.Detail, server.Hint, server.Where
	if e.Hint == "" {
		e.Hint = hintFor(server.Code, attempts)
	}
	return e
}
