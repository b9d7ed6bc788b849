package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// connectAtLast makes the first connection of a Run.
func (w *worker) connectAtLast(ctx context.Context) error {
	err := w.connect(ctx)
	if err != nil {
		err = w.reconnect(ctx, &failure{fatal: err})
	}
	if err != nil {
		return err
	}
	w.restart()
	return nil
}

// renew makes a new session behind a step, which has moved the position and
// may have changed what statements were prepared for.
func (w *worker) renew(ctx context.Context) error {
	if err := w.drain(ctx); err != nil {
		return err
	}
	w.dropSession()
	return w.connectAtLast(ctx)
}

// reconnect waits for the destination after a failure and makes a new session,
// whose position tells which groups are committed. It gives up when Run is told
// to end (errStopped), after RetryMaxAttempts, and for what waiting cannot cure.
func (w *worker) reconnect(ctx context.Context, f *failure) error {
	err := f.fatal
	if f.err != nil {
		err = f.err
	} else if err == nil {
		err = errors.New("another session moved the position")
	}
	w.dropSession()
	for {
		w.failures++
		w.stats.wait(w, err)
		if hook := w.a.options.Observer.Retry; hook != nil {
			hook(w.shard, w.failures, err)
		}
		if most := w.a.options.RetryMaxAttempts; most > 0 && w.failures > most {
			return fmt.Errorf("given up after %d attempts: %w", most, err)
		}
		if err := w.pause(ctx, w.a.options.delay(w.failures)); err != nil {
			return err
		}
		if err = w.connect(ctx); err == nil {
			if pgerror.IsConnectionLost(w.stats.waitingFor()) {
				w.stats.wait(w, nil)
			}
			return nil
		}
		if errors.Is(err, ErrRedeliver) || ctx.Err() != nil {
			return err
		}
		if code := pgerror.Code(err); code == pgerror.UndefinedTable || code == pgerror.InsufficientPrivilege {
			return err // pgdrover.progress, or session_replication_role
		}
	}
}

func (w *worker) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.queue.stopped:
		return errStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// setupTimeout bounds what a new session takes: a server that accepts
// connections but does not answer is tried again.
const setupTimeout = time.Minute

// connect makes a session, and reads where it is.
func (w *worker) connect(ctx context.Context) error {
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	conn, err := connect.Open(setup, w.server, "apply")
	if err != nil {
		return err
	}
	position, err := w.prepareSession(setup, conn)
	if err != nil {
		_ = conn.Close(setup)
		return fmt.Errorf("prepare to apply on %s: %w", w.place, err)
	}
	pid := conn.PgConn().PID()
	s, err := newSession(setup, conn)
	if err != nil {
		_ = conn.Close(setup)
		return err
	}
	a, err := w.prepareStatements(setup, s)
	if err != nil {
		s.close()
		return err
	}
	if position < w.committed {
		s.terminate()
		return fmt.Errorf("%w: %s was at %s and is at %s", ErrRedeliver, w.place, w.committed, position)
	}
	w.session, w.pid, w.build = s, pid, newBuilder()
	w.stopInterrupt = context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), interruptTimeout)
		defer cancel()
		s.interrupt(late)
	})
	w.committed, w.submitted, w.recorded = position, position, time.Now()
	w.at = max(w.at, position)
	w.unflushed = append(w.unflushed[:0], commit{end: position, insert: a.insertLSN})
	w.flushed(a.flushLSN)
	w.stats.position(w)
	return nil
}

// prepareStatements prepares what is no table's, and asks where the
// destination's own WAL is.
func (w *worker) prepareStatements(ctx context.Context, s *session) (answer, error) {
	defer context.AfterFunc(ctx, func() { _ = s.conn.Close() })()
	script := w.newScript()
	defer w.keepScript(script)
	script.reset()
	for _, c := range controlSQL {
		script.parse(c.name, c.sql)
	}
	script.plain(stmtLSN, op{kind: opLSN, want: anyCount})
	script.sync()
	a, f := s.run(script)
	if f != nil {
		return a, fmt.Errorf("prepare to apply on %s: %w", w.place, w.final(f))
	}
	return a, nil
}

const interruptTimeout = 2 * time.Second

// prepareSession pins what apply needs, ends what a lost session of the same
// mirror has left open, and gives the recorded position.
func (w *worker) prepareSession(ctx context.Context, conn *pgx.Conn) (stream.LSN, error) {
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		return 0, err
	}
	name := fmt.Sprintf("pgdrover apply %s %d", w.a.options.Mirror, w.a.options.SourceShard)
	if len(name) > 63 { // NAMEDATALEN - 1, where the server would cut it
		name = name[len(name)-63:]
	}
	if _, err := conn.Exec(ctx, "SELECT set_config('application_name', $1, false)", name); err != nil {
		return 0, err
	}
	// A connection may be gone while its backend waits for a message for hours,
	// with the position's row locked.
	_, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND application_name = current_setting('application_name') AND (pid = $1 OR state LIKE 'idle in transaction%')`, int32(w.pid))
	var server *pgconn.PgError
	if err != nil && (!errors.As(err, &server) || server.Code != pgerror.InsufficientPrivilege) {
		return 0, err
	}
	position, err := ensureProgress(ctx, conn, w.a.options.Mirror, w.a.options.SourceShard)
	if err == nil { // what a run that was killed has left
		err = dropCarried(ctx, conn, w.a.options.Mirror, w.a.options.SourceShard)
	}
	return position, err
}

// dropSession ends a session that may be of no use any more.
func (w *worker) dropSession() {
	if w.exec != nil {
		w.exec.stop()
		w.exec = nil
	}
	if w.session != nil {
		w.stopInterrupt()
		w.session.terminate()
		w.session = nil
	}
}

// letGo ends everything that the worker owns.
func (w *worker) letGo() {
	if w.session != nil && w.exec != nil && len(w.flights) > 0 {
		_ = w.session.conn.Close() // the executor waits for answers
	}
	w.dropSession()
	for _, g := range w.sealed {
		w.releaseGroup(g)
	}
	w.releaseGroup(w.open)
	for _, it := range w.pending[w.next:] {
		it.release()
	}
	w.pending, w.next, w.sealed, w.flights = nil, 0, nil, nil
}
