package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// sourceSetup keeps a COPY to one process, so that rows come in the order of
// their pages, and pins what connect does not: how money looks.
const sourceSetup = `SET max_parallel_workers_per_gather = 0; SET synchronize_seqscans = off; SET jit = off; SET lc_monetary = 'C'`

// destinationSetup keeps triggers and foreign keys from acting. Ranges need not
// be durable one by one: they are, together, when their table is complete.
const destinationSetup = `SET session_replication_role = replica; SET synchronous_commit = off; SET lc_monetary = 'C';
SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.to_regclass('pgdrover.copied') IS NOT NULL`

// rollbackToSavepoint ends what a range did in the source's transaction, locks
// included, and keeps the snapshot.
const rollbackToSavepoint = "ROLLBACK TO SAVEPOINT pgdrover"

// openError is a failure to get at a server: not a table's own.
type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

// worker copies one range at a time. It has one session on its source, and one
// on each destination it has written to.
type worker struct {
	c      *Copier
	source *sourceState
	number int
	from   *session
	to     []*session  // by shard
	at     *tableState // whose ranges it copies; guarded by Copier.mu
}

// run copies ranges until there are none. Its error ends the whole copy.
func (w *worker) run(ctx context.Context) error {
	defer w.close()
	for {
		j := w.c.take(ctx, w)
		if j == nil {
			return context.Cause(ctx)
		}
		if w.c.o.Ease != nil {
			if err := w.c.o.Ease(j.table.ctx); err != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		w.tell(j, true)
		err := w.c.retry(j.table.ctx, j.r.String(), w.tellRetry(j), func(ctx context.Context) error { return w.attempt(ctx, j) })
		w.tell(j, false)
		var unreachable *openError
		switch {
		case err == nil:
			if w.c.o.RangeDone != nil {
				w.c.o.RangeDone(j.r)
			}
			w.c.copied(j)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrSnapshotLost):
			w.c.o.Logger.Warn("a worker stops: the snapshot is gone", "mirror", w.c.o.Mirror, "worker", w.number, "error", err)
			w.c.putBack(j)
			w.c.retire(w)
			return nil
		case errors.As(err, &unreachable):
			return err
		default:
			w.c.giveUp(j.table, err)
		}
	}
}

// tell tells who copies a range.
func (w *worker) tell(j *job, begins bool) {
	if w.c.o.Working != nil {
		w.c.o.Working(j.r, w.number, begins)
	}
}

func (w *worker) close() {
	for _, s := range append(slices.Clone(w.to), w.from) {
		if s != nil {
			s.close()
		}
	}
}

// tellRetry is what tells why a range is tried again.
func (w *worker) tellRetry(j *job) func(*pgerror.Error) {
	if w.c.o.Retry == nil {
		return nil
	}
	return func(e *pgerror.Error) { w.c.o.Retry(j.r, e) }
}

// retry calls try again and again, with growing pauses, as long as its errors
// are ones that pass. tell is told of them; it may be nil.
func (c *Copier) retry(ctx context.Context, what string, tell func(*pgerror.Error), try func(context.Context) error) error {
	delay := c.o.MinDelay
	for attempt := 1; ; attempt++ {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passes(err) || attempt >= c.o.Attempts:
			return err
		}
		e := pgerror.From(err)
		c.o.Logger.Warn("copying failed, trying again", "mirror", c.o.Mirror, "what", what, "attempt", attempt, "of", c.o.Attempts, "delay", delay, "sqlstate", e.Code, "error", e.Message)
		if tell != nil {
			tell(e)
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		delay = min(2*delay, 32*c.o.MinDelay)
	}
}

// passes tells whether an error may be gone at the next attempt: connections,
// resources, and what other sessions do.
func passes(err error) bool {
	if errors.Is(err, ErrSnapshotLost) || errors.Is(err, ErrRewritten) {
		return false
	}
	code := pgerror.Code(err)
	switch code {
	case serializationFail, deadlock, pgerror.LockNotAvailable, pgerror.QueryCanceled:
		return true
	}
	return pgerror.IsConnectionLost(err) || len(code) == 5 && (code[:2] == "53" || code[:2] == "58")
}

// attempt copies a range to the shards that do not have it.
func (w *worker) attempt(ctx context.Context, j *job) error {
	progress := func(rows, bytes int64) {
		if w.c.o.Progress != nil {
			w.c.o.Progress(j.r, rows, bytes)
		}
	}
	if err := w.look(ctx, j); err != nil {
		return err
	}
	if j.complete() {
		// It was committed, though we did not see that.
		progress(j.read.rows-j.told.rows, j.read.bytes-j.told.bytes)
		j.told = j.read
		return nil
	}
	t := &transfer{r: j.r, check: checkUnchanged(j.r.Relation) + "; " + rollbackToSavepoint}
	var err error
	if t.source, err = w.openSource(ctx); err != nil {
		return err
	}
	if j.r.Table.routed() {
		t.routes = make([]*target, len(j.has))
	}
	for shard, has := range j.has {
		if has {
			continue
		}
		s, err := w.open(ctx, shard)
		if err != nil {
			return err
		}
		to := &target{shard: shard, session: s}
		t.targets = append(t.targets, to)
		if t.routes != nil {
			t.routes[shard] = to
		}
	}
	progress(-j.told.rows, -j.told.bytes)
	j.told = size{}
	t.progress = progress
	if err = t.run(ctx); err == nil {
		if err = checkRewritten(j.r, t.answer.rows); err != nil {
			w.rollBack(ctx, t)
		} else {
			err = w.commit(ctx, j, t)
		}
	}
	if err != nil {
		progress(-t.rows, -t.bytes)
		return w.explain(ctx, j, err)
	}
	j.told = j.read
	return nil
}

