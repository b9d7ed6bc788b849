package catalog

import "strings"

// DescriptionSQL is the text of a query that gives one row with one json
// column: the TableDescription of the relation whose OID the SQL expression
// relation gives, null fields left out; no row if there is no such relation.
// versionNum is the server's server_version_num (130000 and later).
//
// It may be run as it is ("$1"), as a scalar subquery, or inside a function in
// PL/pgSQL, which keeps its plan (one in SQL would plan it at every call). The
// function has to set search_path to pg_catalog, pg_temp and should set jit to off: the texts
// the server makes depend on the former. The query reads catalogs only; of the
// relation it takes at most ACCESS SHARE (pg_get_expr, pg_get_ruledef).
func DescriptionSQL(versionNum int, relation string) string {
	at := func(major int, since, before string) string {
		if versionNum/10000 >= major {
			return since
		}
		return before
	}
	return strings.NewReplacer(
		"@RELATION@", relation,
		"@CAPTION@", name("n.nspname", "c.relname"),
		"@COLUMNS@", columnsJSON(at),
		"@TYPES@", typesJSON(at),
		"@COLLATIONS@", collationsJSON(at),
		"@CONSTRAINTS@", constraintsJSON(at),
		"@REFERENCES@", referencesJSON,
		"@INDEXES@", indexesJSON(at),
		"@TRIGGERS@", triggersJSON,
		"@RULES@", rulesJSON,
		"@POLICIES@", policiesJSON,
		"@STATISTICS@", statisticsJSON(at),
		"@SEQUENCES@", sequencesJSON,
		"@PUBLICATIONS@", publicationsJSON(at),
		"@PARTITIONING@", partitioningJSON(at),
		"@PARTITION@", partitionJSON(at),
		"@INHERITANCE@", inheritanceJSON,
	).Replace(relationJSON)
}

// name is SQL that gives a Name as JSON.
func name(schema, relation string) string {
	return "pg_catalog.json_build_object('Schema', " + schema + ", 'Name', " + relation + ")"
}

// atVersion gives since on servers of at least a major version, else before.
type atVersion func(major int, since, before string) string

// relationJSON describes c, the relation. Fields that are false, empty or 0
// become NULL and are stripped: the text goes through WAL.
const relationJSON = `
SELECT pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
  'server', pg_catalog.current_setting('server_version_num')::int4,
  'oid', c.oid::int8, 'table', @CAPTION@,
  'relkind', c.relkind, 'persistence', c.relpersistence, 'owner', pg_catalog.pg_get_userbyid(c.relowner),
  'access_method', (SELECT am.amname FROM pg_catalog.pg_am am WHERE am.oid = c.relam),
  'tablespace', (SELECT ts.spcname FROM pg_catalog.pg_tablespace ts WHERE ts.oid = c.reltablespace),
  'of_type', (SELECT pg_catalog.json_build_object('Schema', tn.nspname, 'Name', t.typname)
              FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = c.reloftype),
  'replica_identity', c.relreplident,
  'identity_index', (SELECT x.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
                     WHERE i.indrelid = c.oid AND i.indisreplident),
  'row_security', nullif(c.relrowsecurity, false), 'force_row_security', nullif(c.relforcerowsecurity, false),
  'options', c.reloptions,
  'toast_options', (SELECT tc.reloptions FROM pg_catalog.pg_class tc WHERE tc.oid = c.reltoastrelid),
  'acl', c.relacl::pg_catalog.text[], 'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
  'filenode', nullif(c.relfilenode::int8, 0), 'tuples', c.reltuples,
  'bytes', (greatest(c.relpages, 0)::int8 + coalesce((SELECT tc.relpages FROM pg_catalog.pg_class tc WHERE tc.oid = c.reltoastrelid), 0))
           * pg_catalog.current_setting('block_size')::int8,
  'columns', @COLUMNS@,
  'types', @TYPES@,
  'collations', @COLLATIONS@,
  'constraints', @CONSTRAINTS@,
  'indexes', @INDEXES@,
  'triggers', @TRIGGERS@,
  'rules', @RULES@,
  'policies', @POLICIES@,
  'statistics', @STATISTICS@,
  'sequences', @SEQUENCES@,
  'referenced_by', @REFERENCES@,
  'publications', @PUBLICATIONS@,
  'partitioning', @PARTITIONING@,
  'partition', @PARTITION@,
  @INHERITANCE@
)) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = @RELATION@`

