package resync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Swapped tells what a swap has done.
type Swapped struct {
	Carried []Dependant   // bound to the new table
	Keys    []ForeignKey  // added NOT VALID or still set aside: PutBack is to be called
	Locked  time.Duration // from the first lock to COMMIT
}

// Swap puts the shadow table into the table's place, in one transaction: readers
// wait for it, and see either all of the old rows or all of the new. Rows must not
// change meanwhile. It waits for its locks no longer than patience.LockTimeout,
// once: with ErrLocked nothing was changed, and whoever holds others back for it
// can let them go and try again. With ErrRefused nothing was changed either: what
// the tables differ in, or what could not be carried over, stands in DETAIL.
//
// A transaction whose snapshot is older than the shadow table's rows would see an
// empty table if it came to it after the swap: such a one is waited for too, with
// ErrLocked.
//
// Afterwards PutBack validates foreign keys, and Drop removes what was replaced.
// Until then it lies in a schema whose name begins with OldPrefix.
func (s *Shadow) Swap(ctx context.Context, conn *pgx.Conn, patience Patience) (*Swapped, error) {
	return s.SwapWith(ctx, conn, patience, nil)
}

// SwapWith is Swap that calls agreed, unless it is nil, when nothing is left to do
// but
// to COMMIT, with all locks held: several shards wait there for one another. With
// its error nothing was changed.
func (s *Shadow) SwapWith(ctx context.Context, conn *pgx.Conn, patience Patience, agreed func(context.Context) error) (*Swapped, error) {
	patience = patience.withDefaults()
	if err := s.snapshotsGone(ctx, conn); err != nil {
		return nil, fmt.Errorf("swap table %s: %w", s.table.name, err)
	}
	w := &swapping{Shadow: s, result: &Swapped{}}
	err := transactionWith(ctx, conn, func(tx pgx.Tx) error { return w.run(ctx, tx, patience) }, agreed)
	if err = refusal(ctx, locked(ctx, conn, err, w.touched)); err != nil {
		return nil, fmt.Errorf("swap table %s: %w", s.table.name, err)
	}
	w.result.Locked = time.Since(w.began)
	return w.result, nil
}

// refusal makes an error of the server that will come again into ErrRefused: some
// statement of the swap does not do for this table.
func refusal(ctx context.Context, err error) error {
	var server *pgconn.PgError
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrLocked) || !errors.As(err, &server) {
		return err
	}
	// Connection, resources, intervention, system: these pass.
	if slices.Contains([]string{"08", "25", "40", "53", "57", "58", "XX"}, server.Code[:2]) {
		return err
	}
	out := pgerror.From(err)
	refused := pgerror.New(out.Code, "%w: %s", ErrRefused, out.Message)
	refused.Detail, refused.Hint, refused.Cause = out.Detail, "the strategies reconcile and truncate leave the table itself where it is", errors.Join(ErrRefused, err)
	return refused
}

// swapping is one attempt.
type swapping struct {
	*Shadow
	tx      pgx.Tx
	wait    *budget
	touched []uint32 // relations whose locks are needed
	result  *Swapped
	began   time.Time

	before    map[uint32][]fact // by OID of the original
	shadows   map[uint32]uint32 // OID of its shadow
	serials   []serial
	own       []ForeignKey // of the units
	depending *dependants
}

// serial is the sequence of a serial column. It is not replaced.
type serial struct {
	sequence, column string // quoted
	table            catalog.Name
}

func (w *swapping) run(ctx context.Context, tx pgx.Tx, patience Patience) error {
	w.tx, w.wait, w.began = tx, patience.begin(tx), time.Now()
	for _, do := range []func(context.Context) error{
		w.lock, w.read, w.dropKeys, w.detach, w.moveOld, w.moveNew, w.sequences, w.attach, w.addKeys, w.rebind, w.finish, w.check,
	} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// exec runs statements one after another.
func (w *swapping) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if err := w.wait.exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", first(sql), err)
		}
	}
	return nil
}

// first is the beginning of a statement, for messages.
func first(sql string) string {
	line, _, _ := strings.Cut(sql, "\n")
	if r := []rune(line); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return line
}

