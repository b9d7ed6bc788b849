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

// ErrRefused is in the chain of an error that means: this table cannot be swapped,
// or the shadow table is not equal to it. Nothing was changed; DETAIL says why.
var ErrRefused = errors.New("the table cannot be swapped")

// boundCheck is the name of the constraint that says of a partition's shadow what
// is true of the partition. ATTACH PARTITION would read all rows without it.
const boundCheck = "pgdrover_bound"

// stepsTable records which steps are done, each in the transaction of the step.
const stepsTable = "pgdrover_steps"

// Shadow is a second table that is to take the place of the first. It is in
// memory only: a process that was killed makes another, and the schema of this
// one is a leftover. It is used by one goroutine at a time, with any connection.
//
// Of a partitioned table the partitions are swapped and the table stays. Until
// then the shadow partitions belong to a partitioned table beside them, so that
// rows find their way.
type Shadow struct {
	table   relation
	mirror  string
	schema  string // where everything lies until the swap
	old     string // where what it replaces lies after the swap
	units   []*unit
	levels  []level // of the partitioned table beside, from the top
	moves   moves
	bare    []step
	behind  []step
	grants  []step   // collected for the end of behind
	present []string // statements for when it stands in its place
	depends *dependants
	keys    []ForeignKey // of other tables that reference it
	older   []snapshot   // that may not see all of its rows

	warnings []string
}

// level is a partitioned table above the units.
type level struct {
	name      catalog.Name
	parent    catalog.Name // without a name: the topmost
	bound     string
	partition string // PARTITION BY …
}

// step is what Create or Finish does: one transaction.
type step struct {
	sql   string
	what  string
	locks bool // a table in use, if only for a moment
}

// Progress tells of a step that begins.
type Progress struct {
	Done, Total int
	What        string // "INDEX orders_day_idx"
}

// ShadowOptions say what is to be rebuilt.
type ShadowOptions struct {
	Mirror  string
	Table   catalog.Name  // of the destination
	Archive *dump.Archive // of the destination's schema, made just now
	Number  uint32        // behind the names of the schemas; 0: the table's OID. Shards that take one copy need one name
}

// NewShadow plans a shadow table, and changes nothing. The error is ErrRefused if
// something hangs on the table that could not be carried over: it is better known
// before the rows are copied (Rehearse finds the rest). Columns that are not copied
// get their defaults: what the old table has in them goes with it. conn is one of package connect's: with an empty
// search_path.
func NewShadow(ctx context.Context, conn *pgx.Conn, o ShadowOptions) (*Shadow, error) {
	table, err := find(ctx, conn, o.Table, true)
	if err != nil {
		return nil, err
	}
	s := &Shadow{
		table: table, mirror: o.Mirror, moves: moves{},
		schema: fmt.Sprintf("%s%d", ShadowPrefix, cmp.Or(o.Number, table.oid)), old: fmt.Sprintf("%s%d", OldPrefix, cmp.Or(o.Number, table.oid)),
	}
	err = s.plan(ctx, conn, o.Archive)
	if err != nil && !errors.Is(err, ErrRefused) {
		return nil, fmt.Errorf("plan the shadow table of %s: %w", o.Table, err)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Target is where the rows are copied to, and changes applied, until the swap.
func (s *Shadow) Target() catalog.Name {
	return catalog.Name{Schema: s.schema, Name: s.table.name.Name}
}

// Schema is the schema in which the shadow table lies.
func (s *Shadow) Schema() string { return s.schema }

// Carried are the things that depend on the table and will be bound to the new one.
func (s *Shadow) Carried() []Dependant { return s.depends.carried }

// Keys are the foreign keys of other tables that will be made anew. PutBack
// validates them after the swap.
func (s *Shadow) Keys() []ForeignKey { return s.keys }

func (s *Shadow) refuse(reasons []string) error {
	return pgerror.New(pgerror.FeatureNotSupported, "%w: %s", ErrRefused, s.table.name).
		WithDetail("%s", strings.Join(reasons, "\n")).
		WithHint("the strategies reconcile and truncate leave the table itself where it is")
}

func (s *Shadow) oids() []uint32 {
	out := make([]uint32, len(s.units))
	for i, u := range s.units {
		out[i] = u.oid
	}
	return out
}

// plan finds the units and makes the steps.
func (s *Shadow) plan(ctx context.Context, q querier, archive *dump.Archive) error {
	if err := s.findUnits(ctx, q); err != nil {
		return err
	}
	for i := 0; i < len(s.units); i++ { // views are added meanwhile
		if err := s.describe(ctx, q, s.units[i], archive); err != nil {
			return err
		}
		found, err := readDependants(ctx, q, s.oids())
		if err != nil {
			return err
		}
		s.depends = found
		for _, oid := range found.matviews {
			if !slices.Contains(s.oids(), oid) {
				u, err := readUnit(ctx, q, oid)
				if err != nil {
					return err
				}
				s.units = append(s.units, u)
			}
		}
	}
	subscribed, err := s.subscribed(ctx, q)
	if err != nil {
		return err
	}
	reasons := append(s.depends.refused, subscribed...)
	seen := map[string]catalog.Name{}
	for _, u := range s.units {
		if other, twice := seen[u.name.Name]; twice {
			reasons = append(reasons, fmt.Sprintf("%s and %s have the same name", other, u.name))
		}
		seen[u.name.Name] = u.name
		if u.kind == 'f' {
			reasons = append(reasons, fmt.Sprintf("its partition %s is a foreign table", u.name))
		}
	}
	if len(reasons) > 0 {
		return s.refuse(reasons)
	}
	var tables []catalog.Name
	for _, u := range s.units {
		tables = append(tables, u.name)
	}
	keys, err := referencing(ctx, q, tables)
	if err != nil {
		return err
	}
	s.keys = keys
	s.makeSteps()
	for _, u := range s.units {
		if err := s.inheritedKeys(ctx, q, u); err != nil {
			return err
		}
	}
	if err := s.levelKeys(ctx, q); err != nil {
		return err
	}
	return s.readWarnings(ctx, q)
}

// findUnits gives s the table itself, or, of a partitioned one, its partitions and
// the levels above them.
func (s *Shadow) findUnits(ctx context.Context, q querier) error {
	if s.table.kind != 'p' {
		u, err := readUnit(ctx, q, s.table.oid)
		s.units = []*unit{u}
		return err
	}
	rows, err := q.Query(ctx, `
SELECT t.relid::oid, t.isleaf AND c.relkind <> 'p', n.nspname::text, c.relname::text, coalesce(pn.nspname::text, ''), coalesce(p.relname::text, ''),
       coalesce(pg_get_expr(c.relpartbound, c.oid), ''), coalesce(pg_get_partkeydef(c.oid), '')
FROM pg_partition_tree($1::oid) t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class p ON p.oid = t.parentrelid LEFT JOIN pg_namespace pn ON pn.oid = p.relnamespace ORDER BY t.level, c.oid`, s.table.oid)
	if err != nil {
		return err
	}
	type node struct {
		oid  uint32
		leaf bool
		level
	}
	nodes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n node, err error) {
		err = row.Scan(&n.oid, &n.leaf, &n.name.Schema, &n.name.Name, &n.parent.Schema, &n.parent.Name, &n.bound, &n.partition)
		return n, err
	})
	if err != nil {
		return err
	}
	for i, n := range nodes {
		if n.leaf {
			u, err := readUnit(ctx, q, n.oid)
			if err != nil {
				return err
			}
			s.units = append(s.units, u)
			continue
		}
		if i == 0 {
			n.parent = catalog.Name{}
		}
		s.levels = append(s.levels, n.level)
	}
	if len(s.units) == 0 {
		return s.refuse([]string{"it has no partitions: there are no rows to swap"})
	}
	return nil
}

