-- What pgdrover puts into a source so that schema changes are in its stream.
-- The texts between '@' are filled in by install.go.
--
-- Event trigger functions run as their owner, in whatever session runs a
-- schema change. Nothing that a user can make may be called by them: search_path
-- ends with pg_temp, which else would be searched for types before all others.
-- None of them may fail: each is a loop over messages that other functions made
-- and in which every error has been caught. The messages are sent outside of
-- the blocks that catch errors, because these are subtransactions, and what is
-- written in one costs a transaction ID of its own.

CREATE SCHEMA IF NOT EXISTS pgdrover;

-- The description of a relation, NULL if there is none.
CREATE OR REPLACE FUNCTION pgdrover.ddl_describe(relation oid) RETURNS json LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN (@DESCRIPTION@);
END $pgdrover$;

-- The description of a type that a user made, NULL for others.
CREATE OR REPLACE FUNCTION pgdrover.ddl_type(wanted oid) RETURNS json LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN (@TYPE@);
END $pgdrover$;

-- The description of a publication, NULL if there is none.
CREATE OR REPLACE FUNCTION pgdrover.ddl_publication(wanted oid) RETURNS json LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN (@PUBLICATION@);
END $pgdrover$;

-- Tells whether a schema's objects are of interest.
CREATE OR REPLACE FUNCTION pgdrover.ddl_of_users(schema_name text) RETURNS boolean LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN schema_name <> 'pgdrover' AND schema_name <> 'information_schema' AND schema_name !~ '^pg_';
END $pgdrover$;

-- Tells whether the running command is one ALTER TABLE, sent by itself and
-- without USING: what it does to values then follows from the types alone. When
-- in doubt it does not. context is PG_CONTEXT of an event trigger function: one
-- line if no other function runs the command.
CREATE OR REPLACE FUNCTION pgdrover.ddl_plain(context text) RETURNS boolean LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  query text := pg_catalog.rtrim(pg_catalog.current_query(), E' \t\r\n;');
BEGIN
  RETURN coalesce(pg_catalog.strpos(context, E'\n') = 0 AND query ~* '^\s*alter\s+table\s' AND query !~* 'using' AND pg_catalog.strpos(query, ';') = 0, false);
END $pgdrover$;

-- One message: an object of the fields that are given, and the image that
-- kind describes; or why there is none. It does not fail.
CREATE OR REPLACE FUNCTION pgdrover.ddl_message(kind text, tag text, fields json, object oid, room integer) RETURNS bytea LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  image json;
  code text;
  why text;
BEGIN
  BEGIN
    IF object IS NOT NULL AND room > 0 THEN
      image := CASE kind WHEN 'table' THEN pgdrover.ddl_describe(object)
                         WHEN 'type' THEN pgdrover.ddl_type(object)
                         WHEN 'publication' THEN pgdrover.ddl_publication(object) END;
      IF pg_catalog.octet_length(image::text) > @IMAGE_LIMIT@ THEN
        image := NULL;
        why := 'the image is larger than @IMAGE_LIMIT@ bytes';
      END IF;
    ELSIF object IS NOT NULL THEN
      why := 'the command has changed too much for an image of everything';
    END IF;
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, why = MESSAGE_TEXT;
    image := NULL;
  END;
  BEGIN
    RETURN pg_catalog.convert_to(pg_catalog.json_strip_nulls(pg_catalog.json_build_object(
      'v', 1, 'kind', kind, 'tag', tag, 'user', session_user, 'fields', fields, 'image', image,
      'failure', CASE WHEN why IS NOT NULL THEN pg_catalog.json_build_object('code', coalesce(code, '54000'), 'message', pg_catalog.left(why, 500)) END))::text, 'UTF8');
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
    RETURN pgdrover.ddl_failed(tag, code);
  END;
END $pgdrover$;

-- A message that says that something has changed and cannot be told. It is
-- made of nothing that could fail: tags and codes are plain words.
CREATE OR REPLACE FUNCTION pgdrover.ddl_failed(tag text, code text) RETURNS bytea LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN pg_catalog.convert_to('{"v":1,"kind":"unknown","tag":"' || tag || '","failure":{"code":"' || code || '"}}', 'UTF8');
END $pgdrover$;

