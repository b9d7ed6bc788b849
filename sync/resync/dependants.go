package resync

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Dependant is something that is not part of a table and holds its OID: it has to
// be bound to the new table. SQL does that once the new one has the old one's name,
// and keeps the dependant's own identity, owner, grants and comments.
type Dependant struct {
	Kind string // view, rule, policy, function, child
	Name string // as SQL names it
	SQL  string
	lock string // takes the lock that SQL needs, without changing anything; "" if none
}

// dependants is all that depends on units and is no part of them.
type dependants struct {
	carried  []Dependant // views first, those that read other views before those
	matviews []uint32    // that read a unit themselves: units too
	refused  []string    // what cannot be carried, and why
}

// partsSQL is what is part of the tables $1. A serial column's sequence is not: the
// new table takes it over as it is.
const partsSQL = `
WITH RECURSIVE part (classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, o FROM unnest($1::oid[]) o
  UNION
  SELECT d.classid, d.objid FROM part p JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid
  WHERE d.deptype IN ('i', 'a', 'P', 'S') AND NOT (d.deptype = 'a' AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_sequence s WHERE s.seqrelid = d.objid)))`

// readDependants finds what depends on the tables of these OIDs.
func readDependants(ctx context.Context, q querier, units []uint32) (*dependants, error) {
	rows, err := q.Query(ctx, partsSQL+`
SELECT DISTINCT d.classid::regclass::text, d.objid, d.refclassid = 'pg_type'::regclass,
       pg_describe_object(d.classid, d.objid, CASE WHEN d.refclassid = 'pg_type'::regclass THEN d.objsubid ELSE 0 END),
       coalesce((SELECT r.ev_class FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid), 0),
       coalesce((SELECT c.relkind::text FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'), ''),
       coalesce((SELECT k.contype::text FROM pg_constraint k WHERE d.classid = 'pg_constraint'::regclass AND k.oid = d.objid), '')
FROM part p JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid
WHERE d.deptype IN ('n', 'a') AND (d.classid, d.objid) NOT IN (SELECT classid, objid FROM part)
  AND NOT (d.deptype = 'a' AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_sequence s WHERE s.seqrelid = d.objid))
UNION ALL
SELECT 'pg_trigger', t.oid, false, pg_describe_object('pg_trigger'::regclass, t.oid, 0), 0, '', ''
FROM pg_trigger t WHERE t.tgconstrrelid = ANY ($1) AND NOT t.tgisinternal
ORDER BY 1, 2`, units)
	if err != nil {
		return nil, fmt.Errorf("read what depends on the table: %w", err)
	}
	type found struct {
		class, described, relkind, contype string
		oid, relation                      uint32
		rowType                            bool
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f found, err error) {
		err = row.Scan(&f.class, &f.oid, &f.rowType, &f.described, &f.relation, &f.relkind, &f.contype)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what depends on the table: %w", err)
	}
	out := &dependants{}
	var views []uint32
	for _, f := range all {
		switch {
		case f.rowType:
			out.refused = append(out.refused, f.described+" uses the table's row type")
		case f.class == "pg_rewrite" && f.relkind == "v":
			views = append(views, f.relation)
		case f.class == "pg_rewrite" && f.relkind == "m":
			out.matviews = append(out.matviews, f.relation)
		case f.class == "pg_constraint" && f.contype == "f":
			// see ReferencingKeys
		case slices.Contains([]string{"pg_rewrite", "pg_policy", "pg_proc", "pg_class"}, f.class):
			d, err := readDependant(ctx, q, f.class, f.oid, units)
			switch {
			case err != nil:
				return nil, fmt.Errorf("read the definition of %s: %w", f.described, err)
			case d == nil:
				out.refused = append(out.refused, f.described+" depends on it")
			default:
				out.carried = append(out.carried, *d)
			}
		default:
			out.refused = append(out.refused, f.described+" depends on it")
		}
	}
	ordered, err := readViews(ctx, q, unique(views))
	out.carried = append(ordered, out.carried...)
	out.matviews, out.refused = unique(out.matviews), unique(out.refused)
	return out, err
}

func unique[T cmp.Ordered](all []T) []T {
	slices.Sort(all)
	return slices.Compact(all)
}

// readViews gives the views, outermost first: in that order a reader locks them,
// and whoever locks them otherwise meets readers crosswise.
func readViews(ctx context.Context, q querier, views []uint32) ([]Dependant, error) {
	rows, err := q.Query(ctx, `
WITH RECURSIVE below (top, rel) AS (
  SELECT v, v FROM unnest($1::oid[]) v
  UNION SELECT b.top, d.refobjid FROM below b JOIN pg_rewrite r ON r.ev_class = b.rel
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass)
SELECT v.oid::regclass::text, format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
         (SELECT ' WITH (' || string_agg(quote_ident(o.option_name) || ' = ' || quote_literal(o.option_value), ', ') || ')' FROM pg_options_to_table(v.reloptions) o),
         rtrim(pg_get_viewdef(v.oid), ';')),
       format('ALTER VIEW %s OWNER TO %I', v.oid::regclass, pg_get_userbyid(v.relowner))
FROM pg_class v WHERE v.oid = ANY ($1::oid[])
ORDER BY (SELECT count(*) FROM below b WHERE b.top = v.oid AND b.rel = ANY ($1::oid[])) DESC, v.oid`, views)
	if err != nil {
		return nil, fmt.Errorf("read views: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Dependant, error) {
		d := Dependant{Kind: "view"}
		err := row.Scan(&d.Name, &d.SQL, &d.lock)
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("read views: %w", err)
	}
	return out, nil
}

// dependantSQL reads, for an object of each catalog, its kind, name and the
// statement that binds it anew; no row if it cannot be bound. $2 are the units.
var dependantSQL = map[string]string{
	"pg_rewrite": `SELECT 'rule', pg_describe_object('pg_rewrite'::regclass, oid, 0), regexp_replace(pg_get_ruledef(oid), '^CREATE RULE', 'CREATE OR REPLACE RULE')
FROM pg_rewrite WHERE oid = $1 AND rulename <> '_RETURN' AND $2::oid[] IS NOT NULL`,
	"pg_policy": `SELECT 'policy', pg_describe_object('pg_policy'::regclass, oid, 0), format('ALTER POLICY %I ON %s', polname, polrelid::regclass)
  || coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', '') || coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', '')
FROM pg_policy WHERE oid = $1 AND $2::oid[] IS NOT NULL`,
	// Only a body in SQL of its own is bound to tables; others are read when they run.
	"pg_proc": `SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid)
FROM pg_proc WHERE oid = $1 AND to_jsonb(pg_proc) ->> 'prosqlbody' IS NOT NULL AND $2::oid[] IS NOT NULL`,
	"pg_class": `SELECT 'child', i.inhrelid::regclass::text, format('ALTER TABLE %s INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhrelid = $1 AND i.inhparent = ANY ($2::oid[]) AND c.relkind IN ('r', 'f') AND NOT c.relispartition`,
}

func readDependant(ctx context.Context, q querier, class string, oid uint32, units []uint32) (*Dependant, error) {
	rows, err := q.Query(ctx, dependantSQL[class], oid, units)
	if err != nil {
		return nil, err
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d Dependant, err error) {
		err = row.Scan(&d.Kind, &d.Name, &d.SQL)
		return d, err
	})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return &out[0], nil
}