func readUnit(ctx context.Context, q querier, oid uint32) (*unit, error) {
	u := &unit{}
	var kind string
	var parents, stats, moved [][]string
	err := q.QueryRow(ctx, `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, pg_get_userbyid(c.relowner)::text, c.relispartition, c.relispopulated,
       ARRAY(SELECT ARRAY[pn.nspname::text, p.relname::text] FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
             WHERE i.inhrelid = c.oid ORDER BY i.inhseqno),
       ARRAY(SELECT ARRAY[sn.nspname::text, s.stxname::text] FROM pg_statistic_ext s JOIN pg_namespace sn ON sn.oid = s.stxnamespace WHERE s.stxrelid = c.oid ORDER BY 1),
       ARRAY(SELECT ARRAY[xn.nspname::text, x.relname::text] FROM pg_class x JOIN pg_namespace xn ON xn.oid = x.relnamespace
             WHERE x.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid)
                OR x.oid IN (SELECT d.objid FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid
                             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'i')),
       coalesce(pg_get_expr(c.relpartbound, c.oid), ''), CASE WHEN c.relispartition THEN coalesce(pg_get_partition_constraintdef(c.oid), '') ELSE '' END,
       ARRAY(SELECT DISTINCT pg_get_userbyid(g.grantor)::text FROM (
               SELECT x.grantor FROM aclexplode(c.relacl) x UNION ALL SELECT x.grantor FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid
               UNION ALL SELECT x.grantor FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S', aclexplode(s.relacl) x
               WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype = 'i') g WHERE g.grantor <> c.relowner ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1`, oid).
		Scan(&u.oid, &u.name.Schema, &u.name.Name, &kind, &u.owner, &u.partition, &u.populated, &parents, &stats, &moved, &u.bound, &u.implied, &u.grantors)
	if err != nil {
		return nil, fmt.Errorf("read a table: %w", err)
	}
	u.kind = kind[0]
	u.parents, u.stats, u.moved = toNames(parents), toNames(stats), toNames(moved)
	return u, nil
}

func toNames(pairs [][]string) []catalog.Name {
	var out []catalog.Name
	for _, p := range pairs {
		out = append(out, catalog.Name{Schema: p[0], Name: p[1]})
	}
	return out
}

// describe adds the unit's entries and what is moved with it.
func (s *Shadow) describe(ctx context.Context, q querier, u *unit, archive *dump.Archive) error {
	if u.kind == 'f' {
		return nil
	}
	if err := u.belongs(ctx, q, archive); err != nil {
		return err
	}
	s.moves[u.name] = s.schema
	for _, name := range slices.Concat(u.moved, u.stats) {
		s.moves[name] = s.schema
	}
	return nil
}

// Drop removes the shadow table, when it is not wanted any more, and what a swap
// has replaced. It does nothing if nothing is there.
func (s *Shadow) Drop(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	return errors.Join(
		RemoveLeftover(ctx, conn, s.schema, patience),
		RemoveLeftover(ctx, conn, s.old, patience),
	)
}