-- Tells whether queries see the catalog as it is. In a transaction that has
-- one snapshot for all of its queries they may see it as it was before others
-- have changed it, though the command did not.
CREATE OR REPLACE FUNCTION pgdrover.ddl_sees() RETURNS boolean LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN pg_catalog.current_setting('transaction_isolation') IN ('read committed', 'read uncommitted');
END $pgdrover$;

-- What the command that ends has created or altered: a message for each table,
-- type, publication and schema.
CREATE OR REPLACE FUNCTION pgdrover.ddl_end_messages(tag text, context text) RETURNS bytea[] LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  out bytea[] := '{}';
  -- Bytes of images that may still be made; each counts as at least a part of it.
  room integer := @COMMAND_LIMIT@;
  plain boolean;
  made bytea;
  code text;
  r record;
BEGIN
  IF NOT pgdrover.ddl_sees() THEN
    IF EXISTS (SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() d
               WHERE d.classid <> 'pg_catalog.pg_namespace'::pg_catalog.regclass AND (d.schema_name IS NULL OR pgdrover.ddl_of_users(d.schema_name))) THEN
      out := out || pgdrover.ddl_failed(tag, '25001');
    END IF;
    RETURN out;
  END IF;
  plain := nullif(pgdrover.ddl_plain(context), false);
  FOR r IN
    WITH command AS MATERIALIZED (
      SELECT d.classid, d.objid FROM pg_catalog.pg_event_trigger_ddl_commands() d WHERE d.objid IS NOT NULL
    )
    SELECT 1 AS step, false AS derived, 'type' AS kind, t.oid,
           pg_catalog.json_build_object('oid', t.oid::int8, 'schema', n.nspname, 'name', t.typname) AS fields
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid IN (
        SELECT c.objid FROM command c WHERE c.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
      UNION SELECT k.contypid FROM command c JOIN pg_catalog.pg_constraint k ON k.oid = c.objid
            WHERE c.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.contypid <> 0
      UNION SELECT x.reltype FROM command c JOIN pg_catalog.pg_class x ON x.oid = c.objid
            WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.relkind = 'c')
      AND t.typtype IN ('c', 'd', 'e', 'r') AND pgdrover.ddl_of_users(n.nspname)
      AND (t.typtype <> 'c' OR EXISTS (SELECT FROM pg_catalog.pg_class x WHERE x.oid = t.typrelid AND x.relkind = 'c'))
    UNION ALL
    SELECT 2, false, 'schema', NULL, s.fields FROM (
      SELECT pg_catalog.json_build_object('oid', n.oid::int8, 'name', n.nspname, 'tables',
               pg_catalog.json_agg(pg_catalog.json_build_object('oid', x.oid::int8, 'name', x.relname))) AS fields
      FROM command c JOIN pg_catalog.pg_namespace n ON n.oid = c.objid
      JOIN (SELECT x.oid, x.relnamespace, x.relname, pg_catalog.row_number() OVER (PARTITION BY x.relnamespace ORDER BY x.oid) / 1000 AS part
            FROM pg_catalog.pg_class x WHERE x.relkind IN ('r', 'p')) x ON x.relnamespace = n.oid
      WHERE tag = 'ALTER SCHEMA' AND c.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND pgdrover.ddl_of_users(n.nspname)
      GROUP BY n.oid, n.nspname, x.part) s
    UNION ALL
    SELECT 3, false, 'publication', p.oid, pg_catalog.json_build_object('oid', p.oid::int8, 'name', p.pubname)
    FROM pg_catalog.pg_publication p
    WHERE p.oid IN (
        SELECT c.objid FROM command c WHERE c.classid = 'pg_catalog.pg_publication'::pg_catalog.regclass
      UNION SELECT pr.prpubid FROM command c JOIN pg_catalog.pg_publication_rel pr ON pr.oid = c.objid
            WHERE c.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass
      @PUBLICATION_SCHEMAS@)
    UNION ALL
    SELECT 4, NOT t.named, 'table', t.oid, t.fields FROM (
      WITH RECURSIVE tree (oid, named) AS (
        SELECT x.oid, true FROM command c JOIN pg_catalog.pg_class x ON x.oid = c.objid
        WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      UNION
        SELECT i.indrelid, true FROM command c JOIN pg_catalog.pg_index i ON i.indexrelid = c.objid
        WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      UNION
        SELECT k.conrelid, true FROM command c JOIN pg_catalog.pg_constraint k ON k.oid = c.objid
        WHERE c.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.conrelid <> 0
      UNION
        SELECT pr.prrelid, true FROM command c JOIN pg_catalog.pg_publication_rel pr ON pr.oid = c.objid
        WHERE c.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass
      UNION
        SELECT x.oid, true FROM command c JOIN pg_catalog.pg_class k ON k.oid = c.objid AND k.relkind = 'c'
        JOIN pg_catalog.pg_class x ON x.reloftype = k.reltype
        WHERE c.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      ), family (oid, named) AS (
        SELECT tree.oid, tree.named FROM tree
      UNION
        SELECT i.inhrelid, false FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
      )
      SELECT x.oid, m.named,
             pg_catalog.json_build_object('oid', x.oid::int8, 'schema', n.nspname, 'name', x.relname, 'relkind', x.relkind, 'plain', plain,
               'leaf_missing', CASE WHEN x.relkind = 'p' THEN pgdrover.ddl_leaf_missing(x.oid) END) AS fields
      FROM (SELECT f.oid, pg_catalog.bool_or(f.named) AS named FROM family f GROUP BY f.oid) m
      JOIN pg_catalog.pg_class x ON x.oid = m.oid JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
      WHERE x.relkind IN ('r', 'p') AND x.relpersistence <> 't' AND pgdrover.ddl_of_users(n.nspname)
        AND (m.named OR pgdrover.ddl_touched(x.oid))) t
    ORDER BY 1, 2, 4
  LOOP
    made := pgdrover.ddl_message(r.kind, tag, r.fields, r.oid, room);
    out := out || made;
    room := room - greatest(pg_catalog.octet_length(made), @COMMAND_LIMIT@ / @COMMAND_IMAGES@);
  END LOOP;
  RETURN out;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
  RETURN out || pgdrover.ddl_failed(tag, code);
