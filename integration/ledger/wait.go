package ledger

import (
	"context"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// CaughtUp waits until applied gives a position of the source that is at or
// past the end of its log as it is now. With more than one destination applied
// gives the lowest. An error of applied ends the test.
func CaughtUp(tb testing.TB, source *pgtest.Database, applied func(ctx context.Context) (pglogrepl.LSN, error)) {
	tb.Helper()
	target, err := pglogrepl.ParseLSN(pgtest.Value[string](tb, source, "SELECT pg_current_wal_insert_lsn()::text"))
	if err != nil {
		tb.Fatal(err)
	}
	var last pglogrepl.LSN
	pgtest.Eventually(tb, "everything up to "+target.String()+" is applied", func(ctx context.Context) (bool, error) {
		last, err = applied(ctx)
		return last >= target, err
	})
}

// PublishedTables are the tables of a publication, with the columns and rows
// that it has, for Same. Rows belong on every destination.
func PublishedTables(ctx context.Context, source *pgx.Conn, publication string) ([]Table, error) {
	rows, err := source.Query(ctx, `SELECT schemaname::text AS schema, tablename::text AS name, attnames::text[] AS columns, coalesce(rowfilter, '') AS "where"
		FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1, 2`, publication)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		return t, row.Scan(&t.Schema, &t.Name, &t.Columns, &t.Where)
	})
}

// TablesIn are all tables of some schemas, with partitions as part of their
// root, for Same. Rows belong on every destination.
func TablesIn(ctx context.Context, conn *pgx.Conn, schemas ...string) ([]Table, error) {
	rows, err := conn.Query(ctx, `SELECT nspname::text, relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = ANY($1) AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1, 2`, schemas)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		return t, row.Scan(&t.Schema, &t.Name)
	})
}
