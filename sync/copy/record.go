package copy

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Complete is the number of the record that says that a whole table has been
// copied: its rows and bytes are the sums of those of its ranges. It is
// committed durably, and everything before it with it.
const Complete = -1

// Record is a row of pgdrover.copied on one destination shard: a range whose
// rows for that shard are committed there, in the same transaction.
type Record struct {
	Table    catalog.Name // on the destination
	Snapshot LSN
	Range    int // Range.Number, or Complete
	Rows     int64
	Bytes    int64
}

// Recorded reads what is recorded on a destination for a mirror and a shard of
// its source.
func Recorded(ctx context.Context, conn *pgx.Conn, mirror string, shard int) ([]Record, error) {
	rows, err := conn.Query(ctx, `
SELECT schema_name, table_name, snapshot::text, range, rows, bytes FROM pgdrover.copied
WHERE mirror = $1 AND shard = $2 ORDER BY 1, 2, 3, 4`, mirror, shard)
	if err != nil {
		return nil, fmt.Errorf("read pgdrover.copied: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Record, err error) {
		var snapshot string
		if err := row.Scan(&r.Table.Schema, &r.Table.Name, &snapshot, &r.Range, &r.Rows, &r.Bytes); err != nil {
			return r, err
		}
		return r, r.Snapshot.Scan(snapshot)
	})
	if err != nil {
		return nil, fmt.Errorf("read pgdrover.copied: %w", err)
	}
	return out, nil
}

// Clear empties tables of a destination and removes their records, in one
// transaction, so that they can be copied anew. Rows of tables that inherit from
// them stay; a partitioned table loses those of its partitions. Where a foreign
// key forbids TRUNCATE, rows are deleted. Triggers do not fire, and foreign keys
// are not checked.
func Clear(ctx context.Context, conn *pgx.Conn, mirror string, shard int, tables []catalog.Name) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
			return err
		}
		targets, err := emptying(ctx, tx, tables)
		if err != nil {
			return err
		}
		if err := truncate(ctx, tx, targets); err != nil {
			return err
		}
		schemas, names := make([]string, len(tables)), make([]string, len(tables))
		for i, t := range tables {
			schemas[i], names[i] = t.Schema, t.Name
		}
		_, err = tx.Exec(ctx, `
DELETE FROM pgdrover.copied USING unnest($3::text[], $4::text[]) AS t (s, n)
WHERE mirror = $1 AND shard = $2 AND schema_name = t.s AND table_name = t.n`, mirror, shard, schemas, names)
		return err
	})
	if err != nil {
		return fmt.Errorf("empty tables to copy them anew: %w", err)
	}
	return nil
}

// emptying gives the tables that exist as TRUNCATE and DELETE take them.
func emptying(ctx context.Context, tx pgx.Tx, tables []catalog.Name) ([]string, error) {
	schemas, names := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], names[i] = t.Schema, t.Name
	}
	rows, err := tx.Query(ctx, `
SELECT DISTINCT CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || format('%I.%I', s.nspname, c.relname)
FROM unnest($1::text[], $2::text[]) AS t (s, n)
JOIN pg_namespace s ON s.nspname = t.s JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = t.n
WHERE c.relkind IN ('r', 'p') ORDER BY 1`, schemas, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// truncate empties all tables at once, as foreign keys between them forbid no
// TRUNCATE then; if that does not work, each by itself.
func truncate(ctx context.Context, tx pgx.Tx, targets []string) error {
	if len(targets) == 0 {
		return nil
	}
	err := savepoint(ctx, tx, "TRUNCATE "+strings.Join(targets, ", "))
	if pgerror.Code(err) != pgerror.FeatureNotSupported {
		return err
	}
	for _, target := range targets {
		err := savepoint(ctx, tx, "TRUNCATE "+target)
		if pgerror.Code(err) == pgerror.FeatureNotSupported {
			_, err = tx.Exec(ctx, "DELETE FROM "+target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// savepoint runs a statement whose failure does not end the transaction.
func savepoint(ctx context.Context, tx pgx.Tx, sql string) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
}

// key is the SQL condition for records of a table in a snapshot.
func (c *Copier) key(t *tableState) string {
	return fmt.Sprintf("mirror = %s AND shard = %d AND schema_name = %s AND table_name = %s AND snapshot = '%s'",
		dump.QuoteLiteral(c.o.Mirror), c.o.SourceShard, dump.QuoteLiteral(t.t.Destination.Table.Schema), dump.QuoteLiteral(t.t.Destination.Table.Name), t.source.LSN)
}

// insert is the statement that records a range on one shard.
func (c *Copier) insert(j *job, rows, bytes int64) string {
	return fmt.Sprintf("INSERT INTO pgdrover.copied (mirror, shard, schema_name, table_name, snapshot, range, rows, bytes) VALUES (%s, %d, %s, %s, '%s', %d, %d, %d)",
		dump.QuoteLiteral(c.o.Mirror), c.o.SourceShard, dump.QuoteLiteral(j.table.t.Destination.Table.Schema), dump.QuoteLiteral(j.table.t.Destination.Table.Name),
		j.table.source.LSN, j.r.Number, rows, bytes)
}

// complete is the statement that records tables as complete on one shard, if all
// their ranges are recorded there; it gives the places of those that are.
func (c *Copier) complete(tables []*tableState) string {
	var list strings.Builder
	for i, t := range tables {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "(%d, %s, %s, '%s'::pg_lsn, %d)", i, dump.QuoteLiteral(t.t.Destination.Table.Schema), dump.QuoteLiteral(t.t.Destination.Table.Name), t.source.LSN, len(t.jobs))
	}
	mirror, shard := dump.QuoteLiteral(c.o.Mirror), strconv.Itoa(c.o.SourceShard)
	return `
WITH wanted (place, s, n, lsn, ranges) AS (VALUES ` + list.String() + `), whole AS (
    SELECT w.place, w.s, w.n, w.lsn, coalesce(sum(c.rows), 0)::int8 AS rows, coalesce(sum(c.bytes), 0)::int8 AS bytes
    FROM wanted w LEFT JOIN pgdrover.copied c
      ON c.mirror = ` + mirror + ` AND c.shard = ` + shard + ` AND c.schema_name = w.s AND c.table_name = w.n AND c.snapshot = w.lsn AND c.range >= 0
    GROUP BY w.place, w.s, w.n, w.lsn, w.ranges HAVING count(c.range) >= w.ranges
), marked AS (
    INSERT INTO pgdrover.copied (mirror, shard, schema_name, table_name, snapshot, range, rows, bytes)
    SELECT ` + mirror + `, ` + shard + `, s, n, lsn, ` + strconv.Itoa(Complete) + `, rows, bytes FROM whole
    ON CONFLICT (mirror, shard, schema_name, table_name, snapshot, range) DO UPDATE SET rows = excluded.rows, bytes = excluded.bytes
)
SELECT place FROM whole`
}
