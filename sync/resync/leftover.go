package resync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// note is the comment on a schema of ours, as JSON.
type note struct {
	Mirror string    `json:"mirror"`
	Schema string    `json:"schema"`
	Table  string    `json:"table"`
	Made   time.Time `json:"made"`
}

// Leftover is a schema that a resync has made. While the resync runs it is no
// leftover: whoever asks knows which of them run.
type Leftover struct {
	Schema string
	Prefix string // ShadowPrefix, StagePrefix or OldPrefix
	Number uint32 // the OID of the table that was, or is, copied again, on shard 0
	Mirror string
	Table  catalog.Name // as it was named then
	Made   time.Time    // zero: the comment on the schema is not ours, and it is not removed
	Bytes  int64        // of what lies in it, with indexes
}

// Leftovers finds the schemas that resyncs have made in the database of conn. All
// of them must be left out of dumps and comparisons.
func Leftovers(ctx context.Context, conn *pgx.Conn) ([]Leftover, error) {
	rows, err := conn.Query(ctx, `
SELECT n.nspname::text, coalesce(obj_description(n.oid, 'pg_namespace'), ''),
       coalesce((SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'm')), 0)::int8
FROM pg_namespace n WHERE n.nspname ~ '^pgdrover_(shadow|stage|old)_[0-9]+$' ORDER BY 1`)
	if err != nil {
		return nil, fmt.Errorf("look for leftovers of resyncs: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l Leftover, err error) {
		var comment string
		if err := row.Scan(&l.Schema, &comment, &l.Bytes); err != nil {
			return l, err
		}
		end := strings.LastIndexByte(l.Schema, '_') + 1
		oid, err := strconv.ParseUint(l.Schema[end:], 10, 32)
		l.Prefix, l.Number = l.Schema[:end], uint32(oid)
		var n note
		if err == nil && json.Unmarshal([]byte(comment), &n) == nil {
			l.Mirror, l.Table, l.Made = n.Mirror, catalog.Name{Schema: n.Schema, Name: n.Table}, n.Made
		}
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("look for leftovers of resyncs: %w", err)
	}
	return out, nil
}

// RemoveLeftover drops a schema that a resync has made, with the tables in it. It
// does not drop what somebody else has made depend on them: then it fails.
func RemoveLeftover(ctx context.Context, conn *pgx.Conn, schema string, patience Patience) error {
	patience = patience.withDefaults()
	if !strings.HasPrefix(schema, ShadowPrefix) && !strings.HasPrefix(schema, StagePrefix) && !strings.HasPrefix(schema, OldPrefix) {
		return pgerror.New(pgerror.InvalidParameterValue, "schema %s is not one that a resync has made", dump.QuoteIdent(schema))
	}
	err := patience.retry(ctx, func() error {
		err := transaction(ctx, conn, func(tx pgx.Tx) error {
			if _, there, err := readNote(ctx, tx, schema); err != nil || !there {
				return err
			}
			return dropSchema(ctx, tx, patience.begin(tx), schema)
		})
		return locked(ctx, conn, err, nil)
	})
	if pgerror.Code(err) == dependentObjects {
		e := *pgerror.From(err)
		e.Hint = "somebody has made these depend on what a resync has left: drop them, then it can be removed"
		err = &e
	}
	if err != nil {
		return fmt.Errorf("remove the schema %s: %w", dump.QuoteIdent(schema), err)
	}
	return nil
}

// dropSchema drops a schema of ours if it is there: views, then tables, all of a
// kind at once, as they may depend on one another.
func dropSchema(ctx context.Context, q querier, wait *budget, schema string) error {
	for _, kind := range []struct{ kinds, words string }{{"{m}", "MATERIALIZED VIEW"}, {"{r,p}", "TABLE"}} {
		rows, err := q.Query(ctx, `
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind::text = ANY ($2::text[]) ORDER BY c.oid`, schema, kind.kinds)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		if err := wait.exec(ctx, "DROP "+kind.words+" "+strings.Join(found, ", ")); err != nil {
			return err
		}
	}
	return wait.exec(ctx, "DROP SCHEMA IF EXISTS "+dump.QuoteIdent(schema))
}

// readNote gives the comment on a schema of ours. A schema that has none is not ours,
// whatever its name is: they are made together.
func readNote(ctx context.Context, q querier, schema string) (n note, there bool, err error) {
	var comment string
	err = q.QueryRow(ctx, `SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = $1`, schema).Scan(&comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return n, false, nil
	}
	if err == nil && (json.Unmarshal([]byte(comment), &n) != nil || n.Made.IsZero()) {
		err = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "schema %s is not one that a resync has made", dump.QuoteIdent(schema)).
			WithHint("its name is needed: ALTER SCHEMA %s RENAME TO <another>;", dump.QuoteIdent(schema))
	}
	return n, true, err
}

// makeSchema makes a schema of ours anew. One that is there is a leftover, unless
// it is another mirror's.
func makeSchema(ctx context.Context, q querier, wait *budget, schema string, n note) error {
	before, there, err := readNote(ctx, q, schema)
	if err != nil {
		return err
	}
	if there && before.Mirror != n.Mirror {
		return pgerror.New(pgerror.ObjectInUse, "table %s is being copied again by mirror %q", catalog.Name{Schema: n.Schema, Name: n.Table}, before.Mirror).
			WithHint("wait for it, or if it was given up: DROP SCHEMA %s CASCADE;", dump.QuoteIdent(schema))
	}
	if err := dropSchema(ctx, q, wait, schema); err != nil {
		return err
	}
	n.Made = time.Now().UTC().Truncate(time.Second)
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return wait.exec(ctx, "CREATE SCHEMA "+dump.QuoteIdent(schema)+"; COMMENT ON SCHEMA "+dump.QuoteIdent(schema)+" IS "+dump.QuoteLiteral(string(text)))
}
