package resync

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// SetAside drops the foreign keys of other tables that forbid to TRUNCATE these,
// and records them in pgdrover.foreign_keys in the same transaction, so that there
// is no moment at which one is neither. It takes a short ACCESS EXCLUSIVE lock on
// both tables of each key. What it gives is what was dropped by this call.
//
// Until PutBack, nothing checks these keys.
func SetAside(ctx context.Context, conn *pgx.Conn, mirror string, tables []catalog.Name, patience Patience) ([]ForeignKey, error) {
	patience = patience.withDefaults()
	var dropped []ForeignKey
	err := patience.retry(ctx, func() error {
		err := transaction(ctx, conn, func(tx pgx.Tx) error {
			keys, err := referencing(ctx, tx, tables)
			if err != nil {
				return err
			}
			wait := patience.begin(tx)
			for _, k := range keys {
				if err := setAside(ctx, wait, mirror, k); err != nil {
					return err
				}
			}
			dropped = keys
			return nil
		})
		return locked(ctx, conn, err, oids(ctx, conn, tables))
	})
	if err != nil {
		return nil, fmt.Errorf("set aside the foreign keys that reference %s: %w", names(tables), err)
	}
	return dropped, nil
}

func setAside(ctx context.Context, wait *budget, mirror string, k ForeignKey) error {
	if err := record(ctx, wait.tx, mirror, k, keyAside); err != nil {
		return err
	}
	if err := wait.exec(ctx, dropKey(k.Table, k.Name)); err != nil {
		return fmt.Errorf("drop the foreign key %s: %w", k, err)
	}
	return nil
}

// oids is for messages only: without an answer there is none.
func oids(ctx context.Context, conn *pgx.Conn, tables []catalog.Name) []uint32 {
	schemas, relations := split(tables)
	rows, err := conn.Query(ctx, `
SELECT c.oid FROM unnest($1::text[], $2::text[]) t (s, n) JOIN pg_namespace n ON n.nspname = t.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.n
UNION SELECT k.conrelid FROM unnest($1::text[], $2::text[]) t (s, n) JOIN pg_namespace n ON n.nspname = t.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.n
JOIN pg_constraint k ON k.confrelid = c.oid AND k.contype = 'f'`, schemas, relations)
	if err != nil {
		return nil
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil
	}
	return out
}

// RecordedKey is a row of pgdrover.foreign_keys.
type RecordedKey struct {
	ForeignKey
	Mirror string
	State  string // aside: dropped; added: there and NOT VALID; violated: likewise, rows violate it
	Error  string // of the last attempt to validate it
}

// RecordedKeys gives what a mirror has set aside and not made whole again; of
// every mirror if mirror is "".
func RecordedKeys(ctx context.Context, conn *pgx.Conn, mirror string) ([]RecordedKey, error) {
	rows, err := conn.Query(ctx, `
SELECT schema_name, table_name, name, mirror, references_schema, references_table, definition, validated, comment, parts::text, state, error
FROM pgdrover.foreign_keys WHERE mirror = $1 OR $1 = '' ORDER BY set_aside_at, 1, 2, 3`, mirror)
	if err != nil {
		return nil, fmt.Errorf("read pgdrover.foreign_keys: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k RecordedKey, err error) {
		var parts string
		err = row.Scan(&k.Table.Schema, &k.Table.Name, &k.Name, &k.Mirror, &k.References.Schema, &k.References.Name, &k.Definition,
			&k.Validated, &k.Comment, &parts, &k.State, &k.Error)
		if err != nil {
			return k, err
		}
		return k, json.Unmarshal([]byte(parts), &k.Parts)
	})
	if err != nil {
		return nil, fmt.Errorf("read pgdrover.foreign_keys: %w", err)
	}
	return out, nil
}
