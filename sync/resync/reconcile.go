package resync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

// DefaultChunkRows is how many rows of a table one transaction of Reconcile compares.
const DefaultChunkRows = 10_000

// ReconcileOptions say how rows are compared.
type ReconcileOptions struct {
	ChunkRows int // of one transaction; 0: DefaultChunkRows
	// Progress is called between two transactions, when nothing is locked. It may
	// wait: that is how Reconcile is throttled. It may be nil.
	Progress func(Reconciled)
}

// Reconciled is what Reconcile has written so far, in rows.
type Reconciled struct {
	Inserted, Updated, Deleted int64
	// Replaced rows were deleted and inserted in one transaction, because they take
	// over values of a unique or exclusion constraint from one another; they do not
	// count as the others.
	Replaced int64
	Chunks   int64   // compared
	Share    float64 // of the table that is through, by estimate, 0 to 1
}

// Reconcile makes the table equal to the stage, and writes only the rows that
// differ: bit by bit, so that also 1.0 and 1.00, or values of types without an
// equality, are told apart. It goes along the key, a transaction for each chunk.
// Readers always see rows; those of different chunks may be of different times.
// Columns that are not copied keep their values. Triggers do not fire and foreign
// keys are not checked: session_replication_role is replica.
//
// Nobody else may write to the table or the stage meanwhile. After an interruption
// it is called again, and finds less to do.
func (s *Stage) Reconcile(ctx context.Context, conn *pgx.Conn, o ReconcileOptions) (Reconciled, error) {
	if o.ChunkRows <= 0 {
		o.ChunkRows = DefaultChunkRows
	}
	r := &reconciling{Stage: s, conn: conn, o: o}
	err := r.run(ctx)
	if err != nil {
		return r.done, fmt.Errorf("reconcile table %s: %w", s.table.name, err)
	}
	return r.done, nil
}

// reconciling is one run.
type reconciling struct {
	*Stage
	conn *pgx.Conn
	o    ReconcileOptions
	rows float64 // estimate
	done Reconciled
	sql  *chunkSQL
}

// bounds are the keys of a chunk, as text: behind low, up to and with high. nil has
// no bound.
type bounds struct{ low, high []string }

func (r *reconciling) run(ctx context.Context) error {
	if err := r.alive(ctx, r.conn); err != nil {
		return err
	}
	now, err := find(ctx, r.conn, r.table.name, true)
	if err != nil {
		return err
	}
	if now.oid != r.table.oid {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%w: it was replaced by another of the same name", ErrChanged)
	}
	if err := r.conn.QueryRow(ctx, `SELECT coalesce(max(reltuples), 0)::float8 FROM pg_class WHERE oid IN ($1::oid, to_regclass($2))`, r.table.oid, quote(r.Target())).Scan(&r.rows); err != nil {
		return fmt.Errorf("read the size of the table: %w", err)
	}
	r.sql = r.newChunkSQL()
	if !r.Keyed() {
		return r.wholeRows(ctx)
	}
	deferred, err := r.chunks(ctx)
	if err != nil {
		return err
	}
	return r.settle(ctx, deferred)
}

// chunks goes through the table once. It gives the chunks in which some row needs a
// unique value that another row still has.
func (r *reconciling) chunks(ctx context.Context) (deferred []bounds, err error) {
	var b bounds
	for {
		if b.high, err = r.next(ctx, b.low); err != nil {
			return nil, err
		}
		written, err := r.chunk(ctx, b)
		if err != nil {
			return nil, err
		}
		if !written {
			deferred = append(deferred, b)
		}
		r.done.Chunks++
		if r.done.Share = 1; b.high != nil {
			r.done.Share = min(0.99, float64(r.done.Chunks)*float64(r.o.ChunkRows)/max(r.rows, 1))
		}
		r.tell()
		if b.high == nil {
			return deferred, nil
		}
		b.low = b.high
	}
}

func (r *reconciling) tell() {
	if r.o.Progress != nil {
		r.o.Progress(r.done)
	}
}

// next gives the last key of the chunk behind low, nil if the table ends in it.
func (r *reconciling) next(ctx context.Context, low []string) (high []string, err error) {
	err = r.inTransaction(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, r.sql.next(low, r.o.ChunkRows), arguments(bounds{low: low})...)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[[]string])
		if err != nil || len(found) == 0 {
			return err
		}
		high = found[0]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the next chunk: %w", err)
	}
	return high, nil
}

