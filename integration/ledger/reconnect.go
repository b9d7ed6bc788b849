package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// retryDelay is the pause between attempts to reach the source.
const retryDelay = 20 * time.Millisecond

// reconnect opens a connection unless there is one, however long that takes.
func (w *worker) reconnect(ctx context.Context) error {
	if w.conn != nil && !w.conn.IsClosed() {
		return nil
	}
	again := w.conn != nil
	ticker := time.NewTicker(retryDelay)
	defer ticker.Stop()
	for {
		conn, err := w.workload.connect(ctx)
		if err == nil {
			w.conn = conn
			if again {
				w.workload.reconnected()
			}
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (w *Workload) reconnected() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Reconnects++
}

// resolve finds out how a transaction ended whose connection was lost. The
// server may not have noticed yet: the transaction's end is certain only when
// the lock that it holds is free.
func (w *worker) resolve(ctx context.Context, t *transaction) (outcome, error) {
	ticker := time.NewTicker(retryDelay)
	defer ticker.Stop()
	for {
		if err := w.reconnect(ctx); err != nil {
			return unknown, err
		}
		done, err := w.lookUp(ctx, t)
		if err == nil && done != unknown {
			return done, nil
		}
		var server *pgconn.PgError
		if err != nil && !errors.As(err, &server) {
			_ = w.conn.Close(ctx) // it is lost
		}
		if err != nil && errors.As(err, &server) && !passes(err) && server.Code != "55000" && server.Code != "42704" {
			return unknown, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return unknown, errors.Join(ctx.Err(), err)
		}
	}
}

// lookUp is one attempt of resolve. A prepared transaction is ended as it was
// meant to be.
func (w *worker) lookUp(ctx context.Context, t *transaction) (outcome, error) {
	if t.gid != "" {
		var prepared bool
		err := w.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database())", t.gid).Scan(&prepared)
		if err != nil {
			return unknown, err
		}
		if prepared {
			verb := "ROLLBACK"
			if t.commit {
				verb = "COMMIT"
			}
			if _, err := w.conn.Exec(ctx, verb+" PREPARED '"+t.gid+"'"); err != nil {
				return unknown, err
			}
		}
	}
	var ended bool
	err := w.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", w.run.number, w.number).Scan(&ended)
	if err != nil || !ended {
		return unknown, err
	}
	var found bool
	// A statement of its own: its snapshot is taken when the lock is held.
	if err := w.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ledger.txs WHERE id = $1)", t.id).Scan(&found); err != nil {
		return unknown, err
	}
	if _, err := w.conn.Exec(ctx, "SELECT pg_advisory_unlock($1, $2)", w.run.number, w.number); err != nil {
		return unknown, err
	}
	if found {
		return committed, nil
	}
	return rolledBack, nil
}