// look finds which shards have a range that was tried before.
func (w *worker) look(ctx context.Context, j *job) error {
	if !j.tried {
		return nil
	}
	for _, shard := range j.r.Table.shards(len(j.has)) {
		if j.has[shard] {
			continue
		}
		s, err := w.open(ctx, shard)
		if err != nil {
			return err
		}
		a, err := s.exec(ctx, fmt.Sprintf("SELECT FROM pgdrover.copied WHERE %s AND range = %d", w.c.key(j.table), j.r.Number))
		if err != nil {
			s.abandon(ctx)
			return err
		}
		j.has[shard] = len(a.rows) > 0
	}
	return nil
}

// openSource gives the session that has the snapshot.
func (w *worker) openSource(ctx context.Context) (*session, error) {
	if w.from != nil && !w.from.broken {
		return w.from, nil
	}
	var err error
	w.from, err = openSource(ctx, w.source.Source)
	return w.from, err
}

func openSource(ctx context.Context, source Source) (*session, error) {
	s, err := openSession(ctx, source.Server, sourceSetup)
	if err != nil {
		return nil, &openError{err}
	}
	_, err = s.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT "+dump.QuoteLiteral(source.Snapshot)+"; SAVEPOINT pgdrover")
	if err == nil {
		return s, nil
	}
	s.abandon(ctx)
	// 22023: it does not exist, or is of another database; 42704 since version
	// 17; 55000: the session that exported it has just ended.
	switch pgerror.Code(err) {
	case pgerror.InvalidParameterValue, pgerror.UndefinedObject, pgerror.ObjectNotInPrerequisiteState:
		return nil, fmt.Errorf("%w: %w", ErrSnapshotLost, err)
	}
	return nil, &openError{err}
}

// open gives the session on a destination.
func (w *worker) open(ctx context.Context, shard int) (*session, error) {
	if s := w.to[shard]; s != nil && !s.broken {
		return s, nil
	}
	s, err := openDestination(ctx, w.c.o.Destinations[shard])
	w.to[shard] = s
	return s, err
}

func openDestination(ctx context.Context, server config.Server) (*session, error) {
	s, err := openSession(ctx, server, "SELECT")
	if err != nil {
		return nil, &openError{err}
	}
	a, err := s.exec(ctx, destinationSetup)
	if err == nil {
		err = suitable(server, a)
	}
	if err != nil {
		s.abandon(ctx)
		if pgerror.Code(err) == pgerror.InsufficientPrivilege {
			err = pgerror.New(pgerror.InsufficientPrivilege, "%w", err).
				WithHint("as a superuser on the destination: GRANT SET ON PARAMETER session_replication_role TO %s; (before version 15 only superusers may set it)", dump.QuoteIdent(server.User))
		}
		return nil, &openError{err}
	}
	return s, nil
}

// suitable checks what destinationSetup says of a destination.
func suitable(server config.Server, a *answer) error {
	switch {
	case len(a.rows) != 1 || len(a.rows[0]) != 2:
		return pgerror.New(pgerror.ProtocolViolation, "%s does not say what it is", connect.Place(server))
	case a.rows[0][0] == "t":
		return pgerror.New(readOnly, "%s is in recovery: nothing can be written there", connect.Place(server)).
			WithDetail("It is a standby, or a server that is being restored.").
			WithHint("give the address of the primary in [[databases]] %q", server.Cluster)
	case a.rows[0][1] != "t":
		return pgerror.New(pgerror.UndefinedTable, "%s has no table pgdrover.copied", connect.Place(server))
	}
	return nil
}

// commit records the range on each shard and commits it there.
func (w *worker) commit(ctx context.Context, j *job, t *transfer) error {
	j.tried, j.read = true, size{t.rows, t.bytes}
	failures := make([]error, len(t.targets))
	var all sync.WaitGroup
	for i, to := range t.targets {
		all.Go(func() { failures[i] = w.commitOne(ctx, j, to, t.bytes) })
	}
	all.Wait()
	return errors.Join(failures...)
}

func (w *worker) commitOne(ctx context.Context, j *job, to *target, bytes int64) error {
	a, err := to.session.exec(ctx, w.c.insert(j, to.rows, bytes)+"; COMMIT")
	if err == nil && slices.Contains(a.tags, "COMMIT") {
		j.has[to.shard] = true
		return nil
	}
	var server *pgconn.PgError
	if errors.As(err, &server) && server.Code == uniqueViolation && server.SchemaName == "pgdrover" && server.TableName == "copied" {
		// An attempt whose end we did not see was committed after all.
		j.has[to.shard] = true
		err = nil
	} else if err == nil {
		err = pgerror.New(pgerror.InternalError, "%s did not commit: it answered %s", connect.Place(to.session.server), strings.Join(a.tags, ", "))
	}
	if _, rollback := to.session.exec(ctx, "ROLLBACK"); rollback != nil {
		to.session.abandon(ctx)
	}
	return err
}

// rollBack undoes a transfer that has ended well.
func (w *worker) rollBack(ctx context.Context, t *transfer) {
	for _, to := range t.targets {
		if _, err := to.session.exec(ctx, "ROLLBACK"); err != nil {
			to.session.abandon(ctx)
		}
	}
}
