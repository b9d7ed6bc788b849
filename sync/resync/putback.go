package resync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Outcome is what became of a foreign key that had been set aside.
type Outcome string

// The outcomes of PutBack.
const (
	KeyRestored Outcome = "restored" // as it was before
	KeyViolated Outcome = "violated" // there, NOT VALID: new rows are checked, some old ones violate it
	KeyGone     Outcome = "gone"     // its table, or the one it references, is not there any more: forgotten
	KeyFailed   Outcome = "failed"   // it could not be made; Err says why, and it is still recorded
)

// PutBackResult tells of one key.
type PutBackResult struct {
	ForeignKey
	Outcome   Outcome
	Err       *pgerror.Error // of KeyFailed and KeyViolated
	Violation *Violation     // of KeyViolated, if the rows could be read
}

// PutBack makes the recorded foreign keys again that reference one of tables or
// belong to one; all of the mirror's without tables. Each is added NOT VALID, which
// takes a short lock, and validated while readers and writers go on. A key of a
// partitioned table, which cannot be NOT VALID, is first made and validated in the
// partitions.
//
// It may be called again at any time, also after a kill: what is done is left
// alone, what rows violate is tried again. A lock that cannot be had is the error
// ErrLocked; results tell of the keys before.
func PutBack(ctx context.Context, conn *pgx.Conn, mirror string, tables []catalog.Name, patience Patience, progress func(PutBackResult)) ([]PutBackResult, error) {
	keys, err := RecordedKeys(ctx, conn, mirror)
	if err != nil {
		return nil, err
	}
	related, err := withHierarchy(ctx, conn, tables)
	if err != nil {
		return nil, err
	}
	if len(tables) > 0 {
		keys = slices.DeleteFunc(keys, func(k RecordedKey) bool {
			return !slices.Contains(related, k.References) && !slices.Contains(related, k.Table)
		})
	}
	return PutBackKeys(ctx, conn, keys, patience, progress)
}

// PutBackKeys is PutBack for keys that RecordedKeys has given.
func PutBackKeys(ctx context.Context, conn *pgx.Conn, keys []RecordedKey, patience Patience, progress func(PutBackResult)) ([]PutBackResult, error) {
	p := &putter{conn: conn, patience: patience.withDefaults()}
	var out []PutBackResult
	for _, k := range keys {
		result, err := p.put(ctx, k)
		if err != nil {
			return out, fmt.Errorf("put back the foreign key %s: %w", k, err)
		}
		out = append(out, result)
		if progress != nil {
			progress(result)
		}
	}
	return out, nil
}

// Related adds to tables those that they are partitions of, and their partitions: a
// foreign key may belong to, or reference, any of them.
func Related(ctx context.Context, conn *pgx.Conn, tables []catalog.Name) ([]catalog.Name, error) {
	return withHierarchy(ctx, conn, tables)
}

// withHierarchy adds the tables that these are partitions of, and their partitions:
// a key may belong to, or reference, any of them.
func withHierarchy(ctx context.Context, q querier, tables []catalog.Name) ([]catalog.Name, error) {
	schemas, relations := split(tables)
	rows, err := q.Query(ctx, `
WITH named AS (SELECT c.oid FROM unnest($1::text[], $2::text[]) t (s, n) JOIN pg_namespace n ON n.nspname = t.s JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.n)
SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN (SELECT p.relid FROM named, pg_partition_tree(named.oid) p UNION SELECT a.relid FROM named, pg_partition_ancestors(named.oid) a (relid))`, schemas, relations)
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	pairs, err := pgx.CollectRows(rows, pgx.RowTo[[]string])
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	return append(toNames(pairs), tables...), nil
}

type putter struct {
	conn     *pgx.Conn
	patience Patience
}

// put makes one key whole. Its error is one that concerns the others too.
func (p *putter) put(ctx context.Context, k RecordedKey) (PutBackResult, error) {
	result := PutBackResult{ForeignKey: k.ForeignKey}
	there, err := p.tablesThere(ctx, k.ForeignKey)
	if err != nil {
		return result, err
	}
	if !there {
		result.Outcome = KeyGone
		return result, p.forget(ctx, k.ForeignKey)
	}
	err = p.make(ctx, k)
	switch {
	case err == nil:
		result.Outcome = KeyRestored
		return result, nil
	case ctx.Err() != nil, errors.Is(err, ErrLocked), pgerror.IsConnectionLost(err):
		return result, err
	}
	result.Err, result.Outcome = pgerror.From(err), KeyFailed
	state := k.State
	if result.Err.Code == foreignKeyViolation {
		result.Outcome, state = KeyViolated, keyViolated
		violation, err := FindViolation(ctx, p.conn, k.ForeignKey, violationsShown)
		if err != nil {
			return result, err
		}
		result.Violation = violation
		result.Err = result.Err.WithHint("find the rows with: %s Repair or delete them, then: ALTER TABLE %s VALIDATE CONSTRAINT %s;",
			violation.SQL, quote(k.Table), dump.QuoteIdent(k.Name))
	}
	if len(k.Parts) > 0 {
		state = keyAside // the topmost key is made last
	}
	_, err = p.conn.Exec(ctx, `UPDATE pgdrover.foreign_keys SET state = $4, error = $5 WHERE schema_name = $1 AND table_name = $2 AND name = $3`,
		k.Table.Schema, k.Table.Name, k.Name, state, result.Err.Message)
	return result, err
}

