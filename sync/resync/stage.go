package resync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// ErrStageLost is in the chain of an error that means: the staged rows are gone,
// because the server was restarted after a crash, or another took its place. They
// have to be copied again.
var ErrStageLost = errors.New("the staged rows are gone")

// ErrChanged is in the chain of an error that means: somebody else has changed the
// table while it was being reconciled. Reconcile may be called again.
var ErrChanged = errors.New("the table was changed meanwhile")

// aliveTable is unlogged like the stage: after a crash of the server both are
// empty, and an empty stage must not be taken for a table without rows.
const aliveTable = "pgdrover_alive"

// Stage is a place for the rows of a table that is to be reconciled: its columns
// alone, unlogged. It is used by one goroutine at a time, with any connection.
type Stage struct {
	mirror  string
	table   relation
	schema  string
	columns []string // that are copied and compared
	always  []string // of these, GENERATED ALWAYS AS IDENTITY: no UPDATE sets them
	others  []string // columns that only the destination has; they keep their values
	key     []stageKeyColumn
	path    string // search_path for the operators of the key
}

// stageKeyColumn is a column by which rows are told apart.
type stageKeyColumn struct {
	name     string
	dataType string // qualified
}

// StageOptions say what is staged.
type StageOptions struct {
	Mirror  string
	Table   catalog.Name // of the destination
	Columns []string     // that are copied; nil: all that are not generated
	Number  uint32       // as in ShadowOptions
}

// NewStage plans a stage, and changes nothing.
func NewStage(ctx context.Context, conn *pgx.Conn, o StageOptions) (*Stage, error) {
	table, err := find(ctx, conn, o.Table, true)
	if err != nil {
		return nil, err
	}
	s := &Stage{mirror: o.Mirror, table: table, schema: fmt.Sprintf("%s%d", StagePrefix, cmp.Or(o.Number, table.oid))}
	if err := s.read(ctx, conn, o.Columns); err != nil {
		return nil, fmt.Errorf("plan to stage the rows of %s: %w", o.Table, err)
	}
	return s, nil
}

// Target is where the rows are copied to. Changes may be applied to it as well, if
// the table has a key and Finish has made it.
func (s *Stage) Target() catalog.Name {
	return catalog.Name{Schema: s.schema, Name: s.table.name.Name}
}

// Schema is the schema in which the stage lies.
func (s *Stage) Schema() string { return s.schema }

// Keyed tells whether rows are compared by a key. Without one they are compared as
// a whole, and what has changed is deleted and inserted.
func (s *Stage) Keyed() bool { return len(s.key) > 0 }

func (s *Stage) read(ctx context.Context, conn *pgx.Conn, wanted []string) error {
	relations, err := catalog.ReadRelations(ctx, conn, []catalog.Name{s.table.name})
	if err != nil {
		return err
	}
	r := relations[s.table.name]
	if r == nil {
		return pgerror.New(pgerror.UndefinedTable, "table %s does not exist on the destination", s.table.name)
	}
	for _, c := range r.Columns {
		switch {
		case c.Generated != 0:
		case wanted != nil && !slices.Contains(wanted, c.Name):
			s.others = append(s.others, c.Name)
		default:
			s.columns = append(s.columns, c.Name)
			if c.Identity == 'a' {
				s.always = append(s.always, c.Name)
			}
		}
	}
	for _, name := range wanted {
		if r.Position(name) < 0 {
			return pgerror.New(pgerror.UndefinedColumn, "column %s of table %s does not exist on the destination", dump.QuoteIdent(name), s.table.name)
		}
	}
	for _, key := range r.Keys {
		var names []string
		for _, at := range key.Columns {
			names = append(names, r.Columns[at].Name)
		}
		if key.Deferrable || slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(s.columns, n) }) {
			continue
		}
		return s.readKey(ctx, conn, names, key.Index)
	}
	return nil
}