// lock takes every lock in the order in which readers and writers take them: views
// from the outside, partitioned tables before their partitions, tables that
// reference others before those.
func (w *swapping) lock(ctx context.Context) error {
	found, err := readDependants(ctx, w.tx, w.oids())
	if err != nil {
		return err
	}
	var sql []string
	for _, d := range found.carried {
		if d.lock != "" {
			sql = append(sql, d.lock)
		}
	}
	rows, err := w.tx.Query(ctx, `
WITH RECURSIVE up AS (SELECT inhrelid AS rel, inhparent AS parent, 1 AS depth FROM pg_inherits WHERE inhrelid = ANY ($1::oid[])
                UNION SELECT i.inhrelid, i.inhparent, depth + 1 FROM up JOIN pg_inherits i ON i.inhrelid = up.parent)
SELECT parent FROM up GROUP BY parent ORDER BY max(depth) DESC, parent`, w.oids())
	if err != nil {
		return err
	}
	parents, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return err
	}
	keys, err := referencing(ctx, w.tx, w.tables())
	if err != nil {
		return err
	}
	for _, parent := range parents {
		sql = append(sql, lockTable(fmt.Sprintf("%d", parent)))
		w.touched = append(w.touched, parent)
	}
	for _, k := range keys {
		sql = append(sql, lockKeyTable(k.Table, len(k.Parts) > 0))
	}
	for _, u := range w.units {
		w.touched = append(w.touched, u.oid)
		if u.kind == 'm' { // LOCK TABLE does not take it
			sql = append(sql, "ALTER MATERIALIZED VIEW "+quote(u.name)+" OWNER TO "+dump.QuoteIdent(u.owner))
			continue
		}
		sql = append(sql, "LOCK TABLE ONLY "+quote(u.name)+" IN ACCESS EXCLUSIVE MODE", "LOCK TABLE ONLY "+quote(w.moved(u.name))+" IN ACCESS EXCLUSIVE MODE")
	}
	for _, u := range w.units {
		own, err := ownKeys(ctx, w.tx, u.oid)
		if err != nil {
			return err
		}
		for _, k := range own {
			sql = append(sql, lockKeyTable(k.References, true))
		}
	}
	return w.exec(ctx, sql...)
}

// lockKeyTable locks a table at one end of a foreign key as dropping the key does.
func lockKeyTable(table catalog.Name, partitions bool) string {
	if partitions {
		return "LOCK TABLE " + quote(table) + " IN ACCESS EXCLUSIVE MODE"
	}
	return "LOCK TABLE ONLY " + quote(table) + " IN ACCESS EXCLUSIVE MODE"
}

// lockTable locks a relation that is known by its OID.
func lockTable(oid string) string {
	return "DO $pgdrover$ BEGIN EXECUTE 'LOCK TABLE ONLY ' || " + oid + "::pg_catalog.regclass || ' IN ACCESS EXCLUSIVE MODE'; END $pgdrover$"
}

func (w *swapping) tables() []catalog.Name {
	var out []catalog.Name
	for _, u := range w.units {
		out = append(out, u.name)
	}
	return out
}

// read describes everything as it is now that nobody can change it.
func (w *swapping) read(ctx context.Context) (err error) {
	w.before, w.shadows = map[uint32][]fact{}, map[uint32]uint32{}
	for _, u := range w.units {
		now, err := readUnit(ctx, w.tx, u.oid)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && now.name != u.name {
			return w.refuse([]string{fmt.Sprintf("%s was dropped or renamed meanwhile", u.name)})
		}
		if err != nil {
			return err
		}
		shadow, err := relationAt(ctx, w.tx, w.moved(u.name))
		if err != nil {
			return err
		}
		w.shadows[u.oid] = shadow
		if w.before[u.oid], err = readFacts(ctx, w.tx, u.oid); err != nil {
			return err
		}
		own, err := ownKeys(ctx, w.tx, u.oid)
		if err != nil {
			return err
		}
		w.own = append(w.own, own...)
		found, err := readSerials(ctx, w.tx, u)
		if err != nil {
			return err
		}
		w.serials = append(w.serials, found...)
	}
	if w.depending, err = readDependants(ctx, w.tx, w.oids()); err != nil {
		return err
	}
	for _, oid := range w.depending.matviews {
		if !slices.Contains(w.oids(), oid) {
			w.depending.refused = append(w.depending.refused, fmt.Sprintf("a materialized view with OID %d was made meanwhile", oid))
		}
	}
	if len(w.depending.refused) > 0 {
		return w.refuse(w.depending.refused)
	}
	w.result.Carried = w.depending.carried
	return nil
}

func relationAt(ctx context.Context, q querier, name catalog.Name) (oid uint32, err error) {
	err = q.QueryRow(ctx, `SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, name.Schema, name.Name).Scan(&oid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, pgerror.New(pgerror.UndefinedTable, "the shadow table %s is not there", name)
	}
	return oid, err
}

func readSerials(ctx context.Context, q querier, u *unit) ([]serial, error) {
	rows, err := q.Query(ctx, `
SELECT d.objid::regclass::text, quote_ident(a.attname) FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'a'`, u.oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (serial, error) {
		s := serial{table: u.name}
		err := row.Scan(&s.sequence, &s.column)
		return s, err
	})
}

// dropKeys takes the foreign keys off: those of others, which are recorded, and
// the old table's own, which would still be checked for its rows.
func (w *swapping) dropKeys(ctx context.Context) error {
	keys, err := referencing(ctx, w.tx, w.tables())
	if err != nil {
		return err
	}
	w.result.Keys = keys
	for _, k := range keys {
		if err := setAside(ctx, w.wait, w.mirror, k); err != nil {
			return err
		}
	}
	for _, k := range w.own {
		if err := w.exec(ctx, dropKey(k.Table, k.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Replaced tells whether Swap has been committed: for who has lost the connection
// while it was. What was replaced must still lie where Swap puts it.
func (s *Shadow) Replaced(ctx context.Context, conn *pgx.Conn) (bool, error) {
	_, there, err := readNote(ctx, conn, s.old)
	if err != nil {
		return false, fmt.Errorf("look whether table %s was swapped: %w", s.table.name, err)
	}
	return there, nil
}