// make adds the key, and its parts before it, and validates them.
func (p *putter) make(ctx context.Context, k RecordedKey) error {
	partitioned := len(k.Parts) > 0
	for _, part := range k.Parts {
		if err := p.makePart(ctx, part); err != nil {
			return err
		}
	}
	if err := p.add(ctx, k.Table, k.Name, k.Definition, !partitioned, k.Comment); err != nil {
		return err
	}
	if k.Validated && !partitioned {
		if err := p.validate(ctx, k.Table, k.Name); err != nil {
			return err
		}
	}
	return p.forget(ctx, k.ForeignKey)
}

func (p *putter) makePart(ctx context.Context, part KeyPart) error {
	there, err := isTable(ctx, p.conn, part.table())
	if err != nil || !there {
		return err // a partition that is gone needs no key
	}
	if err := p.add(ctx, part.table(), part.Name, part.Definition, part.Leaf, ""); err != nil {
		return err
	}
	if part.Leaf {
		return p.validate(ctx, part.table(), part.Name)
	}
	return nil
}

// add makes a key unless it is there.
func (p *putter) add(ctx context.Context, table catalog.Name, name, definition string, notValid bool, comment string) error {
	return p.patience.retry(ctx, func() error {
		err := transaction(ctx, p.conn, func(tx pgx.Tx) error {
			existing, _, err := constraint(ctx, tx, table, name)
			switch {
			case err != nil:
				return err
			case existing == definition:
				return nil
			case existing != "":
				return pgerror.New(pgerror.DuplicateObject, "table %s has another constraint %s: %s", table, dump.QuoteIdent(name), existing).
					WithHint("if it may be replaced: %s; %s;", dropKey(table, name), addKey(table, name, definition, false))
			}
			wait := p.patience.begin(tx)
			if err := wait.exec(ctx, addKey(table, name, definition, notValid)); err != nil {
				return err
			}
			if comment != "" {
				if err := wait.exec(ctx, commentOnKey(table, name, comment)); err != nil {
					return err
				}
			}
			_, err = tx.Exec(ctx, `UPDATE pgdrover.foreign_keys SET state = '`+keyAdded+`' WHERE schema_name = $1 AND table_name = $2 AND name = $3 AND parts = '[]'`,
				table.Schema, table.Name, name)
			return err
		})
		return locked(ctx, p.conn, err, oids(ctx, p.conn, []catalog.Name{table}))
	})
}

func commentOnKey(table catalog.Name, name, comment string) string {
	return "COMMENT ON CONSTRAINT " + dump.QuoteIdent(name) + " ON " + quote(table) + " IS " + dump.QuoteLiteral(comment)
}

// validate checks the rows that are there. Its lock lets readers and writers pass.
func (p *putter) validate(ctx context.Context, table catalog.Name, name string) error {
	return p.patience.retry(ctx, func() error {
		err := transaction(ctx, p.conn, func(tx pgx.Tx) error {
			_, valid, err := constraint(ctx, tx, table, name)
			if err != nil || valid {
				return err
			}
			return p.patience.begin(tx).exec(ctx, "ALTER TABLE "+quote(table)+" VALIDATE CONSTRAINT "+dump.QuoteIdent(name))
		})
		return locked(ctx, p.conn, err, oids(ctx, p.conn, []catalog.Name{table}))
	})
}

// constraint gives the definition of a constraint, "" if there is none of that name.
func constraint(ctx context.Context, q querier, table catalog.Name, name string) (definition string, valid bool, err error) {
	err = q.QueryRow(ctx, `
SELECT regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), k.convalidated FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3`, table.Schema, table.Name, name).Scan(&definition, &valid)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", false, nil
	}
	return definition, valid, err
}

func (p *putter) tablesThere(ctx context.Context, k ForeignKey) (bool, error) {
	for _, table := range []catalog.Name{k.Table, k.References} {
		there, err := isTable(ctx, p.conn, table)
		if err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

func isTable(ctx context.Context, q querier, table catalog.Name) (there bool, err error) {
	err = q.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p'))`,
		table.Schema, table.Name).Scan(&there)
	return there, err
}

func (p *putter) forget(ctx context.Context, k ForeignKey) error {
	_, err := p.conn.Exec(ctx, `DELETE FROM pgdrover.foreign_keys WHERE schema_name = $1 AND table_name = $2 AND name = $3`, k.Table.Schema, k.Table.Name, k.Name)
	return err
}