END $pgdrover$;

-- What rows in a partition of a table hold in columns that they are older than,
-- NULL if there is no partition. A partitioned table's own columns do not say it.
CREATE OR REPLACE FUNCTION pgdrover.ddl_leaf_missing(relation oid) RETURNS json LANGUAGE plpgsql STABLE AS $pgdrover$
BEGIN
  RETURN (@LEAF_MISSING@);
END $pgdrover$;

-- Tells whether the transaction has changed what the catalog says of a table:
-- what it wrote has its transaction ID, or that of a subtransaction, which is
-- later. Transactions that were begun later by others make it true as well.
CREATE OR REPLACE FUNCTION pgdrover.ddl_touched(relation oid) RETURNS boolean LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  own integer := pg_catalog.age(pg_catalog.pg_current_xact_id()::pg_catalog.xid);
BEGIN
  RETURN EXISTS (SELECT FROM pg_catalog.pg_class x WHERE x.oid = relation AND pg_catalog.age(x.xmin) <= own)
    OR EXISTS (SELECT FROM pg_catalog.pg_attribute x WHERE x.attrelid = relation AND pg_catalog.age(x.xmin) <= own)
    OR EXISTS (SELECT FROM pg_catalog.pg_attrdef x WHERE x.adrelid = relation AND pg_catalog.age(x.xmin) <= own)
    OR EXISTS (SELECT FROM pg_catalog.pg_constraint x WHERE x.conrelid = relation AND pg_catalog.age(x.xmin) <= own)
    OR EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = relation AND pg_catalog.age(x.xmin) <= own)
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits x WHERE x.inhrelid = relation AND pg_catalog.age(x.xmin) <= own);
END $pgdrover$;

