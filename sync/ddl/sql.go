package ddl

// nameJSON is SQL that gives a catalog.Name as JSON.
func nameJSON(schema, name string) string {
	return "pg_catalog.json_build_object('Schema', " + schema + ", 'Name', " + name + ")"
}

// typeNameJSON is SQL that gives the name of a type as JSON, NULL for 0.
func typeNameJSON(oid string) string {
	return `(SELECT ` + nameJSON("yn.nspname", "y.typname") + ` FROM pg_catalog.pg_type y
     JOIN pg_catalog.pg_namespace yn ON yn.oid = y.typnamespace WHERE y.oid = ` + oid + `)`
}

func collationNameJSON(oid string) string {
	return `(SELECT ` + nameJSON("cn.nspname", "co.collname") + ` FROM pg_catalog.pg_collation co
     JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = ` + oid + `)`
}

// typeSQL is a query for the catalog.TypeDescription of one type as JSON, as
// catalog.DescriptionSQL has it in its list of types.
func typeSQL(oid string) string {
	return `SELECT pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
    'type', ` + nameJSON("tn.nspname", "t.typname") + `, 'kind', t.typtype, 'category', t.typcategory,
    'labels', CASE WHEN t.typtype = 'e' THEN (SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid) END,
    'fields', CASE WHEN t.typtype = 'c' THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', f.attname,
        'type', ` + typeNameJSON("f.atttypid") + `, 'type_text', pg_catalog.format_type(f.atttypid, f.atttypmod),
        'collation', ` + collationNameJSON("f.attcollation") + `) ORDER BY f.attnum)
      FROM pg_catalog.pg_attribute f WHERE f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) END,
    'subtype', CASE WHEN t.typtype = 'r' THEN ` + typeNameJSON("(SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)") + ` END,
    'domain', CASE WHEN t.typtype = 'd' THEN pg_catalog.json_build_object(
        'base', ` + typeNameJSON("t.typbasetype") + `, 'base_text', pg_catalog.format_type(t.typbasetype, t.typtypmod), 'modifier', t.typtypmod,
        'not_null', nullif(t.typnotnull, false), 'default', coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0), t.typdefault),
        'collation', ` + collationNameJSON("t.typcollation") + `,
        'checks', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', k.conname, 'definition', pg_catalog.pg_get_constraintdef(k.oid),
                     'validated', nullif(k.convalidated, false)) ORDER BY k.conname)
                   FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) END))
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace WHERE t.oid = ` + oid
}

// leafMissingSQL is a query for the attmissingval of one partition of a table
// as a JSON object by column name, NULL if there is none.
func leafMissingSQL(oid string) string {
	return `WITH RECURSIVE below (oid) AS (
      SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = ` + oid + `
    UNION ALL
      SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
  ), leaf AS (
    SELECT c.oid FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid WHERE c.relkind = 'r' ORDER BY c.oid LIMIT 1
  )
  SELECT coalesce((SELECT pg_catalog.json_object_agg(a.attname, pg_catalog.array_to_string(a.attmissingval, ''))
                   FROM pg_catalog.pg_attribute a WHERE a.attrelid = leaf.oid AND a.atthasmissing AND NOT a.attisdropped), '{}')
  FROM leaf`
}

// publicationSQL is a query for a Publication as JSON. Columns that a server
// lacks are left out.
func publicationSQL(version int, oid string) string {
	columns, filter, generated, schemas := "NULL", "NULL", "NULL", "NULL"
	if version >= 150000 {
		columns = `(SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = pr.prrelid AND a.attnum = ANY (pr.prattrs::pg_catalog.int2[]))`
		filter = `pg_catalog.pg_get_expr(pr.prqual, pr.prrelid)`
		schemas = `(SELECT pg_catalog.json_agg(sn.nspname ORDER BY sn.nspname) FROM pg_catalog.pg_publication_namespace ps
      JOIN pg_catalog.pg_namespace sn ON sn.oid = ps.pnnspid WHERE ps.pnpubid = p.oid)`
	}
	if version >= 180000 {
		generated = "p.pubgencols"
	}
	return `SELECT pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
    'oid', p.oid::int8, 'name', p.pubname, 'all_tables', nullif(p.puballtables, false),
    'insert', nullif(p.pubinsert, false), 'update', nullif(p.pubupdate, false), 'delete', nullif(p.pubdelete, false), 'truncate', nullif(p.pubtruncate, false),
    'via_root', nullif(p.pubviaroot, false), 'generated', ` + generated + `,
    'schemas', ` + schemas + `,
    'tables', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', c.oid::int8, 'table', ` + nameJSON("n.nspname", "c.relname") + `,
        'columns', ` + columns + `, 'filter', ` + filter + `) ORDER BY c.oid)
      FROM pg_catalog.pg_publication_rel pr JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE pr.prpubid = p.oid)))
  FROM pg_catalog.pg_publication p WHERE p.oid = ` + oid
}
