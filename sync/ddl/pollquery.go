package ddl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// pollQueries are the queries of one poll. Each sees the catalogs as they are
// when it begins.
type pollQueries struct {
	conn         *pgx.Conn
	versionNum   int
	publications []string
	known        []uint32 // tables that were published at the last poll
}

// scope is the list of tables to look at: all that are published, what they
// are partitions of, and those that were published. $1 are the publications,
// $2 the known tables.
func (q *pollQueries) scope() string {
	bySchema := ""
	if q.versionNum >= 150000 {
		bySchema = `UNION SELECT c.oid FROM pg_catalog.pg_publication_namespace pn JOIN pub ON pub.oid = pn.pnpubid
          JOIN pg_catalog.pg_class c ON c.relnamespace = pn.pnnspid`
	}
	return `WITH RECURSIVE pub AS (
    SELECT p.oid, p.puballtables FROM pg_catalog.pg_publication p WHERE p.pubname = ANY ($1::text[])
  ), listed (oid) AS (
      SELECT pr.prrelid FROM pg_catalog.pg_publication_rel pr JOIN pub ON pub.oid = pr.prpubid
      ` + bySchema + `
    UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE EXISTS (SELECT FROM pub WHERE pub.puballtables)
    UNION SELECT k.oid FROM pg_catalog.unnest($2::oid[]) AS k (oid)
  ), reached (oid) AS (
      SELECT l.oid FROM listed l
    UNION
      SELECT i.inhrelid FROM reached r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
  ), scope AS MATERIALIZED (
    SELECT c.oid, c.relname, n.nspname, c.relfilenode, c.xmin
    FROM reached r JOIN pg_catalog.pg_class c ON c.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ` + catalog.UserSchemas + `
  )`
}

// parts are the catalogs whose rows belong to a table s, by what.
var parts = []struct{ table, key, order string }{
	{"pg_attribute", "attrelid", "attnum"},
	{"pg_attrdef", "adrelid", "oid"},
	{"pg_constraint", "conrelid", "oid"},
	{"pg_index", "indrelid", "indexrelid"},
	{"pg_inherits", "inhrelid", "inhseqno"},
	{"pg_inherits", "inhparent", "inhrelid"},
	{"pg_publication_rel", "prrelid", "oid"},
}

// versions looks at everything in scope. Whatever alters an object writes its
// row of the catalog anew, with the transaction's ID.
func (q *pollQueries) versions(ctx context.Context) (Memory, error) {
	digest := "s.xmin::text"
	for _, p := range parts {
		digest += fmt.Sprintf(` || ';' || coalesce((SELECT pg_catalog.string_agg(x.%[3]s || ':' || x.xmin, ',' ORDER BY x.%[3]s) FROM pg_catalog.%[1]s x WHERE x.%[2]s = s.oid), '')`,
			p.table, p.key, p.order)
	}
	rows, err := q.conn.Query(ctx, q.scope()+`
SELECT s.oid, s.nspname::text, s.relname::text, s.relfilenode,
       coalesce((SELECT pg_catalog.json_object_agg(x.attnum, x.xmin::text) FROM pg_catalog.pg_attribute x
                 WHERE x.attrelid = s.oid AND x.attnum > 0 AND NOT x.attisdropped), '{}'),
       coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', x.attname, 'type', x.atttypid::int8, 'modifier', x.atttypmod) ORDER BY x.attnum)
                 FROM pg_catalog.pg_attribute x WHERE x.attrelid = s.oid AND x.attnum > 0 AND NOT x.attisdropped AND x.attgenerated = ''), '[]'),
       pg_catalog.md5(`+digest+`)
FROM scope s`, q.publications, q.known)
	m := Memory{Tables: map[uint32]Version{}}
	var oid uint32
	var columns, shape []byte
	var v Version
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&oid, &v.Table.Schema, &v.Table.Name, &v.Filenode, &columns, &shape, &v.Digest}, func() error {
			v.Columns, v.Shape = nil, nil
			err := errors.Join(json.Unmarshal(columns, &v.Columns), json.Unmarshal(shape, &v.Shape))
			m.Tables[oid] = v
			return err
		})
	}
	if err != nil {
		return m, fmt.Errorf("look at the tables: %w", err)
	}
	m.Types, err = q.types(ctx)
	return m, err
}

// types is a digest of what many tables may depend on.
func (q *pollQueries) types(ctx context.Context) (digest string, err error) {
	sql := `SELECT pg_catalog.md5(
       coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin, ',' ORDER BY x.oid) FROM pg_catalog.pg_publication x), '')
    || coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin, ',' ORDER BY x.oid) FROM pg_catalog.pg_enum x), '')
    || coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin, ',' ORDER BY x.oid) FROM pg_catalog.pg_namespace x WHERE x.nspname !~ '^pg_(temp|toast_temp)_'), '')
    || coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin, ',' ORDER BY x.oid) FROM pg_catalog.pg_constraint x WHERE x.contypid <> 0), '')
    || coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin || ':' || coalesce(f.versions, ''), ',' ORDER BY x.oid)
                 FROM pg_catalog.pg_type x LEFT JOIN pg_catalog.pg_class c ON c.oid = x.typrelid AND x.typtype = 'c'
                 LEFT JOIN LATERAL (SELECT pg_catalog.string_agg(a.attnum || ':' || a.xmin, ',' ORDER BY a.attnum) AS versions
                                    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND c.relkind = 'c') f ON true
                 WHERE x.oid >= 16384 AND (x.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')), '')`
	if q.versionNum >= 150000 {
		sql += `
    || coalesce((SELECT pg_catalog.string_agg(x.oid || ':' || x.xmin, ',' ORDER BY x.oid) FROM pg_catalog.pg_publication_namespace x), '')`
	}
	if err = q.conn.QueryRow(ctx, sql+")").Scan(&digest); err != nil {
		return "", fmt.Errorf("look at types and publications: %w", err)
	}
	return digest, nil
}

// locked are the tables in scope that somebody else may be altering.
func (q *pollQueries) locked(ctx context.Context) ([]uint32, error) {
	rows, err := q.conn.Query(ctx, `
SELECT DISTINCT l.relation FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())`)
	var out []uint32
	if err == nil {
		out, err = pgx.CollectRows(rows, pgx.RowTo[uint32])
	}
	if err != nil {
		return nil, fmt.Errorf("look at locks: %w", err)
	}
	return out, nil
}

func (q *pollQueries) readPublications(ctx context.Context) ([]*Publication, error) {
	rows, err := q.conn.Query(ctx, `
SELECT (`+publicationSQL(q.versionNum, "w.oid")+`) FROM (SELECT p.oid FROM pg_catalog.pg_publication p WHERE p.pubname = ANY ($1::text[]) OFFSET 0) AS w`, q.publications)
	var out []*Publication
	var text []byte
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
			if text == nil {
				return nil
			}
			p := &Publication{}
			out = append(out, p)
			return json.Unmarshal(text, p)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read publications: %w", err)
	}
	return out, nil
}

func (q *pollQueries) leafMissing(ctx context.Context, oid uint32) (map[string]string, error) {
	var text []byte
	err := q.conn.QueryRow(ctx, "SELECT ("+leafMissingSQL("$1::pg_catalog.oid")+")", oid).Scan(&text)
	if err != nil || text == nil {
		return nil, err
	}
	var out map[string]string
	return out, json.Unmarshal(text, &out)
}
