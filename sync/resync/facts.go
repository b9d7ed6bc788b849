package resync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// fact is one property of a relation, as text in which every name is qualified.
type fact struct{ kind, name, value string }

// Difference is one property in which two tables are not the same.
type Difference struct {
	Kind     string // "index", "column", "TRIGGER" ...
	Name     string
	Original string // "" if it has none
	Shadow   string // "" if it has none
}

// String says it in one line.
func (d Difference) String() string {
	side := func(text string) string {
		if text == "" {
			return "nothing"
		}
		return strings.Join(strings.Fields(text), " ")
	}
	return fmt.Sprintf("%s %s: the table has %s; the shadow table has %s", strings.ToLower(d.Kind), d.Name, side(d.Original), side(d.Shadow))
}

// readFacts describes a relation completely: what it is and has, and what hangs
// on it, but for views and the like. Rows with many columns, not documents of
// JSON, so that a difference can be shown by itself. It is read within a
// transaction that has changed the relation, which pg_dump could not see.
//
// Columns of catalogs that came with a version are read out of the whole row as
// JSON where they can be.
func readFacts(ctx context.Context, q querier, oid uint32) ([]fact, error) {
	var filtered bool // publications have row filters and column lists
	if err := q.QueryRow(ctx, `SELECT current_setting('server_version_num')::int >= 150000`).Scan(&filtered); err != nil {
		return nil, fmt.Errorf("describe a table: %w", err)
	}
	published := "ARRAY['']"
	if filtered {
		published = publishedSQL
	}
	rows, err := q.Query(ctx, strings.Replace(factsSQL, "PUBLISHED", published, 1), oid)
	if err != nil {
		return nil, fmt.Errorf("describe a table: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f fact, err error) {
		err = row.Scan(&f.kind, &f.name, &f.value)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("describe a table: %w", err)
	}
	return out, nil
}

// compareFacts gives what differs, in order of kind and name.
func compareFacts(original, shadow []fact) []Difference {
	type key struct{ kind, name string }
	sides := map[key]*Difference{}
	at := func(f fact) *Difference {
		k := key{f.kind, f.name}
		if sides[k] == nil {
			sides[k] = &Difference{Kind: f.kind, Name: f.name}
		}
		return sides[k]
	}
	for _, f := range original {
		at(f).Original += f.value
	}
	for _, f := range shadow {
		at(f).Shadow += f.value
	}
	var out []Difference
	for _, d := range sides {
		if d.Original != d.Shadow {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

const publishedSQL = `ARRAY['where ' || coalesce(pg_get_expr(r.prqual, c.oid), ''), 'columns ' || coalesce((
    SELECT string_agg(a.attname, ',' ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (r.prattrs::int2[])), '')]`

// aclText is an access list in an order that does not depend on that of the grants.
const aclText = `(SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(%s) x)`

var factsSQL = strings.NewReplacer(
	"ACL_TABLE", fmt.Sprintf(aclText, "coalesce(c.relacl, acldefault('r', c.relowner))"),
	"ACL_SEQUENCE", fmt.Sprintf(aclText, "coalesce(s.relacl, acldefault('s', s.relowner))"),
	"ACL_COLUMN", fmt.Sprintf(aclText, "a.attacl"),
).Replace(`
WITH c AS (SELECT * FROM pg_class WHERE oid = $1)
SELECT kind::text, coalesce(name, '')::text, concat_ws(' | ', VARIADIC facts) FROM (

SELECT 'table' AS kind, '' AS name, ARRAY[c.relkind::text, 'persistence ' || c.relpersistence::text, 'owner ' || pg_get_userbyid(c.relowner),
    'options ' || coalesce(c.reloptions::text, ''), 'toast options ' || coalesce((SELECT t.reloptions::text FROM pg_class t WHERE t.oid = c.reltoastrelid), ''),
    'tablespace ' || c.reltablespace, 'access method ' || coalesce((SELECT amname FROM pg_am WHERE oid = c.relam), ''),
    'replica identity ' || c.relreplident::text, 'row security ' || c.relrowsecurity || ' forced ' || c.relforcerowsecurity,
    'type ' || CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::regtype::text END,
    'bound ' || coalesce(pg_get_expr(c.relpartbound, c.oid), ''), 'granted ' || coalesce(ACL_TABLE, ''),
    'query ' || CASE WHEN c.relkind = 'm' THEN pg_get_viewdef(c.oid) || ' populated ' || c.relispopulated ELSE '' END,
    'comment ' || coalesce(obj_description(c.oid, 'pg_class'), '')] AS facts FROM c
UNION ALL
SELECT 'parent', i.inhparent::regclass::text, ARRAY['place ' || row_number() OVER (ORDER BY i.inhseqno)] FROM c JOIN pg_inherits i ON i.inhrelid = c.oid
UNION ALL
SELECT 'child', i.inhrelid::regclass::text, ARRAY['place ' || (SELECT count(*) FROM pg_inherits o WHERE o.inhrelid = i.inhrelid AND o.inhseqno <= i.inhseqno)]
FROM c JOIN pg_inherits i ON i.inhparent = c.oid
UNION ALL
SELECT 'column', a.attname, ARRAY['place ' || row_number() OVER (ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod), 'not null ' || a.attnotnull,
    'collation ' || a.attcollation::regcollation::text, 'identity ' || a.attidentity::text, 'generated ' || a.attgenerated::text,
    'default ' || coalesce(pg_get_expr(d.adbin, d.adrelid), ''), 'storage ' || a.attstorage::text, 'compression ' || coalesce(to_jsonb(a) ->> 'attcompression', ''),
    'statistics ' || coalesce(nullif(to_jsonb(a) ->> 'attstattarget', '-1'), ''), 'options ' || coalesce(a.attoptions::text, ''),
    'local ' || a.attislocal || ' inherited ' || a.attinhcount, 'granted ' || coalesce(ACL_COLUMN, ''), 'comment ' || coalesce(col_description(c.oid, a.attnum), '')]
FROM c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
UNION ALL
-- Foreign keys are added NOT VALID, and validated later. Those of a parent come and go with it.
SELECT 'constraint', k.conname, ARRAY[CASE k.contype WHEN 'f' THEN regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') ELSE pg_get_constraintdef(k.oid) || ' valid ' || k.convalidated END,
    'deferrable ' || k.condeferrable || ' deferred ' || k.condeferred, 'local ' || k.conislocal || ' inherited ' || k.coninhcount || ' no inherit ' || (k.contype = 'c' AND k.connoinherit),
    'of parent ' || (k.conparentid <> 0), 'comment ' || coalesce(obj_description(k.oid, 'pg_constraint'), '')]
FROM c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype <> 't' AND NOT (k.contype = 'f' AND k.conparentid <> 0)
UNION ALL
SELECT 'referenced by', k.conrelid::regclass::text || ' ' || k.conname, ARRAY[regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), 'comment ' || coalesce(obj_description(k.oid, 'pg_constraint'), '')]
FROM c JOIN pg_constraint k ON k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
UNION ALL
SELECT 'index', x.relname, ARRAY[pg_get_indexdef(i.indexrelid), 'unique ' || i.indisunique || ' primary ' || i.indisprimary || ' exclusion ' || i.indisexclusion,
    'valid ' || i.indisvalid || ' clustered ' || i.indisclustered || ' replica identity ' || i.indisreplident || ' immediate ' || i.indimmediate, 'tablespace ' || x.reltablespace,
    'owner ' || pg_get_userbyid(x.relowner), 'of ' || coalesce((SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.oid), ''),
    'statistics ' || coalesce((SELECT string_agg(a.attnum || '=' || (to_jsonb(a) ->> 'attstattarget'), ',' ORDER BY a.attnum) FROM pg_attribute a
                               WHERE a.attrelid = x.oid AND coalesce((to_jsonb(a) ->> 'attstattarget')::int, -1) <> -1), ''),
    'comment ' || coalesce(obj_description(x.oid, 'pg_class'), '')]
FROM c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
UNION ALL
SELECT 'trigger', t.tgname, ARRAY[pg_get_triggerdef(t.oid), 'fires ' || t.tgenabled::text, 'comment ' || coalesce(obj_description(t.oid, 'pg_trigger'), '')]
FROM c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
UNION ALL
SELECT 'rule', r.rulename, ARRAY[pg_get_ruledef(r.oid), 'fires ' || r.ev_enabled::text, 'comment ' || coalesce(obj_description(r.oid, 'pg_rewrite'), '')]
FROM c JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', p.polname, ARRAY[p.polcmd::text, 'permissive ' || p.polpermissive, 'to ' || (SELECT string_agg(CASE WHEN o = 0 THEN 'public' ELSE pg_get_userbyid(o)::text END, ',' ORDER BY o) FROM unnest(p.polroles) o),
    'using ' || coalesce(pg_get_expr(p.polqual, p.polrelid), ''), 'check ' || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), ''), 'comment ' || coalesce(obj_description(p.oid, 'pg_policy'), '')]
FROM c JOIN pg_policy p ON p.polrelid = c.oid
UNION ALL
SELECT 'statistics', s.stxnamespace::regnamespace::text || '.' || s.stxname, ARRAY[pg_get_statisticsobjdef(s.oid), 'owner ' || pg_get_userbyid(s.stxowner),
    'target ' || coalesce(nullif(to_jsonb(s) ->> 'stxstattarget', '-1'), ''), 'comment ' || coalesce(obj_description(s.oid, 'pg_statistic_ext'), '')]
FROM c JOIN pg_statistic_ext s ON s.stxrelid = c.oid
UNION ALL
SELECT 'publication', p.pubname, PUBLISHED
FROM c JOIN pg_publication_rel r ON r.prrelid = c.oid JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT 'sequence', s.oid::regclass::text, ARRAY['of ' || a.attname, 'identity ' || (d.deptype = 'i'), format_type(q.seqtypid, NULL), 'start ' || q.seqstart, 'increment ' || q.seqincrement,
    'from ' || q.seqmin || ' to ' || q.seqmax, 'cache ' || q.seqcache, 'cycle ' || q.seqcycle, 'persistence ' || s.relpersistence::text, 'owner ' || pg_get_userbyid(s.relowner),
    'granted ' || coalesce(ACL_SEQUENCE, ''), 'comment ' || coalesce(obj_description(s.oid, 'pg_class'), '')]
FROM c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
JOIN pg_sequence q ON q.seqrelid = d.objid JOIN pg_class s ON s.oid = d.objid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
UNION ALL
SELECT 'security label', l.provider || ' ' || l.objsubid, ARRAY[l.label] FROM c JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = c.oid
) f ORDER BY 1, 2, 3`)
