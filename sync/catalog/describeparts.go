package catalog

// columnNames is SQL that gives the names of the columns of a relation whose
// numbers an array has, in its order, as JSON; "" for an expression.
func columnNames(relation, numbers string) string {
	return `(SELECT pg_catalog.json_agg(coalesce(ka.attname::pg_catalog.text, '') ORDER BY place.i)
       FROM pg_catalog.unnest(` + numbers + `) WITH ORDINALITY AS place (attnum, i)
       LEFT JOIN pg_catalog.pg_attribute ka ON ka.attrelid = ` + relation + ` AND ka.attnum = place.attnum AND place.attnum <> 0)`
}

func constraintsJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', k.conname, 'type', k.contype, 'columns', ` + columnNames("k.conrelid", "k.conkey") + `,
    'definition', pg_catalog.pg_get_constraintdef(k.oid), 'validated', nullif(k.convalidated, false),
    'not_enforced', ` + at(18, "nullif(NOT k.conenforced, false)", "NULL") + `,
    'deferrable', nullif(k.condeferrable, false), 'deferred', nullif(k.condeferred, false),
    'no_inherit', CASE WHEN k.contype = 'c' THEN nullif(k.connoinherit, false) END,
    'inherited', nullif(k.conparentid <> 0 OR (k.coninhcount > 0 AND NOT k.conislocal), false),
    'index', CASE WHEN k.contype IN ('p', 'u', 'x') THEN (SELECT x.relname FROM pg_catalog.pg_class x WHERE x.oid = k.conindid) END,
    'comment', pg_catalog.obj_description(k.oid, 'pg_constraint'),
    'references', (SELECT ` + name("fn.nspname", "f.relname") + ` FROM pg_catalog.pg_class f
                   JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace WHERE f.oid = k.confrelid),
    'referenced_columns', ` + columnNames("k.confrelid", "k.confkey") + `,
    'on_update', CASE WHEN k.contype = 'f' THEN k.confupdtype END, 'on_delete', CASE WHEN k.contype = 'f' THEN k.confdeltype END,
    'match', CASE WHEN k.contype = 'f' THEN k.confmatchtype END,
    'set_columns', ` + at(15, columnNames("k.conrelid", "k.confdelsetcols"), "NULL") + `
  ) ORDER BY k.contype, k.conname)
  FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x', 'c', 'f'))`
}

// A foreign key that points at a partitioned table has one row for each of its
// partitions too; those have a parent.
const referencesJSON = `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'table', pg_catalog.json_build_object('Schema', fn.nspname, 'Name', f.relname), 'name', k.conname,
    'columns', (SELECT pg_catalog.json_agg(ka.attname ORDER BY r.i) FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS r (attnum, i)
                JOIN pg_catalog.pg_attribute ka ON ka.attrelid = c.oid AND ka.attnum = r.attnum),
    'definition', pg_catalog.pg_get_constraintdef(k.oid)
  ) ORDER BY fn.nspname, f.relname, k.conname)
  FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class f ON f.oid = k.conrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
  WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conparentid = 0)`