// inTransaction runs do with triggers and foreign keys off, and with the operators
// of the key in reach.
func (r *reconciling) inTransaction(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		set := "SET LOCAL session_replication_role = replica"
		if r.path != "" {
			set += "; SET LOCAL search_path = " + r.path
		}
		if _, err := tx.Exec(ctx, set, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return do(tx)
	})
}

// chunk makes one chunk equal. false means that another chunk has to come first;
// then rows that have to go are gone, no more.
func (r *reconciling) chunk(ctx context.Context, b bounds) (bool, error) {
	var deleted, updated, inserted int64
	written := true
	err := r.inTransaction(ctx, func(tx pgx.Tx) (err error) {
		if deleted, err = affected(ctx, tx, r.sql.delete(b), b); err != nil {
			return err
		}
		err = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) (err error) {
			if sql := r.sql.update(b); sql != "" {
				if updated, err = affected(ctx, inner, sql, b); err != nil {
					return err
				}
			}
			inserted, err = affected(ctx, inner, r.sql.insert(b), b)
			return err
		})
		if taken(err) {
			written, updated, inserted = false, 0, 0
			return nil
		}
		return err
	})
	if taken(err) { // a deferred constraint, at COMMIT: nothing was done
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("chunk behind %s: %w", shownKey(b.low), err)
	}
	r.done.Deleted, r.done.Updated, r.done.Inserted = r.done.Deleted+deleted, r.done.Updated+updated, r.done.Inserted+inserted
	return written, nil
}

func shownKey(key []string) string {
	if key == nil {
		return "the beginning"
	}
	return "(" + strings.Join(key, ", ") + ")"
}

// taken tells whether a row could not be written because another has what it needs.
func taken(err error) bool {
	code := pgerror.Code(err)
	return code == uniqueViolation || code == exclusionViolation
}

// settle writes what had to wait: chunk by chunk, to and fro, as long as that helps,
// for values often move along the key; then, when rows swap their values in a
// circle, all that is left in one transaction.
func (r *reconciling) settle(ctx context.Context, deferred []bounds) error {
	for len(deferred) > 0 {
		var left []bounds
		slices.Reverse(deferred)
		for _, b := range deferred {
			err := r.replace(ctx, []bounds{b})
			if taken(err) {
				left = append(left, b)
			} else if err != nil {
				return err
			}
		}
		if len(left) == len(deferred) {
			err := r.replace(ctx, left)
			if taken(err) {
				err = errors.Join(err, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the rows that were copied violate a constraint of the destination").
					WithHint("drop the constraint on the destination, or add it on the source"))
			}
			return err
		}
		deferred = left
	}
	return nil
}

// replace takes the rows of chunks that differ out of the table, then puts all in:
// nobody sees it in between, and what one needs the others have given up.
func (r *reconciling) replace(ctx context.Context, chunks []bounds) error {
	var replaced, inserted int64
	err := r.inTransaction(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, r.sql.replaced()); err != nil {
			return err
		}
		for _, b := range chunks {
			for _, sql := range []string{r.sql.keep(b), r.sql.remove(b)} {
				if _, err := affected(ctx, tx, sql, b); err != nil {
					return err
				}
			}
		}
		var err error
		if replaced, err = affected(ctx, tx, r.sql.restore(), bounds{}); err != nil {
			return err
		}
		for _, b := range chunks {
			n, err := affected(ctx, tx, r.sql.insert(b), b)
			if err != nil {
				return err
			}
			inserted += n
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write rows that take over values of others: %w", err)
	}
	r.done.Replaced += replaced
	r.done.Inserted += inserted
	r.tell()
	return nil
}

func affected(ctx context.Context, q querier, sql string, b bounds) (int64, error) {
	tag, err := q.Exec(ctx, sql, arguments(b)...)
	return tag.RowsAffected(), err
}

func arguments(b bounds) []any {
	var out []any
	for _, value := range append(b.low[:len(b.low):len(b.low)], b.high...) {
		out = append(out, value)
	}
	return out
}

func columnsOf(alias string, columns []string) string {
	return list(columns, func(name string) string { return alias + "." + dump.QuoteIdent(name) })
}
