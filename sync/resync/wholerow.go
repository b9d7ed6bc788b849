package resync

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Without a key the table and the stage are two multisets of rows. What one has
// more often than the other is found once, by a digest of each row's text, and
// written down by its place; then it is deleted and inserted in chunks of both, so
// that the number of rows hardly changes for a reader.

// digest is of a whole row. Text tells apart what is stored differently, and every
// type has it.
func (c *chunkSQL) digest(alias string) string {
	return "pg_catalog.sha256(pg_catalog.textsend(ROW(" + columnsOf(alias, c.columns) + ")::pg_catalog.text))"
}

// differences fills a table with the rows to be deleted from the table ('d') and to
// be inserted from the stage ('i'), numbered from 1.
func (c *chunkSQL) differences(name catalog.Name) string {
	side := func(from, alias string) string {
		return fmt.Sprintf("SELECT h, rel, at, row_number() OVER (PARTITION BY h ORDER BY rel, at) AS n FROM (SELECT %s AS h, tableoid AS rel, ctid AS at FROM %s %s) x", c.digest(alias), from, alias)
	}
	return fmt.Sprintf(`
DROP TABLE IF EXISTS %[1]s;
CREATE UNLOGGED TABLE %[1]s AS
WITH r AS (%[2]s), s AS (%[3]s)
SELECT 'd'::"char" AS kind, row_number() OVER () AS number, r.rel, r.at, r.h FROM r WHERE NOT EXISTS (SELECT FROM s WHERE s.h = r.h AND s.n = r.n)
UNION ALL
SELECT 'i', row_number() OVER (), s.rel, s.at, s.h FROM s WHERE NOT EXISTS (SELECT FROM r WHERE s.h = r.h AND s.n = r.n);
CREATE INDEX ON %[1]s (kind, number);
ANALYZE %[1]s`, quote(name), side(c.only+c.table, "r"), side(c.stage, "s"))
}

func (c *chunkSQL) deletePlaces(name catalog.Name) string {
	return fmt.Sprintf("DELETE FROM %s%s r USING %s d WHERE d.kind = 'd' AND d.number BETWEEN $1 AND $2 AND r.ctid = d.at AND r.tableoid = d.rel AND %s = d.h",
		c.only, c.table, quote(name), c.digest("r"))
}

func (c *chunkSQL) insertPlaces(name catalog.Name) string {
	// A table without columns has rows too.
	into, from := "", ""
	if len(c.columns) > 0 {
		into, from = "("+list(c.columns, dump.QuoteIdent)+") OVERRIDING SYSTEM VALUE", columnsOf("s", c.columns)
	}
	return fmt.Sprintf("INSERT INTO %s %s SELECT %s FROM %s s JOIN %s d ON s.ctid = d.at WHERE d.kind = 'i' AND d.number BETWEEN $1 AND $2",
		c.table, into, from, c.stage, quote(name))
}

func (r *reconciling) wholeRows(ctx context.Context) error {
	name := r.beside("pgdrover_differences")
	if err := exec(ctx, r.conn, r.sql.differences(name)); err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	var deletes, inserts int64
	err := r.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FILTER (WHERE kind = 'd'), count(*) FILTER (WHERE kind = 'i') FROM %s", quote(name))).Scan(&deletes, &inserts)
	if err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	total := max(deletes, inserts)
	for from := int64(1); from <= total; {
		to := min(from+int64(r.o.ChunkRows)-1, total)
		err := r.places(ctx, name, from, to, deletes, inserts)
		if taken(err) { // by a row of another chunk
			to = total
			err = r.places(ctx, name, from, to, deletes, inserts)
		}
		if err != nil {
			return err
		}
		r.done.Chunks++
		r.done.Share = float64(to) / float64(total)
		r.tell()
		from = to + 1
	}
	r.done.Share = 1
	return exec(ctx, r.conn, "DROP TABLE "+quote(name))
}

// places writes the differences of these numbers in one transaction.
func (r *reconciling) places(ctx context.Context, name catalog.Name, from, to, deletes, inserts int64) error {
	var deleted, inserted int64
	err := r.inTransaction(ctx, func(tx pgx.Tx) (err error) {
		if deleted, err = placed(ctx, tx, r.sql.deletePlaces(name), from, to, deletes); err != nil {
			return err
		}
		inserted, err = placed(ctx, tx, r.sql.insertPlaces(name), from, to, inserts)
		return err
	})
	if err != nil {
		return fmt.Errorf("write the differences %d to %d: %w", from, to, err)
	}
	r.done.Deleted, r.done.Inserted = r.done.Deleted+deleted, r.done.Inserted+inserted
	return nil
}

// placed runs a statement and makes sure that it has met every row that it should.
func placed(ctx context.Context, tx pgx.Tx, sql string, from, to, all int64) (int64, error) {
	tag, err := tx.Exec(ctx, sql, from, to)
	if err != nil {
		return 0, err
	}
	if want := max(0, min(to, all)-from+1); tag.RowsAffected() != want {
		return 0, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%w: %d of %d rows are where they were", ErrChanged, tag.RowsAffected(), want)
	}
	return tag.RowsAffected(), nil
}
