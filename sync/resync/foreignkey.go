package resync

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// ForeignKeysTable is the DDL of the table in which foreign keys are recorded
// that a resync has dropped or left NOT VALID. It belongs in the schema pgdrover of
// every shard of the destination. It is part of a migration of the state: it is
// never changed.
const ForeignKeysTable = `
CREATE TABLE pgdrover.foreign_keys (
    schema_name       text NOT NULL,
    table_name        text NOT NULL,
    name              text NOT NULL,
    mirror            text NOT NULL,
    references_schema text NOT NULL,
    references_table  text NOT NULL,
    definition        text NOT NULL,
    validated         boolean NOT NULL,
    comment           text NOT NULL DEFAULT '',
    parts             jsonb NOT NULL DEFAULT '[]',
    state             text NOT NULL,
    error             text NOT NULL DEFAULT '',
    set_aside_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schema_name, table_name, name)
);
`

// ForeignKey is a foreign key of some table of the destination, in the mirror or
// not.
type ForeignKey struct {
	Table      catalog.Name // that has it
	Name       string
	References catalog.Name
	Definition string // as pg_get_constraintdef gives it, without NOT VALID
	Validated  bool
	Comment    string
	// Parts are the keys that stand for it in the partitions of Table, lowest
	// first, each with its own name.
	Parts []KeyPart
	Rows  int64 // the planner's estimate of what is read to validate it
	Bytes int64 // heap of Table, likewise
}

// KeyPart is a foreign key of a partition that came with that of its parent.
type KeyPart struct {
	Schema     string `json:"schema"`
	Table      string `json:"table"`
	Name       string `json:"name"`
	Leaf       bool   `json:"leaf"` // it holds rows
	Definition string `json:"definition"`
}

func (p KeyPart) table() catalog.Name { return catalog.Name{Schema: p.Schema, Name: p.Table} }

// String is the key's name and place for messages.
func (k ForeignKey) String() string {
	return fmt.Sprintf("%s of %s", dump.QuoteIdent(k.Name), k.Table)
}

// SQL is the statement that makes the key again.
func (k ForeignKey) SQL() string { return addKey(k.Table, k.Name, k.Definition, false) + ";" }

func addKey(table catalog.Name, name, definition string, notValid bool) string {
	sql := "ALTER TABLE " + quote(table) + " ADD CONSTRAINT " + dump.QuoteIdent(name) + " " + definition
	if notValid {
		sql += " NOT VALID"
	}
	return sql
}

func dropKey(table catalog.Name, name string) string {
	return "ALTER TABLE " + quote(table) + " DROP CONSTRAINT " + dump.QuoteIdent(name)
}

// keyFields are the fields of a ForeignKey, from pg_constraint k.
const keyFields = `
       (SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.conrelid),
       k.conname::text,
       (SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = k.confrelid),
       regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), k.convalidated, coalesce(obj_description(k.oid, 'pg_constraint'), ''),
       (WITH RECURSIVE part AS (SELECT p.oid, p.conrelid, p.conname, 1 AS depth FROM pg_constraint p WHERE p.conparentid = k.oid AND p.conrelid <> k.conrelid
                      UNION ALL SELECT p.oid, p.conrelid, p.conname, depth + 1 FROM part JOIN pg_constraint p ON p.conparentid = part.oid AND p.conrelid <> part.conrelid)
        SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'table', c.relname, 'name', part.conname, 'leaf', c.relkind <> 'p',
                        'definition', regexp_replace(pg_get_constraintdef(part.oid), ' NOT VALID$', '')) ORDER BY part.depth DESC, c.oid), '[]')
        FROM part JOIN pg_class c ON c.oid = part.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace)::text,
       coalesce((SELECT sum(greatest(c.reltuples, 0)) FROM pg_class c WHERE c.oid = k.conrelid OR c.oid IN (SELECT relid FROM pg_partition_tree(k.conrelid))), 0)::int8,
       coalesce((SELECT sum(pg_relation_size(c.oid)) FROM pg_class c WHERE c.relkind = 'r' AND (c.oid = k.conrelid OR c.oid IN (SELECT relid FROM pg_partition_tree(k.conrelid)))), 0)::int8`