// readKey reads the types of the key's columns, and the schemas in which their
// operators lie: types of extensions have theirs elsewhere than in pg_catalog.
func (s *Stage) readKey(ctx context.Context, conn *pgx.Conn, names []string, index catalog.Name) error {
	rows, err := conn.Query(ctx, `
SELECT a.attname::text, format('%I.%I', n.nspname, t.typname) FROM unnest($2::text[]) WITH ORDINALITY u (name, place)
JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = u.name JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace ORDER BY u.place`, s.table.oid, names)
	if err != nil {
		return err
	}
	s.key, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c stageKeyColumn, err error) {
		err = row.Scan(&c.name, &c.dataType)
		return c, err
	})
	if err != nil {
		return err
	}
	return conn.QueryRow(ctx, `
SELECT concat_ws(', ', 'pg_catalog', string_agg(DISTINCT quote_ident(n.nspname), ', '))
FROM pg_class x JOIN pg_namespace xn ON xn.oid = x.relnamespace JOIN pg_index i ON i.indexrelid = x.oid CROSS JOIN unnest(i.indclass::oid[]) c
JOIN pg_opclass o ON o.oid = c JOIN pg_amop m ON m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype
JOIN pg_operator p ON p.oid = m.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace
WHERE xn.nspname = $1 AND x.relname = $2 AND n.nspname <> 'pg_catalog'`, index.Schema, index.Name).Scan(&s.path)
}

// Create makes the stage. What a killed process has left of one is removed first.
func (s *Stage) Create(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	patience = patience.withDefaults()
	err := patience.retry(ctx, func() error {
		err := transaction(ctx, conn, func(tx pgx.Tx) error {
			wait := patience.begin(tx)
			n := note{Mirror: s.mirror, Schema: s.table.name.Schema, Table: s.table.name.Name}
			if err := makeSchema(ctx, tx, wait, s.schema, n); err != nil {
				return err
			}
			sql := fmt.Sprintf("CREATE UNLOGGED TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE)", quote(s.Target()), quote(s.table.name))
			for _, name := range s.others {
				sql += fmt.Sprintf(";\nALTER TABLE %s ALTER COLUMN %s DROP NOT NULL, ALTER COLUMN %s DROP DEFAULT", quote(s.Target()), dump.QuoteIdent(name), dump.QuoteIdent(name))
			}
			sql += fmt.Sprintf(";\nCREATE UNLOGGED TABLE %s AS SELECT true AS alive", quote(s.beside(aliveTable)))
			return wait.exec(ctx, sql)
		})
		return locked(ctx, conn, err, []uint32{s.table.oid})
	})
	if err != nil {
		return fmt.Errorf("create a stage for table %s: %w", s.table.name, err)
	}
	return nil
}

func (s *Stage) beside(name string) catalog.Name { return catalog.Name{Schema: s.schema, Name: name} }

// Finish makes the key over the rows, if there is one, and gathers statistics. It
// may be called again.
func (s *Stage) Finish(ctx context.Context, conn *pgx.Conn) error {
	if err := s.alive(ctx, conn); err != nil {
		return err
	}
	if s.Keyed() {
		columns := make([]string, len(s.key))
		for i, c := range s.key {
			columns[i] = dump.QuoteIdent(c.name)
		}
		sql := "CREATE UNIQUE INDEX IF NOT EXISTS pgdrover_key ON " + quote(s.Target()) + " (" + strings.Join(columns, ", ") + ")"
		if err := exec(ctx, conn, sql); err != nil {
			return fmt.Errorf("make the key of the stage of table %s: %w", s.table.name, err)
		}
	}
	if err := exec(ctx, conn, "ANALYZE "+quote(s.Target())); err != nil {
		return fmt.Errorf("analyze the stage of table %s: %w", s.table.name, err)
	}
	return nil
}

// alive tells whether the stage is still what was made. A connection does not
// outlive its server: it is asked once on each.
func (s *Stage) alive(ctx context.Context, q querier) error {
	there, err := isTable(ctx, q, s.beside(aliveTable))
	if err == nil && there {
		err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+quote(s.beside(aliveTable))+")").Scan(&there)
	}
	if err == nil && !there {
		err = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%w: table %s", ErrStageLost, s.table.name).
			WithDetail("They were unlogged, and do not survive a crash of the server.").WithHint("the table has to be copied again")
	}
	return err
}

// Drop removes the stage. It does nothing if there is none.
func (s *Stage) Drop(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	return RemoveLeftover(ctx, conn, s.schema, patience)
}