// columnsJSON describes the live columns of c. The volatility of a default is
// that of the functions its tree names; what is not a function there is a
// date or user of the session (stable) or the next value of a sequence. Columns
// that a partition key uses depend on their own table, also in expressions.
func columnsJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'number', a.attnum, 'name', a.attname,
    'type', ` + name("tn.nspname", "t.typname") + `,
    'type_text', pg_catalog.format_type(a.atttypid, a.atttypmod), 'modifier', a.atttypmod, 'dimensions', nullif(a.attndims, 0),
    'collation', ` + collationOf("a.attcollation") + `,
    'not_null', nullif(a.attnotnull, false),
    'not_null_unproved', ` + at(18, `nullif(EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'n'
                                     AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated), false)`, "NULL") + `,
    'default', pg_catalog.pg_get_expr(d.adbin, c.oid),
    'default_volatility', CASE WHEN a.attidentity <> '' THEN 'v' WHEN d.adbin IS NULL THEN NULL ELSE (
       SELECT CASE WHEN pg_catalog.bool_or(v.volatility = 'v') THEN 'v' WHEN pg_catalog.bool_or(v.volatility = 's') THEN 's' ELSE 'i' END
       FROM (SELECT p.provolatile AS volatility FROM pg_catalog.pg_proc p WHERE p.oid = ANY (ARRAY(
               SELECT f.parts[1]::pg_catalog.oid FROM pg_catalog.regexp_matches(d.adbin::pg_catalog.text, ':(?:opfuncid|funcid) (\d+)', 'g') AS f (parts)))
             UNION ALL SELECT 's' WHERE d.adbin::pg_catalog.text ~ '\{(?:SQLVALUEFUNCTION|COERCEVIAIO)'
             UNION ALL SELECT 'v' WHERE pg_catalog.strpos(d.adbin::pg_catalog.text, '{NEXTVALUEEXPR') > 0) v) END,
    'has_missing', nullif(a.atthasmissing, false),
    'missing', CASE WHEN a.atthasmissing THEN pg_catalog.array_to_string(a.attmissingval, '') END,
    'identity', nullif(a.attidentity, ''), 'generated', nullif(a.attgenerated, ''), 'storage', a.attstorage,
    'compression', ` + at(14, "nullif(a.attcompression, '')", "NULL") + `,
    'stats_target', nullif(a.attstattarget::int4, -1), 'options', a.attoptions,
    'partition_key', nullif(EXISTS (SELECT FROM pg_catalog.pg_depend pd
        WHERE c.relkind = 'p' AND pd.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND pd.objid = c.oid AND pd.objsubid = a.attnum
          AND pd.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND pd.refobjid = c.oid AND pd.refobjsubid = 0 AND pd.deptype = 'i'), false),
    'inherited', nullif(a.attinhcount > 0 AND NOT a.attislocal, false),
    'acl', a.attacl::pg_catalog.text[], 'comment', pg_catalog.col_description(c.oid, a.attnum)
  ) ORDER BY a.attnum)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)`
}

// collationOf is SQL that gives the name of a collation as JSON, NULL for 0.
func collationOf(oid string) string {
	return `(SELECT ` + name("cn.nspname", "co.collname") + ` FROM pg_catalog.pg_collation co
             JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = ` + oid + `)`
}

// typeName is SQL that gives the name of a type as JSON, NULL for 0.
func typeName(oid string) string {
	return `(SELECT ` + name("yn.nspname", "y.typname") + ` FROM pg_catalog.pg_type y
             JOIN pg_catalog.pg_namespace yn ON yn.oid = y.typnamespace WHERE y.oid = ` + oid + `)`
}

// typesOf is the recursive list of the types that the columns of c are made of.
func typesOf(at atVersion) string {
	return `WITH RECURSIVE made (oid) AS (
      SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION
      SELECT part.oid FROM made JOIN pg_catalog.pg_type t ON t.oid = made.oid
      CROSS JOIN LATERAL (
          SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A'
        UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
        ` + at(14, "UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid", "") + `
        UNION ALL SELECT f.atttypid FROM pg_catalog.pg_attribute f
                  WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) part (oid))`
}

func typesJSON(at atVersion) string {
	subtype := "(SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)"
	multirange := at(14, "(SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)", "NULL")
	return `(` + typesOf(at) + ` SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'type', ` + name("tn.nspname", "t.typname") + `, 'kind', t.typtype, 'category', t.typcategory,
    'extension', (SELECT pg_catalog.concat(e.extname, ' ', e.extversion) FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                  WHERE t.oid >= 16384 AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
                    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'),
    'element', CASE WHEN t.typcategory = 'A' THEN ` + typeName("t.typelem") + ` END,
    'labels', CASE WHEN t.typtype = 'e' THEN (SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid) END,
    'fields', CASE WHEN t.typtype = 'c' THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', f.attname,
        'type', ` + typeName("f.atttypid") + `, 'type_text', pg_catalog.format_type(f.atttypid, f.atttypmod),
        'collation', ` + collationOf("f.attcollation") + `) ORDER BY f.attnum)
      FROM pg_catalog.pg_attribute f WHERE f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) END,
    'subtype', CASE WHEN t.typtype IN ('r', 'm') THEN ` + typeName("coalesce("+subtype+", "+multirange+")") + ` END,
    'domain', CASE WHEN t.typtype = 'd' THEN pg_catalog.json_build_object(
        'base', ` + typeName("t.typbasetype") + `, 'base_text', pg_catalog.format_type(t.typbasetype, t.typtypmod), 'modifier', t.typtypmod,
        'not_null', nullif(t.typnotnull, false), 'default', coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), t.typdefault), 'collation', ` + collationOf("t.typcollation") + `,
        'checks', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', k.conname, 'definition', pg_catalog.pg_get_constraintdef(k.oid),
                     'validated', nullif(k.convalidated, false)) ORDER BY k.conname)
                   FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) END,
    'hash', nullif(` + hasOperatorClass("hash") + `, false), 'order', nullif(` + hasOperatorClass("btree") + `, false)
  ) ORDER BY tn.nspname, t.typname)
  FROM made JOIN pg_catalog.pg_type t ON t.oid = made.oid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace)`
}

// hasOperatorClass is SQL that tells whether values of t can be compared: by a
// default operator class of its own, or of what arrays, enums, ranges and
// composites have in common, or of the type that it is coerced to.
func hasOperatorClass(method string) string {
	return `EXISTS (SELECT FROM pg_catalog.pg_opclass oc JOIN pg_catalog.pg_am m ON m.oid = oc.opcmethod
        WHERE m.amname = '` + method + `' AND oc.opcdefault AND (oc.opcintype = t.oid
          OR oc.opcintype = CASE WHEN t.typtype = 'e' THEN 3500 WHEN t.typtype = 'r' THEN 3831 WHEN t.typtype = 'm' THEN 4537
                                 WHEN t.typtype = 'c' THEN 2249 WHEN t.typcategory = 'A' THEN 2277 WHEN t.oid = 1043 THEN 25 WHEN t.oid = 650 THEN 869 END))`
}

// collationsJSON describes the collations of the columns of c. What the
// default collation is, the database says.
func collationsJSON(at atVersion) string {
	locale := at(17, "coalesce(co.colllocale, co.collcollate)", at(15, "coalesce(co.colliculocale, co.collcollate)", "co.collcollate"))
	dbLocale := at(17, "coalesce(db.datlocale, db.datcollate)", at(15, "coalesce(db.daticulocale, db.datcollate)", "db.datcollate"))
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'collation', ` + name("cn.nspname", "co.collname") + `,
    'provider', CASE WHEN co.oid <> 100 THEN co.collprovider::pg_catalog.text ELSE ` + at(15, "db.datlocprovider::pg_catalog.text", "'c'") + ` END,
    'locale', CASE WHEN co.oid <> 100 THEN ` + locale + ` ELSE ` + dbLocale + ` END,
    'encoding', CASE WHEN co.oid = 100 THEN pg_catalog.pg_encoding_to_char(db.encoding) END,
    'deterministic', nullif(co.collisdeterministic, false),
    'version', CASE WHEN co.oid <> 100 THEN co.collversion ELSE ` + at(15, "db.datcollversion", "NULL") + ` END
  ) ORDER BY cn.nspname, co.collname)
  FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
  CROSS JOIN pg_catalog.pg_database db
  WHERE db.datname = pg_catalog.current_database() AND co.oid = ANY (ARRAY(
    SELECT a.attcollation FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attcollation <> 0
    UNION SELECT ic.oid FROM pg_catalog.pg_index i CROSS JOIN pg_catalog.unnest(i.indcollation) AS ic (oid)
          WHERE i.indrelid = c.oid AND ic.oid <> 0)))`
}