-- What the command has dropped, at most 500 objects in a message, and the
-- tables that have lost something and are still there.
CREATE OR REPLACE FUNCTION pgdrover.ddl_drop_messages(tag text) RETURNS bytea[] LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  out bytea[] := '{}';
  room integer := @COMMAND_LIMIT@;
  made bytea;
  code text;
  r record;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() o
                 WHERE o.object_type IN (@DROPPED_TYPES@) AND NOT o.is_temporary AND coalesce(o.address_names[1], '') <> 'pg_temp') THEN
    RETURN out;
  END IF;
  FOR r IN
    WITH gone AS MATERIALIZED (
      SELECT o.classid, o.objid, o.objsubid, o.original, o.object_type, o.address_args, pg_catalog.row_number() OVER () AS number,
             CASE WHEN o.object_type IN ('type', 'domain') THEN ARRAY[o.schema_name, o.object_name] ELSE o.address_names END AS address_names
      FROM pg_catalog.pg_event_trigger_dropped_objects() o
      WHERE o.object_type IN (@DROPPED_TYPES@, 'materialized view') AND NOT o.is_temporary
        AND (o.object_type IN ('publication', 'publication namespace', 'schema') OR pgdrover.ddl_of_users(coalesce(o.schema_name, o.address_names[1])))
    ), lost AS MATERIALIZED (
      SELECT g.address_names AS names FROM gone g WHERE g.object_type IN ('table', 'materialized view', 'publication')
    ), told AS MATERIALIZED (
      -- Not what goes with the thing that it belongs to, which is told.
      SELECT g.*, pg_catalog.row_number() OVER (ORDER BY g.number) / 500 AS part FROM gone g
      WHERE g.object_type IN ('table', 'publication', 'schema')
         OR g.object_type IN ('table column', 'table constraint', 'default value')
            AND NOT EXISTS (SELECT FROM lost WHERE lost.names = g.address_names[1:2])
         OR g.object_type IN ('publication relation', 'publication namespace')
            AND NOT EXISTS (SELECT FROM lost WHERE lost.names = g.address_names[1:2] OR lost.names = g.address_args)
         OR g.object_type = 'index' AND (g.original OR NOT EXISTS (SELECT FROM lost))
         OR g.object_type IN ('type', 'domain') AND g.original
    )
    SELECT 1 AS step, 'dropped' AS kind, NULL::oid AS oid, pg_catalog.json_build_object('dropped', pg_catalog.json_agg(pg_catalog.json_build_object(
        'class', g.classid::int8, 'oid', g.objid::int8, 'column', nullif(g.objsubid, 0), 'type', g.object_type,
        'names', pg_catalog.to_json(g.address_names), 'args', CASE WHEN pg_catalog.cardinality(g.address_args) > 0 THEN pg_catalog.to_json(g.address_args) END)
        ORDER BY g.number)) AS fields
    FROM told g GROUP BY g.part
    UNION ALL
    SELECT 2, 'table', t.oid, t.fields FROM (
      SELECT x.oid, pg_catalog.json_build_object('oid', x.oid::int8, 'schema', n.nspname, 'name', x.relname, 'relkind', x.relkind) AS fields
      FROM (SELECT DISTINCT g.address_names[1] AS schema_name, g.address_names[2] AS table_name FROM told g
            WHERE g.object_type IN ('publication relation', 'table column', 'table constraint', 'default value')) g
      JOIN pg_catalog.pg_namespace n ON n.nspname = g.schema_name
      JOIN pg_catalog.pg_class x ON x.relnamespace = n.oid AND x.relname = g.table_name AND x.relkind IN ('r', 'p') AND x.relpersistence <> 't') t
    WHERE pgdrover.ddl_sees()
    UNION ALL
    SELECT 3, 'publication', p.oid, pg_catalog.json_build_object('oid', p.oid::int8, 'name', p.pubname)
    FROM pg_catalog.pg_publication p
    WHERE pgdrover.ddl_sees() AND p.pubname IN (SELECT g.address_args[1] FROM told g WHERE g.object_type IN ('publication relation', 'publication namespace'))
    ORDER BY 1, 3
  LOOP
    made := pgdrover.ddl_message(r.kind, tag, r.fields, r.oid, room);
    out := out || made;
    room := room - greatest(pg_catalog.octet_length(made), @COMMAND_LIMIT@ / @COMMAND_IMAGES@);
  END LOOP;
  IF NOT pgdrover.ddl_sees() THEN
    out := out || pgdrover.ddl_failed(tag, '25001');
  END IF;
  RETURN out;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
  RETURN out || pgdrover.ddl_failed(tag, code);
END $pgdrover$;

-- That a table is about to be rewritten.
CREATE OR REPLACE FUNCTION pgdrover.ddl_rewrite_messages(tag text, context text) RETURNS bytea[] LANGUAGE plpgsql STABLE AS $pgdrover$
DECLARE
  code text;
  fields json;