// indexesJSON describes the indexes of c. The part of a definition behind
// USING starts where its beginning, made again here, ends.
func indexesJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', x.relname, 'definition', def.text,
    'using', pg_catalog.substr(def.text, pg_catalog.length(pg_catalog.concat('CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, 'INDEX ',
       pg_catalog.quote_ident(x.relname), ' ON ', CASE WHEN x.relkind = 'I' THEN 'ONLY ' END,
       pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname), ' USING ')) + 1),
    'method', (SELECT am.amname FROM pg_catalog.pg_am am WHERE am.oid = x.relam),
    'columns', ` + columnNames("c.oid", "(i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]") + `,
    'include', ` + columnNames("c.oid", "(i.indkey::pg_catalog.int2[])[i.indnkeyatts:i.indnatts - 1]") + `,
    'predicate', pg_catalog.pg_get_expr(i.indpred, c.oid),
    'unique', nullif(i.indisunique, false), 'primary', nullif(i.indisprimary, false), 'deferrable', nullif(NOT i.indimmediate, false),
    'nulls_not_distinct', ` + at(15, "nullif(i.indnullsnotdistinct, false)", "NULL") + `,
    'invalid', nullif(NOT i.indisvalid, false), 'replica_identity', nullif(i.indisreplident, false), 'clustered', nullif(i.indisclustered, false),
    'inherited', nullif(x.relispartition, false),
    'constraint', (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.conindid = x.oid AND k.contype IN ('p', 'u', 'x')),
    'tablespace', (SELECT ts.spcname FROM pg_catalog.pg_tablespace ts WHERE ts.oid = x.reltablespace),
    'comment', pg_catalog.obj_description(x.oid, 'pg_class'),
    'key_collations', (SELECT pg_catalog.json_agg(` + collationOf("ic.oid") + ` ORDER BY ic.i)
                       FROM pg_catalog.unnest(i.indcollation) WITH ORDINALITY AS ic (oid, i) WHERE ic.i <= i.indnkeyatts)
  ) ORDER BY x.relname)
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.pg_get_indexdef(x.oid), '') AS text) def
  WHERE i.indrelid = c.oid)`
}

const triggersJSON = `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', t.tgname, 'definition', def.text,
    'rest', pg_catalog.replace(def.text, pg_catalog.concat(' ON ', pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname), ' '), ' ON '),
    'enabled', t.tgenabled,
    'function', (SELECT pg_catalog.json_build_object('Schema', pn.nspname, 'Name', p.proname) FROM pg_catalog.pg_proc p
                 JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace WHERE p.oid = t.tgfoid),
    'inherited', nullif(t.tgparentid <> 0, false), 'comment', pg_catalog.obj_description(t.oid, 'pg_trigger')
  ) ORDER BY t.tgname)
  FROM pg_catalog.pg_trigger t CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.pg_get_triggerdef(t.oid), '') AS text) def
  WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)`

const rulesJSON = `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', r.rulename, 'definition', pg_catalog.pg_get_ruledef(r.oid), 'event', r.ev_type,
    'instead', nullif(r.is_instead, false), 'enabled', r.ev_enabled) ORDER BY r.rulename)
  FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN')`

const policiesJSON = `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', p.polname, 'command', p.polcmd, 'permissive', nullif(p.polpermissive, false),
    'roles', (SELECT pg_catalog.json_agg(CASE r.oid WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r.oid)::pg_catalog.text END ORDER BY r.oid)
              FROM pg_catalog.unnest(p.polroles) AS r (oid)),
    'using', pg_catalog.pg_get_expr(p.polqual, c.oid), 'check', pg_catalog.pg_get_expr(p.polwithcheck, c.oid)) ORDER BY p.polname)
  FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)`

func statisticsJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'statistics', ` + name("sn.nspname", "s.stxname") + `, 'definition', pg_catalog.pg_get_statisticsobjdef(s.oid),
    'kinds', s.stxkind::pg_catalog.text[],
    'columns', ` + at(14, "pg_catalog.pg_get_statisticsobjdef_columns(s.oid)",
		`(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(ka.attname), ', ' ORDER BY k.i)
       FROM pg_catalog.unnest(s.stxkeys) WITH ORDINALITY AS k (attnum, i)
       JOIN pg_catalog.pg_attribute ka ON ka.attrelid = s.stxrelid AND ka.attnum = k.attnum)`) + `,
    'target', nullif(s.stxstattarget::int4, -1)) ORDER BY sn.nspname, s.stxname)
  FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace sn ON sn.oid = s.stxnamespace WHERE s.stxrelid = c.oid)`
}

const sequencesJSON = `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'sequence', pg_catalog.json_build_object('Schema', sn.nspname, 'Name', s.relname), 'column', sa.attname, 'identity', nullif(d.deptype = 'i', false),
    'type', pg_catalog.format_type(q.seqtypid, NULL), 'start', q.seqstart, 'increment', q.seqincrement,
    'min', q.seqmin, 'max', q.seqmax, 'cache', q.seqcache, 'cycle', nullif(q.seqcycle, false)) ORDER BY sa.attnum, s.relname)
  FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid
  JOIN pg_catalog.pg_class s ON s.oid = q.seqrelid JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
  JOIN pg_catalog.pg_attribute sa ON sa.attrelid = c.oid AND sa.attnum = d.refobjsubid
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid = c.oid AND d.deptype IN ('a', 'i'))`

// publicationsJSON lists the publications that carry the changes of c: those
// it was added to, itself or through a table it is a partition of.
func publicationsJSON(at atVersion) string {
	ancestors := `(SELECT ca.relid::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors(c.oid) AS ca (relid) WHERE c.relispartition OR c.relkind = 'p'
       UNION SELECT c.oid)`
	return `(SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', p.pubname, 'all_tables', nullif(p.puballtables, false), 'in_schema', nullif(m.in_schema, false),
    'via', (SELECT ` + name("vn.nspname", "v.relname") + ` FROM pg_catalog.pg_class v
            JOIN pg_catalog.pg_namespace vn ON vn.oid = v.relnamespace WHERE v.oid = m.via),
    'columns', m.columns, 'filter', m.filter,
    'insert', nullif(p.pubinsert, false), 'update', nullif(p.pubupdate, false), 'delete', nullif(p.pubdelete, false),
    'truncate', nullif(p.pubtruncate, false), 'via_root', nullif(p.pubviaroot, false),
    'generated', ` + at(18, "p.pubgencols", "NULL") + `) ORDER BY p.pubname, m.via)
  FROM pg_catalog.pg_publication p
  JOIN LATERAL (
      SELECT pr.prrelid AS via, false AS in_schema,
             ` + at(15, columnNames("pr.prrelid", "pr.prattrs"), "NULL::pg_catalog.json") + ` AS columns,
             ` + at(15, "pg_catalog.pg_get_expr(pr.prqual, pr.prrelid)", "NULL::pg_catalog.text") + ` AS filter
      FROM pg_catalog.pg_publication_rel pr WHERE pr.prpubid = p.oid AND pr.prrelid IN ` + ancestors + `
    UNION ALL SELECT 0, false, NULL, NULL WHERE p.puballtables AND c.relpersistence = 'p'
    ` + at(15, `UNION ALL SELECT 0, true, NULL, NULL FROM pg_catalog.pg_publication_namespace pn
      WHERE pn.pnpubid = p.oid AND pn.pnnspid IN (SELECT ac.relnamespace FROM pg_catalog.pg_class ac WHERE ac.oid IN `+ancestors+`)
      GROUP BY pn.pnpubid`, "") + `) m ON true)`
}

func partitioningJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_build_object('strategy', pt.partstrat, 'key', pg_catalog.pg_get_partkeydef(c.oid),
    'columns', ` + columnNames("c.oid", "pt.partattrs::pg_catalog.int2[]") + `,
    'partitions', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
        'table', ` + name("pn.nspname", "pc.relname") + `, 'oid', pc.oid::int8, 'relkind', pc.relkind,
        'bound', coalesce(pg_catalog.pg_get_expr(pc.relpartbound, pc.oid), ''), 'detach_pending', ` + at(14, "nullif(h.inhdetachpending, false)", "NULL") + `
      ) ORDER BY pn.nspname, pc.relname)
      FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class pc ON pc.oid = h.inhrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
      WHERE h.inhparent = c.oid))
  FROM pg_catalog.pg_partitioned_table pt WHERE pt.partrelid = c.oid)`
}

func partitionJSON(at atVersion) string {
	return `(SELECT pg_catalog.json_build_object('table', ` + name("pn.nspname", "pc.relname") + `, 'oid', pc.oid::int8, 'relkind', pc.relkind,
    'root', (SELECT ` + name("rn.nspname", "r.relname") + ` FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
             WHERE r.oid = pg_catalog.pg_partition_root(c.oid)),
    'bound', coalesce(pg_catalog.pg_get_expr(c.relpartbound, c.oid), ''), 'detach_pending', ` + at(14, "nullif(h.inhdetachpending, false)", "NULL") + `)
  FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
  WHERE c.relispartition AND h.inhrelid = c.oid)`
}

const inheritanceJSON = `'inherits', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('Schema', pn.nspname, 'Name', pc.relname) ORDER BY h.inhseqno)
    FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class pc ON pc.oid = h.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
    WHERE NOT c.relispartition AND h.inhrelid = c.oid),
  'children', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('Schema', pn.nspname, 'Name', pc.relname) ORDER BY pn.nspname, pc.relname)
    FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class pc ON pc.oid = h.inhrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
    WHERE c.relkind <> 'p' AND h.inhparent = c.oid)`
