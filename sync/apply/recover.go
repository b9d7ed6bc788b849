package apply

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// recover does what is to be done when the oldest flight has failed: the
// executor has ended, and from here to its restart everything happens in this
// goroutine, one step after the other.
//
//	failure                  group in memory            chunk of a large one
//	connection, transient    reconnect, redo            reconnect, begin again
//	set of a table           redo, the table exact      the chunk again, exact
//	one change of a table    stop it, redo              stop it, begin again
//	COMMIT, constraint       redo, the table exact      begin again, exact
func (w *worker) recover(ctx context.Context, o outcome) error {
	w.exec.stop()
	flights := w.flights
	w.flights, w.exec = nil, nil
	head := flights[0]
	err := w.afterFailure(ctx, o)
	switch {
	case err == nil:
	case !errors.Is(err, errRestart):
		return err
	case head.poll:
	case head.group.large:
		w.restart()
		return errRestart
	default:
		if err := w.redo(ctx, head.group); err != nil {
			return err
		}
	}
	return w.resume(ctx, flights)
}

// afterFailure takes back what has failed. Nil means that the chunk, if it is
// of a large group, has been applied after all; errRestart that its group has
// to be applied again from its begin, and that no transaction is open.
func (w *worker) afterFailure(ctx context.Context, o outcome) error {
	f := o.flight
	if f.poll || classify(o.failure) == transient {
		if err := w.reconnect(ctx, o.failure); err != nil {
			return err
		}
		return errRestart
	}
	if f.group.large && !o.inCommit {
		if err := w.takeBack(ctx, f, o.failure); err != nil {
			return err
		}
		return w.runFlight(ctx, f)
	}
	w.build.forget()
	if err := w.rollback(ctx, true); err != nil {
		return err
	}
	if err := w.blame(ctx, f, o.failure); err != nil {
		return err
	}
	return errRestart
}

// resume goes on with what was in flight behind the failure.
func (w *worker) resume(ctx context.Context, flights []*flight) error {
	for _, f := range flights {
		if f.script != nil {
			w.keepScript(f.script)
			f.script = nil
		}
	}
	for _, f := range flights[1:] {
		if f.poll || f.group.committed {
			continue
		}
		if f.group.large && f.group != flights[0].group {
			w.restart()
			return errRestart // it was folded before
		}
		if f.group.large {
			w.restart()
			w.submit(f)
			return nil
		}
		if f.group == flights[0].group {
			continue // redo has done all of it
		}
		if err := w.redo(ctx, f.group); err != nil {
			return err
		}
	}
	w.restart()
	return nil
}

// restart gives the session to an executor again.
func (w *worker) restart() {
	w.submitted = w.committed
	w.exec = startExecutor(w.session)
}

// rollback takes back the whole transaction, or what came behind the last
// savepoint.
func (w *worker) rollback(ctx context.Context, whole bool) error {
	s := w.newScript()
	defer w.keepScript(s)
	s.reset()
	if whole {
		s.control(stmtRollback)
	} else {
		s.control(stmtRollbackTo)
	}
	s.sync()
	if _, f := w.session.run(s); f != nil {
		if err := w.reconnect(ctx, f); err != nil {
			return err
		}
		return errRestart
	}
	return nil
}

// blame finds what has to change before a chunk can be tried again: its table
// goes one by one, or, if it did, stops (errRestart).
func (w *worker) blame(ctx context.Context, in *flight, f *failure) error {
	o, c := f.op, in.chunk
	switch {
	case o.kind == opTruncate:
		for _, e := range c.truncate {
			of := *f
			of.op.entry = e
			if err := w.stop(ctx, e.target, &of); err != nil {
				return err
			}
		}
		return errRestart
	case o.entry.item != nil: // one change, or the end of one transaction
		if err := w.stop(ctx, o.window.target, f); err != nil {
			return err
		}
		return errRestart
	}
	win := o.window
	if win == nil && in.group.large && f.err != nil {
		// The state at the end of one transaction of the source does not depend on
		// how it was reached.
		if t := in.group.items[0].targets.byError(f.err); t != nil {
			of := *f
			of.op.entry = entry{item: in.group.items[0]}
			if err := w.stop(ctx, t, &of); err != nil {
				return err
			}
			return errRestart
		}
	}
	if win == nil && c != nil && f.err != nil {
		win = c.byError(f.err)
	}
	if win == nil || win.single && win.checked {
		return w.final(f)
	}
	// Next time it is exact; deferred constraints, which fail at the end, are
	// then checked behind each transaction of the source.
	w.beCautious(win, o.window == nil)
	return nil
}

// final is an error that no table can be blamed for.
func (w *worker) final(f *failure) error {
	switch {
	case f.err != nil:
		return f.err
	case f.fatal != nil:
		return f.fatal
	}
	return pgerror.New(pgerror.InternalError, "a statement affected %d rows instead of %d", f.got, f.op.want)
}

// stop stops a table from the transaction of f on.
func (w *worker) stop(ctx context.Context, t *Target, f *failure) error {
	w.stamp++
	return w.a.stops.stop(ctx, t, w.a.explain(f, t), f.op.entry.item.tx)
}

// byError finds the table that an error of a constraint names.
func (c *chunk) byError(err *pgerror.Error) *window {
	table := tableOf(err)
	i := slices.IndexFunc(c.windows, func(w *window) bool { return w.target.Table == table })
	if i < 0 {
		return nil
	}
	return c.windows[i]
}

// byError is the same among all tables that a transaction changes.
func (n *resolution) byError(err *pgerror.Error) *Target {
	table := tableOf(err)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.all {
		if f.target != nil && f.target.Table == table {
			return f.target
		}
	}
	return nil
}

// tableOf gives the table that a server's error names.
func tableOf(err *pgerror.Error) catalog.Name {
	var server *pgconn.PgError
	if !errors.As(err.Cause, &server) {
		return catalog.Name{}
	}
	return catalog.Name{Schema: server.SchemaName, Name: server.TableName}
}
