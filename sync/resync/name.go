package resync

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// The schemas that hold what a resync makes begin with these words; the OID of
// the table that is copied again follows. In a schema of its own everything has
// the very name it will have in the end.
const (
	ShadowPrefix = "pgdrover_shadow_"
	StagePrefix  = "pgdrover_stage_"
	OldPrefix    = "pgdrover_old_"
)

// querier is what a connection and a transaction have in common.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// SQLSTATE codes that are told apart here; the names are those of errcodes.txt.
const (
	foreignKeyViolation = "23503"
	uniqueViolation     = "23505"
	exclusionViolation  = "23P01"
	deadlockDetected    = "40P01"
	wrongObjectType     = "42809"
	dependentObjects    = "2BP01"
)

func quote(n catalog.Name) string { return dump.QuoteIdent(n.Schema) + "." + dump.QuoteIdent(n.Name) }

// list joins quoted names.
func list(names []string, each func(string) string) string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = each(name)
	}
	return strings.Join(out, ", ")
}

// relation is a row of pg_class, as far as it is needed here.
type relation struct {
	oid   uint32
	name  catalog.Name
	kind  byte
	owner string
}

// find looks a table up. It must be an ordinary table, a partition included, or,
// if partitioned is true, a partitioned one.
func find(ctx context.Context, q querier, table catalog.Name, partitioned bool) (relation, error) {
	r := relation{name: table}
	var kind string
	err := q.QueryRow(ctx, `
SELECT c.oid, c.relkind::text, pg_get_userbyid(c.relowner)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2`, table.Schema, table.Name).Scan(&r.oid, &kind, &r.owner)
	if errors.Is(err, pgx.ErrNoRows) {
		return r, pgerror.New(pgerror.UndefinedTable, "table %s does not exist on the destination", table)
	}
	if err != nil {
		return r, fmt.Errorf("look for table %s: %w", table, err)
	}
	r.kind = kind[0]
	if r.kind != 'r' && (r.kind != 'p' || !partitioned) {
		return r, pgerror.New(wrongObjectType, "%s is not an ordinary table on the destination", table)
	}
	return r, nil
}

// exec runs statements in one message: outside a transaction block they are one
// transaction.
func exec(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

func collectText(rows pgx.Rows) ([]string, error) { return pgx.CollectRows(rows, pgx.RowTo[string]) }