BEGIN
  SELECT pg_catalog.json_build_object('oid', x.oid::int8, 'schema', n.nspname, 'name', x.relname, 'relkind', x.relkind,
           'reason', pg_catalog.pg_event_trigger_table_rewrite_reason(), 'plain', nullif(pgdrover.ddl_plain(context), false))
  INTO fields
  FROM pg_catalog.pg_class x JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
  WHERE x.oid = pg_catalog.pg_event_trigger_table_rewrite_oid() AND x.relkind IN ('r', 'p') AND x.relpersistence <> 't' AND pgdrover.ddl_of_users(n.nspname);
  IF fields IS NULL AND NOT pgdrover.ddl_sees() THEN
    fields := pg_catalog.json_build_object('oid', pg_catalog.pg_event_trigger_table_rewrite_oid()::int8, 'reason', pg_catalog.pg_event_trigger_table_rewrite_reason());
  END IF;
  IF fields IS NULL THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY[pgdrover.ddl_message('rewrite', tag, fields, NULL, 0)];
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE;
  RETURN ARRAY[pgdrover.ddl_failed(tag, code)];
END $pgdrover$;

CREATE OR REPLACE FUNCTION pgdrover.ddl_end() RETURNS event_trigger LANGUAGE plpgsql @SETTINGS@ AS $pgdrover$
DECLARE
  context text;
  messages bytea[];
  allowed boolean;
  content bytea;
BEGIN
  BEGIN
    allowed := @ALLOWED@;
    GET DIAGNOSTICS context = PG_CONTEXT;
    messages := pgdrover.ddl_end_messages(TG_TAG, context);
  EXCEPTION WHEN OTHERS THEN
    messages := ARRAY[pg_catalog.convert_to('{"v":1,"kind":"unknown","tag":"' || TG_TAG || '","failure":{"code":"' || SQLSTATE || '"}}', 'UTF8')];
  END;
  FOREACH content IN ARRAY messages LOOP
    IF allowed THEN
      PERFORM pg_catalog.pg_logical_emit_message(true, '@PREFIX@', content);
    ELSE
      RAISE WARNING 'pgdrover cannot announce %: the owner of its event triggers may not call pg_logical_emit_message', TG_TAG;
      EXIT;
    END IF;
  END LOOP;
END $pgdrover$;

CREATE OR REPLACE FUNCTION pgdrover.ddl_drop() RETURNS event_trigger LANGUAGE plpgsql @SETTINGS@ AS $pgdrover$
DECLARE
  messages bytea[];
  allowed boolean;
  content bytea;
BEGIN
  BEGIN
    allowed := @ALLOWED@;
    messages := pgdrover.ddl_drop_messages(TG_TAG);
  EXCEPTION WHEN OTHERS THEN
    messages := ARRAY[pg_catalog.convert_to('{"v":1,"kind":"unknown","tag":"' || TG_TAG || '","failure":{"code":"' || SQLSTATE || '"}}', 'UTF8')];
  END;
  FOREACH content IN ARRAY messages LOOP
    IF allowed THEN
      PERFORM pg_catalog.pg_logical_emit_message(true, '@PREFIX@', content);
    ELSE
      RAISE WARNING 'pgdrover cannot announce %: the owner of its event triggers may not call pg_logical_emit_message', TG_TAG;
      EXIT;
    END IF;
  END LOOP;
END $pgdrover$;

CREATE OR REPLACE FUNCTION pgdrover.ddl_rewrite() RETURNS event_trigger LANGUAGE plpgsql @SETTINGS@ AS $pgdrover$
DECLARE
  context text;
  messages bytea[];
  allowed boolean;
  content bytea;
BEGIN
  BEGIN
    allowed := @ALLOWED@;
    GET DIAGNOSTICS context = PG_CONTEXT;
    messages := pgdrover.ddl_rewrite_messages(TG_TAG, context);
  EXCEPTION WHEN OTHERS THEN
    messages := ARRAY[pg_catalog.convert_to('{"v":1,"kind":"unknown","tag":"' || TG_TAG || '","failure":{"code":"' || SQLSTATE || '"}}', 'UTF8')];
  END;
  FOREACH content IN ARRAY messages LOOP
    IF allowed THEN
      PERFORM pg_catalog.pg_logical_emit_message(true, '@PREFIX@', content);
    ELSE
      RAISE WARNING 'pgdrover cannot announce %: the owner of its event triggers may not call pg_logical_emit_message', TG_TAG;
      EXIT;
    END IF;
  END LOOP;
END $pgdrover$;
