package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/dump"
)

// whoHas tells, of a name that is taken on the destination, what has it: an index
// keeps its name when its table is renamed, and then stands in the way of the
// index of the table that has come in its place. It is "" where that is not known.
func (s *session) whoHas(ctx context.Context, st *Statement, err error) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) || server.Code != "42P07" && server.Code != "42710" {
		return ""
	}
	var name, kind, schema, table string
	// The server's messages may be of any language: the name is what it has in quotes.
	err = s.conn.QueryRow(ctx, `
SELECT c.relname::text, c.relkind::text, n.nspname::text, coalesce(t.relname::text, c.relname::text)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = $1 AND pg_catalog.strpos($2, '"' || c.relname || '"') > 0
ORDER BY length(c.relname) DESC LIMIT 1`, st.Schema, server.Message).Scan(&name, &kind, &schema, &table)
	if errors.Is(err, pgx.ErrNoRows) || err != nil {
		return "" // the failure itself is told in any case
	}
	quoted := dump.QuoteIdent(schema) + "." + dump.QuoteIdent(name)
	again := "then run the same command again: it goes on with what is missing"
	switch {
	case table != name && table != st.Table:
		return fmt.Sprintf("the name belongs to an index of table %s.%s: if that is not needed there, DROP INDEX %s; else ALTER INDEX %s RENAME TO ...; there, %s",
			dump.QuoteIdent(schema), dump.QuoteIdent(table), quoted, quoted, again)
	case table == name:
		word, ok := map[string]string{"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE", "f": "FOREIGN TABLE", "c": "TYPE", "i": "INDEX", "I": "INDEX"}[kind]
		if !ok {
			return ""
		}
		return fmt.Sprintf("the name belongs to something else: ALTER %s %s RENAME TO ...; there, or drop it, %s", word, quoted, again)
	}
	return ""
}