func scanKey(row pgx.CollectableRow) (k ForeignKey, err error) {
	var table, references []string
	var parts string
	err = row.Scan(&table, &k.Name, &references, &k.Definition, &k.Validated, &k.Comment, &parts, &k.Rows, &k.Bytes)
	if err != nil {
		return k, err
	}
	k.Table, k.References = catalog.Name{Schema: table[0], Name: table[1]}, catalog.Name{Schema: references[0], Name: references[1]}
	return k, json.Unmarshal([]byte(parts), &k.Parts)
}

// ReferencingKeys gives the foreign keys of other tables that forbid to TRUNCATE
// these, of a mirror or not: the plan of SetAside. A key between two of the tables
// forbids nothing, as they are emptied together. Tables that do not exist are left
// out.
func ReferencingKeys(ctx context.Context, conn *pgx.Conn, tables []catalog.Name) ([]ForeignKey, error) {
	keys, err := referencing(ctx, conn, tables)
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys that reference %s: %w", names(tables), err)
	}
	return keys, nil
}

// referencing finds the topmost constraints: a key that references a partitioned
// table, or is one of a partitioned table, has others below it. TRUNCATE takes the
// partitions with their table, but for a partition alone the key of its parent
// counts.
func referencing(ctx context.Context, q querier, tables []catalog.Name) ([]ForeignKey, error) {
	schemas, relations := split(tables)
	rows, err := q.Query(ctx, `
WITH RECURSIVE named AS (
  SELECT c.oid FROM unnest($1::text[], $2::text[]) t (s, n) JOIN pg_namespace n ON n.nspname = t.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.n),
emptied AS (SELECT oid FROM named UNION SELECT p.relid FROM named, pg_partition_tree(named.oid) p WHERE p.relid IS NOT NULL),
up AS (
  SELECT k.oid, k.conparentid FROM pg_constraint k
  WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM emptied) AND k.conrelid NOT IN (SELECT oid FROM emptied)
  UNION SELECT p.oid, p.conparentid FROM up JOIN pg_constraint p ON p.oid = up.conparentid)
SELECT `+keyFields+`
FROM pg_constraint k WHERE k.oid IN (SELECT oid FROM up WHERE conparentid = 0) ORDER BY 1, 2`, schemas, relations)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanKey)
}

// ownKeys gives the foreign keys that an ordinary table has itself, those that
// came with a partitioned parent left out.
func ownKeys(ctx context.Context, q querier, oid uint32) ([]ForeignKey, error) {
	rows, err := q.Query(ctx, `SELECT `+keyFields+` FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = $1 ORDER BY 1, 2`, oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanKey)
}

func split(tables []catalog.Name) (schemas, relations []string) {
	for _, t := range tables {
		schemas, relations = append(schemas, t.Schema), append(relations, t.Name)
	}
	return schemas, relations
}

func names(tables []catalog.Name) string {
	out := make([]string, len(tables))
	for i, t := range tables {
		out[i] = t.String()
	}
	return strings.Join(out, ", ")
}

// The states of a row of pgdrover.foreign_keys.
const (
	keyAside    = "aside"    // it is dropped
	keyAdded    = "added"    // it is there, NOT VALID, and is to be validated
	keyViolated = "violated" // likewise, and rows violate it
)

// record writes a key down before it is dropped. One that is recorded already is to
// become valid again if it ever was.
func record(ctx context.Context, q querier, mirror string, k ForeignKey, state string) error {
	parts, err := json.Marshal(k.Parts)
	if err != nil {
		return err
	}
	if k.Parts == nil {
		parts = []byte("[]")
	}
	_, err = q.Exec(ctx, `
INSERT INTO pgdrover.foreign_keys (schema_name, table_name, name, mirror, references_schema, references_table, definition, validated, comment, parts, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11)
ON CONFLICT (schema_name, table_name, name) DO UPDATE SET mirror = excluded.mirror, references_schema = excluded.references_schema, references_table = excluded.references_table,
  definition = excluded.definition, validated = excluded.validated OR foreign_keys.validated, comment = excluded.comment,
  parts = excluded.parts, state = excluded.state, error = '', set_aside_at = clock_timestamp()`,
		k.Table.Schema, k.Table.Name, k.Name, mirror, k.References.Schema, k.References.Name, k.Definition, k.Validated, k.Comment, string(parts), state)
	if err != nil {
		return fmt.Errorf("record the foreign key %s: %w", k, err)
	}
	return nil
}
