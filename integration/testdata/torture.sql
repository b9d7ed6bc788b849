-- A schema that holds every kind of object pg_dump knows, with the names, the
-- orders of creation and the dependency loops that break schema copies.
--
-- Needs: torture_roles.sql first; a superuser; an empty UTF8 database (locale
-- C.UTF-8); contrib; a server built with ICU. PostgreSQL 15 or newer.
-- Load: psql -X -v ON_ERROR_STOP=1 -f torture.sql, or in one simple-protocol
-- message: there are no psql commands and no COPY in it, and all statements may
-- share one transaction.
--
-- All values are constants or arithmetic, so two loads hold the same rows.
--
-- What plain pg_dump | pg_restore cannot carry over is left out, so that the
-- difference after a copy is expected to be empty:
--   * CHECK (varchar_column IN (...)): the restored expression is printed with
--     other casts than the source's;
--   * CREATE VIEW v (names) AS VALUES ...: printed with one space more or less;
--   * a table made on its own, with columns in another order than the parent's,
--     and later put under the parent with ALTER TABLE ... INHERIT;
--   * languages made with the functions of the extension plpgsql (see below);
--   * CYCLE ... SET x TO 'y' DEFAULT 'n' in a view: printed as 'y'::text, which does not parse;
--   * objects added to an extension with ALTER EXTENSION ... ADD;
--   * COMMENT ON EXTENSION ... IS NULL: the restored extension has its own comment;
--   * invalid indexes left behind by a failed CREATE INDEX CONCURRENTLY (the
--     invalid index of a partitioned table is dumped, and is here);
-- Between 15 and 17 the text of the dumps differs in two ways, both of them the
-- servers': since 16 views over one relation are printed without its name before
-- every column, and since 17 an owner of whom table privileges were revoked
-- still has MAINTAIN (torture.other_am, torture."MixedCase", and the default
-- privileges of torture_other_owner).
--
-- Security labels need a label provider, and no contrib module but sepgsql
-- brings one: none here. Tablespaces, roles, role and database settings and
-- parameter grants are the server's, not the database's.
--
-- DROP DATABASE refuses while the database holds subscriptions. They have no
-- slot, so this suffices before: DROP SUBSCRIPTION "torture Sub ""1""";
-- DROP SUBSCRIPTION torture_sub_owned;

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = off;
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SET search_path = pg_catalog;

-------------------------------------------------------------------------------
-- Schemas
-------------------------------------------------------------------------------

CREATE SCHEMA torture;
CREATE SCHEMA torture_ext;
CREATE SCHEMA torture_part;
CREATE SCHEMA torture_grants;
CREATE SCHEMA torture_empty AUTHORIZATION torture_other_owner;
CREATE SCHEMA "Weird ""Schema"" $1";
CREATE SCHEMA "schema; with\semicolon.and.dots";
CREATE SCHEMA "select";
COMMENT ON SCHEMA torture IS 'most of the objects; it''s "quoted", has a \backslash, a
new line, $1, $$ and ünïcødé';
COMMENT ON SCHEMA "Weird ""Schema"" $1" IS '';
COMMENT ON SCHEMA "Weird ""Schema"" $1" IS 'the comment -- of a weird schema; DROP TABLE x;';
COMMENT ON SCHEMA public IS 'public, with another comment than the one initdb gave';

-------------------------------------------------------------------------------
-- Extensions (contrib only)
-------------------------------------------------------------------------------

CREATE EXTENSION hstore WITH SCHEMA torture_ext;
CREATE EXTENSION citext WITH SCHEMA torture_ext;
CREATE EXTENSION pg_trgm WITH SCHEMA torture_ext;
CREATE EXTENSION btree_gist WITH SCHEMA public;
CREATE EXTENSION ltree WITH SCHEMA "Weird ""Schema"" $1";
CREATE EXTENSION postgres_fdw WITH SCHEMA public;
CREATE EXTENSION file_fdw WITH SCHEMA public;
CREATE EXTENSION pgcrypto WITH SCHEMA torture_ext;
COMMENT ON EXTENSION hstore IS 'a comment of our own on hstore';

-- Privileges of an extension's members differ from what its script gives.
REVOKE EXECUTE ON FUNCTION torture_ext.gen_salt(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION torture_ext.gen_salt(text) TO torture_app;
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO torture_app WITH GRANT OPTION;

-------------------------------------------------------------------------------
-- Procedural language, access methods, collations, conversions
-------------------------------------------------------------------------------

-- pg_dump writes a language in full only when its functions are in the dump: with
-- the functions of the extension plpgsql it could not be restored.
CREATE FUNCTION torture.plweird_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION torture.plweird_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION torture.plweird_validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE plweird
  HANDLER torture.plweird_handler INLINE torture.plweird_inline VALIDATOR torture.plweird_validator;
COMMENT ON LANGUAGE plweird IS 'plpgsql under another name';
CREATE TRUSTED LANGUAGE "PL ""weird"" 2" HANDLER torture.plweird_handler;

CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD "Heap ""3""" TYPE TABLE HANDLER heap_tableam_handler;
-- No index of btree2: the server takes a B-tree for its own access method only.
CREATE ACCESS METHOD btree2 TYPE INDEX HANDLER bthandler;
CREATE ACCESS METHOD gist2 TYPE INDEX HANDLER gisthandler;
COMMENT ON ACCESS METHOD heap2 IS 'heap under another name';

CREATE COLLATION torture.nondeterministic (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION torture.german_phonebook (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION torture."Posix ""C""" (provider = libc, locale = 'C');
CREATE COLLATION torture.two_locales (provider = libc, lc_collate = 'C', lc_ctype = 'POSIX');
CREATE COLLATION "Weird ""Schema"" $1".copied FROM pg_catalog."POSIX";
COMMENT ON COLLATION torture.nondeterministic IS 'case does not count';

CREATE CONVERSION torture.latin1_out FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE DEFAULT CONVERSION torture."Conv ""default""" FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
COMMENT ON CONVERSION torture.latin1_out IS 'a conversion';

-------------------------------------------------------------------------------
-- Types: enum, composite, base, range, shell
-------------------------------------------------------------------------------

CREATE TYPE torture.mood AS ENUM ('sad', 'it''s "so", so\so', 'happy');
-- Values added later are not used below: in the transaction that adds them they cannot be.
ALTER TYPE torture.mood ADD VALUE 'ünïcødé 漢字' AFTER 'sad';
ALTER TYPE torture.mood ADD VALUE 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' BEFORE 'sad';
ALTER TYPE torture.mood RENAME VALUE 'happy' TO 'HAPPY; $1';
CREATE TYPE torture.empty_enum AS ENUM ();
CREATE TYPE "Weird ""Schema"" $1"."Enum ""type""" AS ENUM ('a', 'A', ' a ', '');
COMMENT ON TYPE torture.mood IS 'values were added out of order';

CREATE TYPE torture.address AS (street text COLLATE "C", dropped int, zip varchar(10), "Land ""x""" char(2));
ALTER TYPE torture.address DROP ATTRIBUTE dropped;
ALTER TYPE torture.address ADD ATTRIBUTE moods torture.mood[];
CREATE TYPE torture.nested AS (a torture.address, b torture.address[], "order" int4range);
CREATE TYPE torture.no_attributes AS ();
CREATE TYPE torture.person AS (id int, name text, "Born on" date);
COMMENT ON TYPE torture.address IS 'a composite type';
COMMENT ON COLUMN torture.address.zip IS 'a comment on an attribute';

-- A type that stays a shell.
CREATE TYPE torture.shell_only;

-- Base types: input and output functions of core, under their own names.
CREATE TYPE torture.tint;
CREATE FUNCTION torture.tint_in(cstring) RETURNS torture.tint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4in';
CREATE FUNCTION torture.tint_out(torture.tint) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4out';
CREATE FUNCTION torture.tint_recv(internal) RETURNS torture.tint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4recv';
CREATE FUNCTION torture.tint_send(torture.tint) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4send';
CREATE TYPE torture.tint (
  INPUT = torture.tint_in, OUTPUT = torture.tint_out, RECEIVE = torture.tint_recv, SEND = torture.tint_send,
  LIKE = pg_catalog.int4, CATEGORY = 'U', DEFAULT = '42', DELIMITER = ';');
COMMENT ON TYPE torture.tint IS 'a base type';

CREATE TYPE torture."Text ""n""";
CREATE FUNCTION torture.textn_in(cstring, oid, integer) RETURNS torture."Text ""n""" LANGUAGE internal IMMUTABLE STRICT AS 'varcharin';
CREATE FUNCTION torture.textn_out(torture."Text ""n""") RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'varcharout';
CREATE TYPE torture."Text ""n""" (
  INPUT = torture.textn_in, OUTPUT = torture.textn_out, INTERNALLENGTH = VARIABLE, ALIGNMENT = int4,
  STORAGE = external, TYPMOD_IN = varchartypmodin, TYPMOD_OUT = varchartypmodout, COLLATABLE = true);

CREATE TYPE torture.tpair;
CREATE FUNCTION torture.tpair_in(cstring) RETURNS torture.tpair LANGUAGE internal IMMUTABLE STRICT AS 'point_in';
CREATE FUNCTION torture.tpair_out(torture.tpair) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'point_out';
CREATE TYPE torture.tpair (INPUT = torture.tpair_in, OUTPUT = torture.tpair_out, LIKE = pg_catalog.point,
  ELEMENT = float8, SUBSCRIPT = raw_array_subscript_handler);

CREATE TYPE torture.float8_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi, MULTIRANGE_TYPE_NAME = torture."Float8 ""multi""");
CREATE TYPE torture.text_range AS RANGE (SUBTYPE = text, SUBTYPE_OPCLASS = text_pattern_ops, COLLATION = "C");
CREATE TYPE torture.discrete_range;
CREATE FUNCTION torture.discrete_range_canonical(torture.discrete_range) RETURNS torture.discrete_range
  LANGUAGE internal IMMUTABLE STRICT AS 'int4range_canonical';
CREATE TYPE torture.discrete_range AS RANGE (SUBTYPE = int4, CANONICAL = torture.discrete_range_canonical, SUBTYPE_DIFF = int4range_subdiff);
COMMENT ON TYPE torture.float8_range IS 'a range type';

-------------------------------------------------------------------------------
-- Domains
-------------------------------------------------------------------------------

CREATE DOMAIN torture.positive AS integer CONSTRAINT "must be > 0; really" CHECK (VALUE > 0);
CREATE DOMAIN torture.small_positive AS torture.positive DEFAULT 5 CONSTRAINT below_1000 CHECK (VALUE < 1000) CHECK (VALUE <> 13);
CREATE DOMAIN torture.required_small AS torture.small_positive NOT NULL;
CREATE DOMAIN torture.ci_text AS text COLLATE torture.nondeterministic DEFAULT 'it''s';
CREATE DOMAIN torture.email AS torture_ext.citext CHECK (VALUE OPERATOR(torture_ext.~) '^[^@\s]+@[^@\s]+$'::torture_ext.citext);
CREATE DOMAIN torture.int_list AS integer[] CHECK (array_position(VALUE, NULL) IS NULL);
CREATE DOMAIN torture.checked_address AS torture.address CHECK ((VALUE).zip IS NULL OR length((VALUE).zip::text) > 2);
CREATE DOMAIN torture.future AS tstzrange CHECK (lower(VALUE) > '2001-02-03 04:05:06+00'::timestamptz);
CREATE DOMAIN "Weird ""Schema"" $1"."Domain ""$$""" AS "Weird ""Schema"" $1"."Enum ""type""" CHECK (VALUE <> '');
COMMENT ON DOMAIN torture.positive IS 'a domain';
COMMENT ON CONSTRAINT "must be > 0; really" ON DOMAIN torture.positive IS 'a domain constraint''s comment';

-- The domain's check needs a function. (One that takes an array of the domain
-- would make a loop; newer minor releases refuse to alter such a domain.)
CREATE DOMAIN torture.loop_domain AS text;
CREATE FUNCTION torture.loop_domain_ok(v text) RETURNS boolean
  LANGUAGE sql IMMUTABLE AS 'SELECT v <> ''forbidden''';
ALTER DOMAIN torture.loop_domain ADD CONSTRAINT loop_domain_check CHECK (torture.loop_domain_ok(VALUE));

-------------------------------------------------------------------------------
-- Operators, operator families and classes, casts, transforms
-------------------------------------------------------------------------------

CREATE FUNCTION torture.tint_lt(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4lt';
CREATE FUNCTION torture.tint_le(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4le';
CREATE FUNCTION torture.tint_eq(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4eq';
CREATE FUNCTION torture.tint_ne(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4ne';
CREATE FUNCTION torture.tint_ge(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4ge';
CREATE FUNCTION torture.tint_gt(torture.tint, torture.tint) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'int4gt';
CREATE FUNCTION torture.tint_cmp(torture.tint, torture.tint) RETURNS integer LANGUAGE internal IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'btint4cmp';
CREATE FUNCTION torture.tint_hash(torture.tint) RETURNS integer LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashint4';
CREATE FUNCTION torture.tint_hash_extended(torture.tint, bigint) RETURNS bigint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'hashint4extended';
CREATE FUNCTION torture.tint_smaller(torture.tint, torture.tint) RETURNS torture.tint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4smaller';
CREATE FUNCTION torture.tint_lt_int4(torture.tint, integer) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4lt';
CREATE FUNCTION torture.tint_eq_int4(torture.tint, integer) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4eq';
CREATE FUNCTION torture.tint_cmp_int4(torture.tint, integer) RETURNS integer LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'btint4cmp';
CREATE FUNCTION torture.tint_minus(torture.tint) RETURNS torture.tint LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int4um';

CREATE OPERATOR torture.< (FUNCTION = torture.tint_lt, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.>), NEGATOR = OPERATOR(torture.>=), RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR torture.<= (FUNCTION = torture.tint_le, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.>=), NEGATOR = OPERATOR(torture.>), RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR torture.= (FUNCTION = torture.tint_eq, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.=), NEGATOR = OPERATOR(torture.<>), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR torture.<> (FUNCTION = torture.tint_ne, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.<>), NEGATOR = OPERATOR(torture.=), RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR torture.>= (FUNCTION = torture.tint_ge, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.<=), NEGATOR = OPERATOR(torture.<), RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR torture.> (FUNCTION = torture.tint_gt, LEFTARG = torture.tint, RIGHTARG = torture.tint,
  COMMUTATOR = OPERATOR(torture.<), NEGATOR = OPERATOR(torture.<=), RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR torture.< (FUNCTION = torture.tint_lt_int4, LEFTARG = torture.tint, RIGHTARG = integer);
CREATE OPERATOR torture.= (FUNCTION = torture.tint_eq_int4, LEFTARG = torture.tint, RIGHTARG = integer);
CREATE OPERATOR torture.- (FUNCTION = torture.tint_minus, RIGHTARG = torture.tint);
CREATE OPERATOR "Weird ""Schema"" $1".@#@ (FUNCTION = pg_catalog.int8pl, LEFTARG = bigint, RIGHTARG = bigint,
  COMMUTATOR = OPERATOR("Weird ""Schema"" $1".@#@));
COMMENT ON OPERATOR torture.< (torture.tint, torture.tint) IS 'less than';
COMMENT ON OPERATOR torture.- (NONE, torture.tint) IS 'a prefix operator';

CREATE OPERATOR FAMILY torture.tint_family USING btree;
CREATE OPERATOR FAMILY torture."Empty ""family""" USING gin;
COMMENT ON OPERATOR FAMILY torture.tint_family USING btree IS 'an operator family';
CREATE OPERATOR CLASS torture.tint_ops DEFAULT FOR TYPE torture.tint USING btree FAMILY torture.tint_family AS
  OPERATOR 1 torture.<, OPERATOR 2 torture.<=, OPERATOR 3 torture.=, OPERATOR 4 torture.>=, OPERATOR 5 torture.>,
  FUNCTION 1 torture.tint_cmp(torture.tint, torture.tint),
  FUNCTION 2 (torture.tint, torture.tint) btint4sortsupport(internal),
  FUNCTION 4 (torture.tint, torture.tint) btequalimage(oid);
CREATE OPERATOR CLASS torture.tint_hash_ops DEFAULT FOR TYPE torture.tint USING hash AS
  OPERATOR 1 torture.=,
  FUNCTION 1 torture.tint_hash(torture.tint),
  FUNCTION 2 torture.tint_hash_extended(torture.tint, bigint);
CREATE FUNCTION torture.int4_backwards_cmp(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  AS 'SELECT pg_catalog.btint4cmp($2, $1)';
CREATE OPERATOR CLASS torture."Backwards ""int4""" FOR TYPE integer USING btree AS
  OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <,
  FUNCTION 1 torture.int4_backwards_cmp(integer, integer);
CREATE OPERATOR CLASS torture.box2_ops DEFAULT FOR TYPE box USING gist2 AS
  OPERATOR 1 <<, OPERATOR 2 &<, OPERATOR 3 &&, OPERATOR 4 &>, OPERATOR 5 >>, OPERATOR 6 ~=, OPERATOR 7 @>, OPERATOR 8 <@,
  OPERATOR 15 <-> (box, point) FOR ORDER BY pg_catalog.float_ops,
  FUNCTION 1 gist_box_consistent(internal, box, smallint, oid, internal),
  FUNCTION 2 gist_box_union(internal, internal),
  FUNCTION 5 gist_box_penalty(internal, internal, internal),
  FUNCTION 6 gist_box_picksplit(internal, internal),
  FUNCTION 7 gist_box_same(box, box, internal),
  FUNCTION 8 gist_box_distance(internal, box, smallint, oid, internal);
CREATE OPERATOR CLASS torture.int4_ops2 DEFAULT FOR TYPE integer USING btree2 AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
  FUNCTION 1 btint4cmp(integer, integer);
ALTER OPERATOR FAMILY torture.tint_family USING btree ADD
  OPERATOR 1 torture.< (torture.tint, integer),
  OPERATOR 3 torture.= (torture.tint, integer),
  FUNCTION 1 (torture.tint, integer) torture.tint_cmp_int4(torture.tint, integer);
COMMENT ON OPERATOR CLASS torture.tint_ops USING btree IS 'an operator class';
COMMENT ON OPERATOR CLASS torture."Backwards ""int4""" USING btree IS 'sorts backwards; it''s for DESC lovers';

CREATE CAST (torture.tint AS integer) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (integer AS torture.tint) WITHOUT FUNCTION;
CREATE CAST (torture.tint AS text) WITH INOUT;
CREATE FUNCTION torture.mood_to_int(torture.mood) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
  AS $$SELECT pg_catalog.length($1::pg_catalog.text)$$;
CREATE CAST (torture.mood AS integer) WITH FUNCTION torture.mood_to_int(torture.mood) AS ASSIGNMENT;
CREATE CAST (torture.float8_range AS text) WITH INOUT AS ASSIGNMENT;
CREATE FUNCTION torture.address_from_text(text, integer, boolean) RETURNS torture.address LANGUAGE sql IMMUTABLE STRICT
  AS $$SELECT ROW($1, NULL, NULL, NULL)::torture.address$$;
CREATE CAST (text AS torture.address) WITH FUNCTION torture.address_from_text(text, integer, boolean);
COMMENT ON CAST (torture.tint AS integer) IS 'a cast that needs no function';
COMMENT ON CAST (torture.mood AS integer) IS 'a cast with a function';

CREATE TRANSFORM FOR integer LANGUAGE plweird
  (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE TRANSFORM FOR torture.tint LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal));
COMMENT ON TRANSFORM FOR integer LANGUAGE plweird IS 'a transform';

-------------------------------------------------------------------------------
-- Functions that need no table
-------------------------------------------------------------------------------

-- Bodies with semicolons and every dollar quote that a dump would try first.
CREATE FUNCTION torture.quoting(a text DEFAULT 'it''s; $1', b text[] DEFAULT ARRAY['x', NULL, 'y"z'], c int DEFAULT -1)
  RETURNS text LANGUAGE plpgsql STABLE AS $outer$
DECLARE
  s text := $$nested; $1 'quotes' \ and "names"$$;
BEGIN
  -- $_$ and $_X$ and $function$ are here so that none of them can delimit the body
  EXECUTE $_$SELECT 'a;b'$_$ INTO s;
  RETURN s || $_X$;$_X$ || coalesce(a, E'\\ \n');
END;
$outer$;
CREATE FUNCTION "Weird ""Schema"" $1"."fn; $1 ""quoted"" \ 'x'"("Arg ""1""" integer, "select" text DEFAULT NULL)
  RETURNS TABLE ("Out ""1""" integer, "order" text) LANGUAGE sql AS 'SELECT $1, $2';
CREATE FUNCTION torture."fn; $1 63 bytes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION torture.overloaded() RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION torture.overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION torture.overloaded(bigint) RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION torture.overloaded("Weird ""Schema"" $1"."Enum ""type""") RETURNS int LANGUAGE sql AS 'SELECT 3';
CREATE FUNCTION torture.overloaded(VARIADIC torture.mood[]) RETURNS int LANGUAGE sql AS 'SELECT 4';
CREATE FUNCTION torture.out_params(IN a int, OUT b int, INOUT c text, VARIADIC d int[] DEFAULT '{}') LANGUAGE sql AS 'SELECT a + 1, c';
CREATE FUNCTION torture.set_of() RETURNS SETOF torture.nested LANGUAGE sql ROWS 7 COST 123.5 AS 'SELECT NULL, NULL, NULL';
CREATE FUNCTION torture.record_out() RETURNS SETOF record LANGUAGE sql AS 'SELECT 1, 2';
CREATE FUNCTION torture.polymorphic(anycompatible, anycompatiblearray) RETURNS anycompatible LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION torture.any_range(anyrange, anymultirange) RETURNS anyelement LANGUAGE sql AS 'SELECT lower($1)';
CREATE FUNCTION torture.strict_leakproof(int) RETURNS int LANGUAGE internal STRICT IMMUTABLE LEAKPROOF PARALLEL SAFE COST 3 AS 'int4um';
CREATE FUNCTION torture.supported(int, int) RETURNS SETOF int LANGUAGE internal STRICT IMMUTABLE ROWS 10 SUPPORT generate_series_int4_support AS 'generate_series_int4';
CREATE FUNCTION torture.definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER PARALLEL RESTRICTED
  SET search_path = torture, "Weird ""Schema"" $1", pg_temp SET "torture.setting" = 'a, b; ''c'' \' SET work_mem = '8MB' SET datestyle FROM CURRENT
  AS 'BEGIN RETURN current_setting(''search_path''); END';
CREATE FUNCTION torture.window_fn() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FUNCTION torture.weird_lang(a integer) RETURNS integer TRANSFORM FOR TYPE integer LANGUAGE plweird AS 'BEGIN RETURN a * 2; END';
CREATE FUNCTION torture.return_expression(a int, b int DEFAULT 1 + length('$$; $1')) RETURNS int IMMUTABLE RETURN a + b;
CREATE FUNCTION torture.atomic_no_tables(a text) RETURNS text LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
  SELECT upper(a);
  SELECT lower(a) || ';' || $q$it's$q$;
END;
-- Bodies that name what does not exist yet, and what never will.
CREATE FUNCTION torture.uses_later() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM torture.events';
CREATE FUNCTION torture.uses_never() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM torture.no_such_table';
CREATE FUNCTION torture.does_not_parse() RETURNS void LANGUAGE sql AS 'SELEKT FORM;';
CREATE FUNCTION torture.plpgsql_never() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM no_such_schema.f(); END';
CREATE FUNCTION torture.needs_hstore(torture_ext.hstore) RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION torture.needs_hstore(torture_ext.hstore) DEPENDS ON EXTENSION hstore;
CREATE PROCEDURE torture.proc(IN a int, INOUT b int DEFAULT 2, VARIADIC c text[] DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
  b := a;
  COMMIT;
END $$;
CREATE PROCEDURE torture.proc_out(IN a int, OUT b int) LANGUAGE sql SECURITY DEFINER SET search_path = '' AS 'SELECT a';
CREATE PROCEDURE torture.proc_atomic(a int) LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT a + 1; END;
COMMENT ON FUNCTION torture.quoting(text, text[], int) IS 'a function''s comment';
COMMENT ON PROCEDURE torture.proc_out(int) IS 'a procedure';

CREATE FUNCTION torture.agg_step(text, int4, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 || $2 || $3$$;
CREATE AGGREGATE torture.moving_sum(int4) (SFUNC = int4pl, STYPE = int4, INITCOND = '0', COMBINEFUNC = int4pl,
  MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = int4, MINITCOND = '0', PARALLEL = safe);
CREATE AGGREGATE torture.tint_min(torture.tint) (SFUNC = torture.tint_smaller, STYPE = torture.tint, SORTOP = OPERATOR(torture.<));
CREATE AGGREGATE torture.count_all(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE AGGREGATE torture.percentile(float8 ORDER BY anyelement) (
  SFUNC = ordered_set_transition, STYPE = internal, SSPACE = 1000, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA, FINALFUNC_MODIFY = shareable);
CREATE AGGREGATE torture.hypothetical_rank(VARIADIC "any" ORDER BY VARIADIC "any") (
  SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
CREATE AGGREGATE torture.serial_avg(numeric) (SFUNC = numeric_avg_accum, STYPE = internal, SSPACE = 128, FINALFUNC = numeric_avg,
  COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize, PARALLEL = safe);
CREATE AGGREGATE "Weird ""Schema"" $1"."Agg ""$1"""(int4, text) (SFUNC = torture.agg_step, STYPE = text, INITCOND = 'a;''b"\');
COMMENT ON AGGREGATE torture.moving_sum(int4) IS 'an aggregate';
COMMENT ON AGGREGATE torture.percentile(float8 ORDER BY anyelement) IS 'an ordered-set aggregate';

-------------------------------------------------------------------------------
-- Text search
-------------------------------------------------------------------------------

CREATE TEXT SEARCH PARSER torture."Parser ""1""" (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE torture.template (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH TEMPLATE torture.template_no_init (LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY torture.dictionary (TEMPLATE = torture.template, STOPWORDS = english, ACCEPT = false);
CREATE TEXT SEARCH DICTIONARY torture."Dict ""2""" (TEMPLATE = pg_catalog.snowball, LANGUAGE = german);
CREATE TEXT SEARCH CONFIGURATION torture.config (PARSER = torture."Parser ""1""");
ALTER TEXT SEARCH CONFIGURATION torture.config ADD MAPPING FOR asciiword, word, hword WITH torture.dictionary, torture."Dict ""2""", simple;
CREATE TEXT SEARCH CONFIGURATION "Weird ""Schema"" $1"."Conf ""2""" (COPY = pg_catalog.english);
ALTER TEXT SEARCH CONFIGURATION "Weird ""Schema"" $1"."Conf ""2""" ALTER MAPPING REPLACE english_stem WITH torture."Dict ""2""";
COMMENT ON TEXT SEARCH PARSER torture."Parser ""1""" IS 'a parser';
COMMENT ON TEXT SEARCH TEMPLATE torture.template IS 'a template';
COMMENT ON TEXT SEARCH DICTIONARY torture.dictionary IS 'a dictionary';
COMMENT ON TEXT SEARCH CONFIGURATION torture.config IS 'a configuration';

-------------------------------------------------------------------------------
-- Foreign data. Nothing here connects anywhere: a program that prints nothing,
-- and servers nobody asks.
-------------------------------------------------------------------------------

CREATE FOREIGN DATA WRAPPER torture_fdw VALIDATOR postgresql_fdw_validator;
CREATE FOREIGN DATA WRAPPER "FDW ""2""" HANDLER public.file_fdw_handler NO VALIDATOR OPTIONS (debug 'it''s; "x"', "Opt ""2""" '\');
COMMENT ON FOREIGN DATA WRAPPER torture_fdw IS 'a wrapper';
CREATE SERVER torture_server TYPE 'post''gres' VERSION '1.0;x' FOREIGN DATA WRAPPER postgres_fdw
  OPTIONS (host 'foreign.invalid', port '5432', dbname 'a ''b'' "c"', extensions 'hstore', fetch_size '77');
CREATE SERVER torture_files FOREIGN DATA WRAPPER file_fdw;
CREATE SERVER "Server ""3"" $1" FOREIGN DATA WRAPPER torture_fdw OPTIONS (host 'it''s; "x"');
COMMENT ON SERVER torture_server IS 'a server';
CREATE USER MAPPING FOR PUBLIC SERVER torture_server OPTIONS (user 'everyone', password 'torture-secret-password');
CREATE USER MAPPING FOR torture_app SERVER torture_server OPTIONS (user 'it''s me', password 'torture-secret-password; it''s "quoted" \');
CREATE USER MAPPING FOR "Weird ""Role"" $1" SERVER "Server ""3"" $1" OPTIONS (user 'x', password 'torture-secret-password');
CREATE USER MAPPING FOR torture_owner SERVER torture_files;

CREATE FOREIGN TABLE torture.foreign_pg (
  id integer OPTIONS (column_name 'Id; "x"') NOT NULL,
  price numeric(10,2) DEFAULT 1.5,
  name text OPTIONS (column_name 'it''s') COLLATE "C",
  gone int,
  twice numeric GENERATED ALWAYS AS (price * 2) STORED,
  CONSTRAINT positive_price CHECK (price > 0)
) SERVER torture_server OPTIONS (schema_name 'other', table_name 'Table "x"', use_remote_estimate 'true', updatable 'false');
ALTER FOREIGN TABLE torture.foreign_pg DROP COLUMN gone;
ALTER FOREIGN TABLE torture.foreign_pg ALTER COLUMN name SET STATISTICS 300;
CREATE FOREIGN TABLE "Weird ""Schema"" $1"."foreign ""file""" ("a;b" text, "order" int) SERVER torture_files OPTIONS (program 'true', format 'csv', delimiter ';', "null" '\N');
COMMENT ON FOREIGN TABLE torture.foreign_pg IS 'a foreign table';
COMMENT ON COLUMN torture.foreign_pg.name IS 'a foreign column';

-------------------------------------------------------------------------------
-- Sequences
-------------------------------------------------------------------------------

CREATE SEQUENCE torture.seq_plain;
CREATE SEQUENCE torture.seq_down AS bigint INCREMENT BY -5 MINVALUE -1000 MAXVALUE 500 START 400 CACHE 20 CYCLE;
CREATE SEQUENCE torture.seq_small AS smallint START 30000 MINVALUE 100;
CREATE SEQUENCE torture.seq_int AS integer INCREMENT BY 7 CACHE 3;
CREATE SEQUENCE torture.seq_limits AS bigint MINVALUE -9223372036854775808 MAXVALUE 9223372036854775807 START 0 INCREMENT 9223372036854775807;
CREATE UNLOGGED SEQUENCE torture.seq_unlogged START 9;
CREATE SEQUENCE torture.seq_called START 5;
CREATE SEQUENCE torture.seq_not_called START 5;
CREATE SEQUENCE torture.seq_restarted START 10;
CREATE SEQUENCE torture.seq_exhausted AS smallint;
CREATE SEQUENCE torture.seq_below_min MINVALUE -10 START -10;
CREATE SEQUENCE torture.seq_shared;
CREATE SEQUENCE "Weird ""Schema"" $1"."Seq; ""1"" \ $1" START 77;
COMMENT ON SEQUENCE torture.seq_plain IS 'a sequence';
SELECT setval('torture.seq_called', 1234567, true);
SELECT setval('torture.seq_not_called', 99, false);
ALTER SEQUENCE torture.seq_restarted RESTART WITH 500;
SELECT setval('torture.seq_exhausted', 32767, true);
SELECT nextval('torture.seq_down') FROM generate_series(1, 3);
SELECT nextval('"Weird ""Schema"" $1"."Seq; ""1"" \ $1"');

-------------------------------------------------------------------------------
-- Tables
-------------------------------------------------------------------------------

CREATE TABLE torture.no_columns ();
CREATE TABLE torture.all_columns_dropped (a int, b text);
ALTER TABLE torture.all_columns_dropped DROP COLUMN a, DROP COLUMN b;

CREATE TABLE "select"."select" ("order" int PRIMARY KEY, "from" text DEFAULT 'where', "Group By" text[]);
COMMENT ON TABLE "select"."select" IS 'keywords as names';
COMMENT ON COLUMN "select"."select"."order" IS 'a keyword; it''s quoted';

CREATE TABLE "Weird ""Schema"" $1"."Table; ""1"" \ $1" (
  "Id ""x"" $1" bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME "Weird ""Schema"" $1"."Identity ""seq""" START 100 INCREMENT 10 CACHE 5) PRIMARY KEY,
  "semi;colon" text NOT NULL DEFAULT 'it''s; \ $1 $$',
  "back\slash" int DEFAULT nextval('"Weird ""Schema"" $1"."Seq; ""1"" \ $1"'),
  "ünïcødé 漢字" text COLLATE torture.german_phonebook,
  "select" "Weird ""Schema"" $1"."Domain ""$$""",
  " leading and trailing " torture.mood DEFAULT 'it''s "so", so\so',
  "63 bytes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" text,
  "ltree.path" "Weird ""Schema"" $1".ltree,
  "%I" text, ":name" text, "{braces}" text, "line
break" text,
  CONSTRAINT "Check; ""1"" $1" CHECK ("semi;colon" <> 'x;"y"'),
  CONSTRAINT "Unique; ""1"" \" UNIQUE ("semi;colon", "select")
);
COMMENT ON TABLE "Weird ""Schema"" $1"."Table; ""1"" \ $1" IS 'a weird table';
COMMENT ON COLUMN "Weird ""Schema"" $1"."Table; ""1"" \ $1"."semi;colon" IS 'a weird column';
COMMENT ON CONSTRAINT "Check; ""1"" $1" ON "Weird ""Schema"" $1"."Table; ""1"" \ $1" IS 'a weird constraint';
CREATE TABLE torture."63 bytes table xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" (
  id int PRIMARY KEY, "63 bytes column xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" serial UNIQUE);
CREATE TABLE "schema; with\semicolon.and.dots"."table.with.dots" (id int PRIMARY KEY, "a.b" text);
CREATE TABLE torture."MixedCase" ("Id" serial PRIMARY KEY, "camelCase" text);
CREATE TABLE torture.mixedcase (id int PRIMARY KEY REFERENCES torture."MixedCase");

-- The big one: columns of every sort, dropped columns between, storage settings.
CREATE TABLE torture.events (
  dropped_1 int,
  id bigint GENERATED BY DEFAULT AS IDENTITY,
  kind text NOT NULL,
  dropped_2 text DEFAULT 'x',
  at timestamptz NOT NULL,
  amount numeric(12,4) DEFAULT 0.5 CHECK (amount > -1000000),
  net numeric GENERATED ALWAYS AS (round(amount * 0.81, 2)) STORED,
  body text,
  tags text[] DEFAULT '{a,"b;c"}',
  data jsonb DEFAULT '{"it''s": "$1"}',
  place point,
  area box,
  span int4range,
  path "Weird ""Schema"" $1".ltree,
  attributes torture_ext.hstore,
  email torture.email,
  small torture.small_positive,
  feeling torture.mood,
  home torture.address,
  base torture.tint DEFAULT '7',
  pair torture.tpair,
  label torture."Text ""n"""(20),
  ranges torture."Float8 ""multi""",
  doc tsvector,
  uid uuid,
  ip inet,
  bits bit varying(9),
  money_of_no_locale money,
  xml_doc xml,
  during interval day to second(3)
);
ALTER TABLE torture.events DROP COLUMN dropped_1, DROP COLUMN dropped_2;
ALTER TABLE torture.events ADD COLUMN added_later char(3) NOT NULL DEFAULT 'abc';
ALTER TABLE torture.events ADD CONSTRAINT events_pkey PRIMARY KEY (id) WITH (fillfactor = 90);
ALTER TABLE torture.events SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_enabled = false,
  toast.autovacuum_enabled = false, toast_tuple_target = 4096, parallel_workers = 1, user_catalog_table = true);
ALTER TABLE torture.events ALTER COLUMN kind SET STATISTICS 500;
ALTER TABLE torture.events ALTER COLUMN ip SET STATISTICS 0;
ALTER TABLE torture.events ALTER COLUMN kind SET (n_distinct = -0.25, n_distinct_inherited = 100);
ALTER TABLE torture.events ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE torture.events ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE torture.events ALTER COLUMN tags SET COMPRESSION pglz;
COMMENT ON TABLE torture.events IS 'a table';
COMMENT ON COLUMN torture.events.at IS 'a column';

CREATE UNLOGGED TABLE torture.unlogged (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE torture.other_am (id int PRIMARY KEY, v text) USING heap2;
CREATE TABLE torture.other_am_3 (id int, b box) USING "Heap ""3""";
CREATE TABLE torture.typed OF torture.person (PRIMARY KEY (id), name WITH OPTIONS NOT NULL DEFAULT 'nobody', CHECK (id > 0));
CREATE TABLE torture.serials (
  id serial PRIMARY KEY, small smallserial, big bigserial,
  shared int DEFAULT nextval('torture.seq_shared'), shared_too bigint DEFAULT nextval('torture.seq_shared'::regclass));
ALTER SEQUENCE torture.serials_big_seq RENAME TO "Renamed ""serial""";
ALTER SEQUENCE torture.serials_small_seq AS smallint INCREMENT 2 MAXVALUE 1000 CYCLE;
-- Owned by a column whose default is another sequence; and a serial owned by nobody.
CREATE TABLE torture.sequence_owner (id int PRIMARY KEY DEFAULT nextval('torture.seq_int'), other int);
ALTER SEQUENCE torture.seq_plain OWNED BY torture.sequence_owner.other;
ALTER SEQUENCE torture.serials_id_seq OWNED BY NONE;
CREATE TABLE torture.identities (
  always_id smallint GENERATED ALWAYS AS IDENTITY (START WITH -5 INCREMENT BY -1 MINVALUE -30000 MAXVALUE -1 CYCLE) PRIMARY KEY,
  by_default bigint GENERATED BY DEFAULT AS IDENTITY (MINVALUE 10 START 11 CACHE 30 NO CYCLE) UNIQUE,
  "Id; ""3""" int GENERATED ALWAYS AS IDENTITY);
ALTER TABLE torture.identities ALTER COLUMN "Id; ""3""" RESTART WITH 4000;
CREATE TABLE torture.functions_in_table (
  id int PRIMARY KEY DEFAULT torture.return_expression(1),
  low text GENERATED ALWAYS AS (torture.atomic_no_tables(up)) STORED,
  up text DEFAULT 'X' CHECK (torture.return_expression(length(up)) > 0),
  t timestamptz DEFAULT '2020-02-02 02:02:02+00'::timestamptz,
  i interval DEFAULT '1 mon -2 days +03:04:05.6', b bytea DEFAULT '\xdeadbeef'::bytea, f float8 DEFAULT 'NaN', arr int[][] DEFAULT '{{1,2},{3,4}}');

-- The table's default and check need a function, and its argument the table.
CREATE TABLE torture.loop_table (id int PRIMARY KEY, v int);
CREATE FUNCTION torture.loop_table_default(torture.loop_table) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
CREATE FUNCTION torture.loop_table_ok(torture.loop_table) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.v IS NULL OR $1.v > 0';
ALTER TABLE torture.loop_table ALTER COLUMN v SET DEFAULT torture.loop_table_default(NULL::torture.loop_table);
ALTER TABLE torture.loop_table ADD CONSTRAINT "loop; check" CHECK (torture.loop_table_ok(loop_table));
COMMENT ON CONSTRAINT "loop; check" ON torture.loop_table IS 'made after the table';

-- Columns of a table's row type, and of a view's (further down).
CREATE TABLE torture.row_of_table (id int PRIMARY KEY, r torture.loop_table, rs torture."MixedCase"[]);

-------------------------------------------------------------------------------
-- Inheritance
-------------------------------------------------------------------------------

CREATE TABLE torture.parent_a (id int PRIMARY KEY, a text DEFAULT 'parent', CONSTRAINT a_not_empty CHECK (a <> ''), CONSTRAINT only_here CHECK (id > 0) NO INHERIT);
CREATE TABLE torture.parent_b (id int NOT NULL, b int DEFAULT 1 CHECK (b > 0));
CREATE TABLE torture.child (id int, c int CHECK (c < 1000), a text DEFAULT 'child', CONSTRAINT a_not_empty CHECK (a <> '')) INHERITS (torture.parent_a, torture.parent_b);
CREATE TABLE torture.grandchild (d int, UNIQUE (d)) INHERITS (torture.child);
CREATE TABLE torture.child_no_columns () INHERITS (torture.parent_a);
CREATE TABLE torture.child_attached (id int NOT NULL, b int DEFAULT 9, e int, CONSTRAINT parent_b_b_check CHECK (b > 0));
ALTER TABLE torture.child_attached INHERIT torture.parent_b;
-- The child's columns now come in another order than a restored child's will: any
-- copy of rows must name the columns. (No default here: pg_dump writes the defaults
-- of inherited columns in the order of the columns.)
ALTER TABLE torture.parent_a ADD COLUMN added_later int;
ALTER TABLE torture.parent_a ADD CONSTRAINT later_check CHECK (added_later > 0) NOT VALID;
COMMENT ON TABLE torture.child IS 'has two parents';

-------------------------------------------------------------------------------
-- Partitions
-------------------------------------------------------------------------------

CREATE TABLE torture_part.measurements (
  id bigint NOT NULL, region text NOT NULL, at timestamptz NOT NULL, value double precision DEFAULT 0, note text,
  CONSTRAINT value_finite CHECK (value < 1e300)
) PARTITION BY RANGE (at);
CREATE TABLE torture_part.m_2023 PARTITION OF torture_part.measurements FOR VALUES FROM (MINVALUE) TO ('2024-01-01 00:00:00+00') PARTITION BY LIST (region);
CREATE TABLE torture_part.m_2023_eu PARTITION OF torture_part.m_2023 FOR VALUES IN ('eu', 'it''s', 'ü"x') PARTITION BY HASH (id);
CREATE TABLE torture_part.m_2023_eu_0 PARTITION OF torture_part.m_2023_eu FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE torture_part.m_2023_eu_1 PARTITION OF torture_part.m_2023_eu FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE torture_part."m 2023; eu ""2""" PARTITION OF torture_part.m_2023_eu FOR VALUES WITH (MODULUS 3, REMAINDER 2);
CREATE TABLE torture_part.m_2023_other PARTITION OF torture_part.m_2023 (value DEFAULT 1, CONSTRAINT only_other CHECK (length(region) < 20)) DEFAULT;
CREATE TABLE torture_part.m_2024 PARTITION OF torture_part.measurements FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2025-01-01 00:00:00+00') WITH (fillfactor = 80);
-- Attached, with its columns in another order, a dropped one, and its own default.
CREATE TABLE torture_part.m_2025 (note text, value double precision DEFAULT 2, gone int, at timestamptz NOT NULL, region text NOT NULL, id bigint NOT NULL,
  CONSTRAINT value_finite CHECK (value < 1e300));
ALTER TABLE torture_part.m_2025 DROP COLUMN gone;
ALTER TABLE torture_part.measurements ATTACH PARTITION torture_part.m_2025 FOR VALUES FROM ('2025-01-01 00:00:00+00') TO (MAXVALUE);
CREATE UNLOGGED TABLE torture_part.detached (LIKE torture_part.measurements INCLUDING ALL);
-- The parent's key takes over the key this partition already has, name and all.
ALTER TABLE torture_part.m_2024 ADD CONSTRAINT "m_2024 own pkey" PRIMARY KEY (id, region, at);
ALTER TABLE torture_part.measurements ADD CONSTRAINT measurements_pkey PRIMARY KEY (id, region, at);
ALTER TABLE torture_part.measurements ADD CONSTRAINT "unique; on parent" UNIQUE (region, at, id) DEFERRABLE INITIALLY DEFERRED;
COMMENT ON TABLE torture_part.m_2023_eu IS 'a partition that is partitioned';

CREATE TABLE torture_part.by_list (code text, n int, PRIMARY KEY (code, n)) PARTITION BY LIST (code);
CREATE TABLE torture_part.by_list_ab PARTITION OF torture_part.by_list FOR VALUES IN ('a', 'b''; "x"\ $1');
CREATE TABLE torture_part.by_list_rest PARTITION OF torture_part.by_list DEFAULT;
CREATE TABLE torture_part.by_expression (a int, b text COLLATE "C", c date) PARTITION BY RANGE ((a + 1), lower(b) COLLATE "C" text_pattern_ops, c);
CREATE TABLE torture_part.by_expression_1 PARTITION OF torture_part.by_expression FOR VALUES FROM (1, 'a', MINVALUE) TO (10, MAXVALUE, MAXVALUE);
CREATE TABLE torture_part.by_enum (m torture.mood, d torture.positive) PARTITION BY LIST (m);
CREATE TABLE torture_part.by_enum_1 PARTITION OF torture_part.by_enum FOR VALUES IN ('it''s "so", so\so', NULL);
CREATE TABLE torture_part.no_partitions (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE torture_part.with_foreign (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE torture_part.with_foreign_local PARTITION OF torture_part.with_foreign FOR VALUES FROM (0) TO (1000);
CREATE FOREIGN TABLE torture_part.with_foreign_remote PARTITION OF torture_part.with_foreign FOR VALUES FROM (1000) TO (2000)
  SERVER torture_files OPTIONS (program 'true', format 'csv');
-- Since PostgreSQL 17 the partitions share the identity; before, they have none.
CREATE TABLE torture_part.with_identity (id int GENERATED BY DEFAULT AS IDENTITY (START 50), v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE torture_part.with_identity_1 PARTITION OF torture_part.with_identity FOR VALUES FROM (0) TO (100000);
-- Partitions in another schema, with serial and generated columns and another access method.
CREATE TABLE torture_part.mixed (id serial, k int NOT NULL, g int GENERATED ALWAYS AS (k * 2) STORED, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
CREATE TABLE "Weird ""Schema"" $1"."Partition ""1""" PARTITION OF torture_part.mixed FOR VALUES IN (1, 2) USING heap2;
CREATE TABLE torture.partition_3 PARTITION OF torture_part.mixed FOR VALUES IN (3);

-------------------------------------------------------------------------------
-- Constraints: unique, exclusion, foreign keys
-------------------------------------------------------------------------------

CREATE TABLE torture.constraints (
  id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED,
  a int, b int, c text, r int4range, s tstzrange,
  CONSTRAINT nnd UNIQUE NULLS NOT DISTINCT (a, b),
  CONSTRAINT uniq_include UNIQUE (b) INCLUDE (c, a) WITH (fillfactor = 60),
  CONSTRAINT uniq_deferrable UNIQUE (c) DEFERRABLE INITIALLY IMMEDIATE,
  CONSTRAINT "excl; ""1""" EXCLUDE USING gist (a WITH =, r WITH &&) WHERE (b > 0 AND c <> 'it''s; $1') DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT excl_expr EXCLUDE USING gist ((lower(c)) WITH =, s WITH &&),
  CONSTRAINT excl_hash EXCLUDE USING hash (c WITH =) WHERE (a IS NULL)
);
COMMENT ON CONSTRAINT "excl; ""1""" ON torture.constraints IS 'an exclusion constraint';
-- A constraint over an index that has another name, and a unique index that never became one.
CREATE TABLE torture.index_names (id int NOT NULL, v int NOT NULL, w int NOT NULL, x int);
CREATE UNIQUE INDEX "Index ""pk""" ON torture.index_names (id);
ALTER TABLE torture.index_names ADD CONSTRAINT "Renamed ""pk""" PRIMARY KEY USING INDEX "Index ""pk""";
CREATE UNIQUE INDEX index_names_v ON torture.index_names (v) WHERE x IS NULL;
CREATE UNIQUE INDEX index_names_w ON torture.index_names (w DESC) INCLUDE (x);

CREATE TABLE torture.fk_target (id int PRIMARY KEY, k1 int, k2 text, UNIQUE (k1, k2), UNIQUE (id, k1));
CREATE TABLE torture.fk_source (
  id int PRIMARY KEY,
  t1 int DEFAULT 1, t2 int, k1 int, k2 text, self_id int, m_id bigint, m_region text, m_at timestamptz, l_code text, l_n int,
  CONSTRAINT "fk; ""1"" $1" FOREIGN KEY (t1) REFERENCES torture.fk_target (id) ON UPDATE CASCADE ON DELETE SET DEFAULT,
  CONSTRAINT fk_deferred FOREIGN KEY (t2) REFERENCES torture.fk_target DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT fk_full FOREIGN KEY (k1, k2) REFERENCES torture.fk_target (k1, k2) MATCH FULL ON UPDATE RESTRICT,
  CONSTRAINT fk_set_null_column FOREIGN KEY (t2, k1) REFERENCES torture.fk_target (id, k1) ON DELETE SET NULL (k1) DEFERRABLE,
  CONSTRAINT fk_self FOREIGN KEY (self_id) REFERENCES torture.fk_source ON DELETE CASCADE,
  CONSTRAINT fk_to_partitioned FOREIGN KEY (m_id, m_region, m_at) REFERENCES torture_part.measurements,
  CONSTRAINT fk_to_partition FOREIGN KEY (l_code, l_n) REFERENCES torture_part.by_list_rest
);
COMMENT ON CONSTRAINT "fk; ""1"" $1" ON torture.fk_source IS 'a foreign key';
ALTER TABLE torture_part.mixed ADD CONSTRAINT fk_from_partitioned FOREIGN KEY (k) REFERENCES torture.fk_target ON DELETE CASCADE;
ALTER TABLE torture.partition_3 ADD CONSTRAINT fk_of_one_partition FOREIGN KEY (id) REFERENCES torture.fk_target NOT VALID;
ALTER TABLE torture_part.by_list ADD CONSTRAINT fk_partitioned_to_partitioned FOREIGN KEY (code, n) REFERENCES torture_part.by_list INITIALLY DEFERRED;
CREATE TABLE torture.chicken (id int PRIMARY KEY, egg_id int NOT NULL, rooster_id int REFERENCES torture.chicken);
CREATE TABLE torture.egg (id int PRIMARY KEY, chicken_id int NOT NULL REFERENCES torture.chicken DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE torture.chicken ADD CONSTRAINT chicken_egg FOREIGN KEY (egg_id) REFERENCES torture.egg DEFERRABLE INITIALLY DEFERRED;

-- Rows that break the constraints which are then added NOT VALID.
CREATE TABLE torture.not_valid (id int PRIMARY KEY, v int, ref int, d torture.small_positive);
INSERT INTO torture.not_valid SELECT i, -i, 1000000 + i, i + 630 FROM generate_series(1, 50) i;
ALTER DOMAIN torture.small_positive ADD CONSTRAINT "not 666; not valid" CHECK (VALUE <> 666) NOT VALID;
COMMENT ON CONSTRAINT "not 666; not valid" ON DOMAIN torture.small_positive IS 'rows break it';
ALTER TABLE torture.not_valid ADD CONSTRAINT check_not_valid CHECK (v > 0) NOT VALID;
ALTER TABLE torture.not_valid ADD CONSTRAINT fk_not_valid FOREIGN KEY (ref) REFERENCES torture.fk_target NOT VALID;
ALTER TABLE torture.not_valid ADD CONSTRAINT check_not_valid_no_inherit CHECK (v < 0 OR id > 10) NO INHERIT NOT VALID;
COMMENT ON CONSTRAINT check_not_valid ON torture.not_valid IS 'rows break it';

-------------------------------------------------------------------------------
-- Rows
-------------------------------------------------------------------------------

INSERT INTO torture.events (kind, at, amount, body, tags, data, place, area, span, path, attributes, email, small, feeling, home, base, pair, label, ranges, doc, uid, ip, bits, money_of_no_locale, xml_doc, during)
SELECT (ARRAY['click', 'view', 'it''s; "x"', 'ünïcødé'])[1 + i % 4],
  '2024-01-01 00:00:00+00'::timestamptz + i * interval '17 minutes',
  (i % 997) / 3.0, repeat(md5(i::text), 1 + i % 5), ARRAY['t' || i % 10, NULL, '"', '\'],
  jsonb_build_object('n', i, 'nested', jsonb_build_array(i % 7, 'x;y')),
  point(i % 100, i % 77), box(point(i % 50, i % 60), point(i % 50 + 1, i % 60 + 2)), int4range(i, i + i % 20),
  ('top.n' || i % 13 || '.l' || i % 5)::"Weird ""Schema"" $1".ltree, torture_ext.hstore('k' || i % 3, NULLIF(i % 4, 0)::text),
  ('User' || i || '@Example.com')::torture_ext.citext, 1 + i % 12, CASE i % 3 WHEN 0 THEN 'sad' WHEN 1 THEN 'HAPPY; $1' END::torture.mood,
  ROW('Street ' || i, '12345', 'DE', NULL)::torture.address, (i % 400)::torture.tint, '(1,2)', ('label ' || i % 10)::torture."Text ""n""",
  '{[1,2),[3.5,4]}', to_tsvector('pg_catalog.english', 'The quick brown foxes ' || i), md5(i::text)::uuid, '10.0.0.0'::inet + i, B'10101', i::money, xmlelement(name x, i),
  make_interval(days => i % 9)
FROM generate_series(1, 5000) i;
INSERT INTO torture_part.measurements
SELECT i, (ARRAY['eu', 'us', 'it''s', 'ü"x'])[1 + i % 4], '2023-01-01 00:00:00+00'::timestamptz + i * interval '5 hours', i / 7.0, CASE WHEN i % 3 = 0 THEN 'note ' || i END
FROM generate_series(1, 4000) i;
INSERT INTO torture_part.by_list SELECT CASE i % 3 WHEN 0 THEN 'a' ELSE 'rest' || i % 5 END, i FROM generate_series(1, 300) i;
INSERT INTO torture_part.by_expression SELECT i % 8, 'b' || i, '2024-01-01'::date + i FROM generate_series(8, 90) i WHERE i % 8 > 0;
INSERT INTO torture_part.with_identity (v) SELECT 'v' || i FROM generate_series(1, 25) i;
INSERT INTO torture_part.with_foreign SELECT i, 'v' || i FROM generate_series(0, 99) i;
INSERT INTO torture.fk_target SELECT i, i % 10, 'k' || i FROM generate_series(1, 200) i;
INSERT INTO torture_part.mixed (k) SELECT 1 + i % 3 FROM generate_series(0, 199) i;
INSERT INTO torture.fk_source
SELECT i, 1 + i % 200, 1 + i % 200, CASE WHEN i % 2 = 0 THEN (1 + i % 200) % 10 END, CASE WHEN i % 2 = 0 THEN 'k' || 1 + i % 200 END, NULLIF(i - 1, 0),
  i, (ARRAY['eu', 'us', 'it''s', 'ü"x'])[1 + i % 4], '2023-01-01 00:00:00+00'::timestamptz + i * interval '5 hours', CASE WHEN i % 3 > 0 THEN 'rest' || i % 5 END, CASE WHEN i % 3 > 0 THEN i END
FROM generate_series(1, 250) i;
WITH eggs AS (INSERT INTO torture.egg SELECT i, i % 40 + 1 FROM generate_series(1, 40) i)
INSERT INTO torture.chicken SELECT i, i, CASE WHEN i > 1 THEN 1 END FROM generate_series(1, 40) i;
INSERT INTO torture.constraints SELECT i, i % 5, i, 'c' || i, int4range(i * 10, i * 10 + 5), tstzrange('2024-01-01 00:00:00+00'::timestamptz + i * interval '1 day', '2024-01-02 00:00:00+00'::timestamptz + i * interval '1 day') FROM generate_series(1, 500) i;
INSERT INTO torture.index_names SELECT i, i, i, NULLIF(i % 2, 0) FROM generate_series(1, 100) i;
INSERT INTO "Weird ""Schema"" $1"."Table; ""1"" \ $1" ("semi;colon", "select", "ltree.path", "%I", ":name", "{braces}", "line
break") SELECT 'v' || i, 'a', 'a.b', '%s', ':x', '{}', E'\n' FROM generate_series(1, 30) i;
INSERT INTO "select"."select" SELECT i, 'x''' || i, ARRAY['y'] FROM generate_series(1, 20) i;
INSERT INTO torture."MixedCase" ("camelCase") SELECT 'c' || i FROM generate_series(1, 20) i;
INSERT INTO torture.mixedcase SELECT i FROM generate_series(1, 20) i;
INSERT INTO torture.other_am SELECT i, 'v' || i FROM generate_series(1, 300) i;
INSERT INTO torture.other_am_3 SELECT i, box(point(i, i), point(i + 2, i + 3)) FROM generate_series(1, 300) i;
INSERT INTO torture.unlogged (v) SELECT 'u' || i FROM generate_series(1, 20) i;
INSERT INTO torture.typed SELECT i, 'p' || i, '1990-01-01'::date + i FROM generate_series(1, 20) i;
INSERT INTO torture.serials DEFAULT VALUES;
INSERT INTO torture.identities DEFAULT VALUES;
INSERT INTO torture.functions_in_table DEFAULT VALUES;
INSERT INTO torture.loop_table SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO torture.row_of_table SELECT id, loop_table FROM torture.loop_table;
INSERT INTO torture.parent_a SELECT i, 'a' || i, i FROM generate_series(1, 10) i;
INSERT INTO torture.child (id, c) SELECT i, i FROM generate_series(11, 20) i;
INSERT INTO torture.grandchild (id, c, d) SELECT i, i, i FROM generate_series(21, 30) i;
INSERT INTO torture.child_attached SELECT i, i, i FROM generate_series(1, 10) i;
INSERT INTO torture.no_columns DEFAULT VALUES;
INSERT INTO torture.no_columns DEFAULT VALUES;
-- Checks what is deferred, when all of this is one transaction; in a block because
-- at the top level it would warn when it is not.
DO $$BEGIN SET CONSTRAINTS ALL IMMEDIATE; END$$;

-------------------------------------------------------------------------------
-- Indexes
-------------------------------------------------------------------------------

CREATE INDEX events_at ON torture.events (at DESC NULLS LAST, kind COLLATE "C" text_pattern_ops NULLS FIRST);
CREATE INDEX "Events; ""expr"" $1" ON torture.events (lower(kind), (amount + 1), (data ->> 'n;"x"')) WHERE kind <> 'it''s; $1' AND NOT (amount > 1e9);
CREATE INDEX events_include ON torture.events (kind) INCLUDE (amount, at) WITH (fillfactor = 55, deduplicate_items = off);
CREATE INDEX events_data ON torture.events USING gin (data jsonb_path_ops) WITH (fastupdate = off, gin_pending_list_limit = 128);
CREATE INDEX events_tags ON torture.events USING gin (tags, doc);
CREATE INDEX events_doc ON torture.events USING gist (doc tsvector_ops (siglen = 100));
CREATE INDEX events_path ON torture.events USING gist (path "Weird ""Schema"" $1".gist_ltree_ops (siglen = 100), kind torture_ext.gist_trgm_ops (siglen = 32));
CREATE INDEX events_trgm ON torture.events USING gin (body torture_ext.gin_trgm_ops);
CREATE INDEX events_place ON torture.events USING spgist (place kd_point_ops);
CREATE INDEX events_area ON torture.events USING gist (area, span) WITH (buffering = on);
CREATE INDEX events_brin ON torture.events USING brin (at timestamptz_minmax_multi_ops (values_per_range = 16), id int8_bloom_ops (n_distinct_per_range = 100, false_positive_rate = 0.05)) WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX events_hash ON torture.events USING hash (uid) WITH (fillfactor = 40);
CREATE INDEX events_base ON torture.events (base, (base::integer));
CREATE INDEX events_backwards ON torture.events ((small::integer) torture."Backwards ""int4""");
CREATE INDEX events_collated ON torture.events (kind COLLATE torture.nondeterministic);
CREATE INDEX events_function ON torture.events (torture.return_expression(length(kind), 3));
CREATE INDEX events_row ON torture.events (((home).zip));
CREATE UNIQUE INDEX events_unique_nnd ON torture.events (uid, ip) NULLS NOT DISTINCT;
CREATE INDEX ON torture.events (email);
CREATE INDEX events_hstore ON torture.events USING gist (attributes);
ALTER INDEX torture.events_hstore DEPENDS ON EXTENSION hstore;
ALTER INDEX torture."Events; ""expr"" $1" ALTER COLUMN 1 SET STATISTICS 400;
ALTER INDEX torture."Events; ""expr"" $1" ALTER COLUMN 3 SET STATISTICS 0;
ALTER TABLE torture.events CLUSTER ON events_include;
COMMENT ON INDEX torture."Events; ""expr"" $1" IS 'an index; it''s weird';
COMMENT ON INDEX torture.events_pkey IS 'the index of a constraint';
COMMENT ON CONSTRAINT events_pkey ON torture.events IS 'the constraint of an index';
CREATE INDEX other_am_gist2 ON torture.other_am_3 USING gist2 (b);

CREATE INDEX on_every_partition ON torture_part.measurements (region, lower(note));
COMMENT ON INDEX torture_part.on_every_partition IS 'an index of a partitioned table';
-- Made on a partition first, then attached, under another name.
CREATE INDEX attached_later ON ONLY torture_part.measurements (value);
CREATE INDEX "attached; 2023" ON ONLY torture_part.m_2023 (value);
CREATE INDEX attached_eu ON torture_part.m_2023_eu (value);
CREATE INDEX attached_other ON torture_part.m_2023_other (value) WITH (fillfactor = 50);
CREATE INDEX attached_2024 ON torture_part.m_2024 (value);
CREATE INDEX attached_2025 ON torture_part.m_2025 (value);
ALTER INDEX torture_part."attached; 2023" ATTACH PARTITION torture_part.attached_eu;
ALTER INDEX torture_part."attached; 2023" ATTACH PARTITION torture_part.attached_other;
ALTER INDEX torture_part.attached_later ATTACH PARTITION torture_part."attached; 2023";
ALTER INDEX torture_part.attached_later ATTACH PARTITION torture_part.attached_2024;
ALTER INDEX torture_part.attached_later ATTACH PARTITION torture_part.attached_2025;
-- Stays invalid: one partition has a matching index that is not attached, others have none.
CREATE INDEX never_valid ON ONLY torture_part.measurements (note DESC);
CREATE INDEX never_attached ON torture_part.m_2024 (note DESC);
CREATE INDEX attached_to_invalid ON torture_part.m_2025 (note DESC);
ALTER INDEX torture_part.never_valid ATTACH PARTITION torture_part.attached_to_invalid;
-- Of one partition only.
CREATE INDEX only_2024 ON torture_part.m_2024 USING brin (at);
ALTER TABLE torture_part.m_2024 CLUSTER ON "m_2024 own pkey";
CREATE UNIQUE INDEX on_partitions ON torture_part.mixed (k, id) INCLUDE (g);

-------------------------------------------------------------------------------
-- Extended statistics, replica identities
-------------------------------------------------------------------------------

CREATE STATISTICS torture.events_stats ON kind, amount, at FROM torture.events;
CREATE STATISTICS "Weird ""Schema"" $1"."Stats; ""1"" $1" (ndistinct, dependencies) ON kind, amount FROM torture.events;
CREATE STATISTICS torture.events_mcv (mcv) ON kind, (lower(body)), (amount * 2) FROM torture.events;
CREATE STATISTICS torture.events_expression ON (date_trunc('day', at AT TIME ZONE 'UTC')) FROM torture.events;
CREATE STATISTICS torture_part.partitioned_stats ON region, note FROM torture_part.measurements;
ALTER STATISTICS torture.events_mcv SET STATISTICS 250;
ALTER STATISTICS "Weird ""Schema"" $1"."Stats; ""1"" $1" SET STATISTICS 0;
COMMENT ON STATISTICS torture.events_stats IS 'extended statistics';

ALTER TABLE torture.no_columns REPLICA IDENTITY NOTHING;
ALTER TABLE torture.index_names REPLICA IDENTITY USING INDEX index_names_w;
ALTER TABLE torture.fk_target REPLICA IDENTITY FULL;
ALTER TABLE torture."MixedCase" REPLICA IDENTITY USING INDEX "MixedCase_pkey";
ALTER TABLE torture_part.by_enum REPLICA IDENTITY FULL;
ALTER TABLE torture_part.by_enum_1 REPLICA IDENTITY FULL;
ALTER TABLE torture_part.by_expression_1 REPLICA IDENTITY FULL;
ALTER TABLE torture_part.with_foreign_local REPLICA IDENTITY FULL;
ALTER TABLE torture.other_am_3 REPLICA IDENTITY FULL;
ALTER TABLE torture.constraints REPLICA IDENTITY FULL;
ALTER TABLE torture.child REPLICA IDENTITY FULL;
ALTER TABLE torture.grandchild REPLICA IDENTITY FULL;

-------------------------------------------------------------------------------
-- Views
-------------------------------------------------------------------------------

CREATE VIEW torture.simple AS SELECT id, kind, amount FROM torture.events WHERE amount > 0;
CREATE VIEW torture.checked_local AS SELECT * FROM torture.simple WHERE kind <> 'x' WITH LOCAL CHECK OPTION;
CREATE VIEW torture.checked_cascaded WITH (security_barrier) AS SELECT * FROM torture.checked_local WHERE id > 0 WITH CASCADED CHECK OPTION;
CREATE VIEW torture.invoker WITH (security_invoker = true, security_barrier = false) AS SELECT * FROM torture.fk_source;
CREATE RECURSIVE VIEW torture.tree (id, depth) AS
  SELECT id, 1 FROM torture.fk_source WHERE self_id IS NULL UNION ALL SELECT s.id, t.depth + 1 FROM torture.fk_source s JOIN tree t ON s.self_id = t.id;
CREATE VIEW torture.with_search_cycle AS
  WITH RECURSIVE g(id, up) AS (SELECT id, self_id FROM torture.fk_source WHERE id = 5 UNION ALL SELECT s.id, s.self_id FROM torture.fk_source s, g WHERE s.id = g.up)
    SEARCH BREADTH FIRST BY id SET ord CYCLE id SET looped USING way,
  m AS MATERIALIZED (SELECT 1 AS one), nm AS NOT MATERIALIZED (SELECT 2 AS two)
  SELECT g.id, looped, one, two FROM g, m, nm ORDER BY ord;
-- Possible only because the key is known: these wait for the primary key.
CREATE VIEW torture.by_key AS SELECT e.id, e.kind, e.at, count(s.id) AS n FROM torture.events e LEFT JOIN torture.fk_source s ON s.id = e.id GROUP BY e.id;
CREATE VIEW torture.on_by_key AS SELECT id, n FROM torture.by_key;
CREATE FUNCTION torture.atomic_by_key() RETURNS SETOF torture.by_key LANGUAGE sql STABLE
BEGIN ATOMIC
  SELECT e.id, e.kind, e.at, count(*) FROM torture.events e GROUP BY e.id;
END;
CREATE TABLE torture.row_of_view (id int PRIMARY KEY, v torture.simple, vs torture.by_key[]);
-- Each needs the other.
CREATE VIEW torture.mutual_a AS SELECT 1 AS id;
CREATE VIEW torture.mutual_b AS SELECT id FROM torture.mutual_a;
CREATE OR REPLACE VIEW torture.mutual_a AS SELECT id FROM torture.mutual_b;
CREATE VIEW torture.mutual_fn AS SELECT 1 AS id, 'x'::text AS t;
CREATE FUNCTION torture.mutual_fn_rows() RETURNS SETOF torture.mutual_fn LANGUAGE sql AS $$SELECT 1, 'y'$$;
CREATE OR REPLACE VIEW torture.mutual_fn AS SELECT id, t FROM torture.mutual_fn_rows();
-- Columns renamed and added below a view that was made before.
CREATE TABLE torture.renamed (id int PRIMARY KEY, old_name text, "Other ""x""" int);
CREATE VIEW torture.over_renamed AS SELECT r.*, s."Id" AS sid, "order"."from" FROM torture.renamed r JOIN torture."MixedCase" s ON s."Id" = r.id, LATERAL (SELECT r.id) AS s2(id), "select"."select" AS "order";
CREATE VIEW torture.over_using AS SELECT * FROM torture.parent_a FULL JOIN torture.parent_b USING (id) AS j LEFT JOIN torture.renamed USING (id);
ALTER TABLE torture.renamed RENAME COLUMN old_name TO "New; ""name"" $1";
ALTER TABLE torture.renamed ADD COLUMN added text;
ALTER TABLE torture.parent_b RENAME COLUMN b TO "b; renamed";
ALTER VIEW torture.over_renamed RENAME COLUMN sid TO "Sid ""x""";
CREATE VIEW torture.syntax_zoo AS
SELECT e.id, e AS "whole; row", row_number() OVER w AS "select", sum(e.amount) FILTER (WHERE e.kind = 'click') OVER (PARTITION BY e.kind ORDER BY e.at RANGE BETWEEN '1 day' PRECEDING AND CURRENT ROW EXCLUDE TIES) AS s,
  CASE e.feeling WHEN 'sad' THEN 1 ELSE 2 END AS c, ARRAY(SELECT x FROM unnest(e.tags) WITH ORDINALITY u(x, o) ORDER BY o DESC) AS arr,
  (e.home).zip, e.tags[1:2] AS slice, e.at AT TIME ZONE 'Europe/Berlin' AS local, EXTRACT(epoch FROM e.at) AS epoch, e.kind COLLATE "C" AS collated,
  e.kind LIKE 'a\_%' ESCAPE '\' AS liked, e.kind SIMILAR TO '(a|b)%' AS similar_to, e.base OPERATOR(torture.<) '5'::torture.tint AS op, e.amount IS DISTINCT FROM 0 AS distinct_from,
  (e.id, e.kind) < (5, 'x;"y"') AS row_compare, e.id = ANY (ARRAY[1, 2]) AS any_array, e.id IN (SELECT s.id FROM torture.fk_source s) AS in_select, NOT EXISTS (SELECT) AS not_exists,
  overlay('abc' PLACING 'x' FROM 2) AS overlaid, position('a' IN e.kind) AS pos, trim(BOTH 'x' FROM e.kind) AS trimmed, substring(e.kind FROM 2 FOR 3) AS sub, COALESCE(e.kind, E'\\;\n') AS co, GREATEST(1, 2) AS gr, NULLIF(1, 2) AS nu,
  '2024-01-01'::date AS lit, interval '1 mon' AS iv, B'101' AS bits, 'x'::"char" AS ch, 1.50 AS num, -5 AS neg, 1e30::float8 AS flt, NULL AS nul, current_date - '2020-01-01'::date AS age_days, CURRENT_USER AS who,
  xmlelement(name "a b", xmlattributes(e.id AS "i;d"), e.kind) AS xml, e.attributes OPERATOR(torture_ext.->) 'k1' AS hs, torture.return_expression(b => 2, a => 1) AS named, 1 AS "?column?", 2 AS "a.b;""c"" $1"
FROM ONLY torture.events e TABLESAMPLE bernoulli (50) REPEATABLE (1) WINDOW w AS (PARTITION BY e.kind ORDER BY e.at DESC NULLS LAST ROWS UNBOUNDED PRECEDING);
CREATE VIEW torture.set_zoo AS
  (SELECT kind, feeling, count(*) AS n FROM torture.events GROUP BY GROUPING SETS ((kind, feeling), CUBE (kind), ROLLUP (feeling), ()) HAVING count(*) > 1 ORDER BY 3 DESC FETCH FIRST 5 ROWS WITH TIES)
  UNION ALL SELECT 'x', NULL, a FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1, 2])) AS f(a, b)
  EXCEPT SELECT * FROM (VALUES ('it''s', NULL::torture.mood, 1::bigint), ('b', 'sad', 2)) AS v INTERSECT ALL SELECT '', NULL, 3;
CREATE VIEW torture.aggregate_zoo AS
  SELECT torture.percentile(0.5) WITHIN GROUP (ORDER BY amount) AS p, mode() WITHIN GROUP (ORDER BY kind) AS m, string_agg(DISTINCT kind, '; ' ORDER BY kind) AS sa,
    torture.count_all(*) AS c, torture.hypothetical_rank(5) WITHIN GROUP (ORDER BY amount) AS hr, torture.moving_sum(small::int) AS ms, "Weird ""Schema"" $1"."Agg ""$1"""(1, kind) AS wa FROM torture.events;
CREATE VIEW torture.zero_columns AS SELECT;
CREATE VIEW torture.values_view ("Col; ""1""", b) AS SELECT * FROM (VALUES (1, 'a'), (2, 'it''s')) AS v(x, "y;z");
CREATE VIEW torture.updatable AS SELECT id, v, ref FROM torture.not_valid;
ALTER VIEW torture.updatable ALTER COLUMN v SET DEFAULT 77;
ALTER VIEW torture.updatable ALTER COLUMN ref SET DEFAULT nextval('torture.seq_plain');
CREATE VIEW "Weird ""Schema"" $1"."View; ""1"" \ $1" AS SELECT "semi;colon" AS "Col; ""x"" \ $1", "back\slash", "select" FROM "Weird ""Schema"" $1"."Table; ""1"" \ $1" WHERE "semi;colon" <> 'x''\;$1$$';
COMMENT ON VIEW torture.simple IS 'a view';
COMMENT ON COLUMN torture.simple.kind IS 'the column of a view';
COMMENT ON COLUMN torture.by_key.n IS 'a column of a view that waits for a key';

CREATE MATERIALIZED VIEW torture.mat_a WITH (fillfactor = 75) AS SELECT kind, count(*) AS n, max(at) AS last FROM torture.events GROUP BY kind;
CREATE VIEW torture.over_mat AS SELECT kind, n * 2 AS double_n FROM torture.mat_a;
CREATE MATERIALIZED VIEW torture.aa_mat_c AS SELECT o.kind, o.double_n, torture.uses_later() AS total FROM torture.over_mat o;
CREATE MATERIALIZED VIEW torture.mat_by_key AS SELECT e.id, e.kind, e.amount FROM torture.events e GROUP BY e.id;
CREATE MATERIALIZED VIEW "Weird ""Schema"" $1"."Mat; ""1"" $1" USING heap2 AS SELECT i AS "Id ""x""", 'v;' || i AS "order" FROM generate_series(1, 50) i;
CREATE MATERIALIZED VIEW torture.mat_unpopulated AS SELECT * FROM torture.mat_a WITH NO DATA;
CREATE MATERIALIZED VIEW torture.mat_unpopulated_too AS SELECT * FROM torture.over_mat WITH NO DATA;
CREATE UNIQUE INDEX mat_a_kind ON torture.mat_a (kind);
CREATE INDEX mat_a_n ON torture.mat_a (n DESC, lower(kind)) WHERE n > 10;
CREATE INDEX mat_unpopulated_kind ON torture.mat_unpopulated (kind);
CREATE UNIQUE INDEX "Mat; ""index"" $1" ON "Weird ""Schema"" $1"."Mat; ""1"" $1" ("Id ""x""");
ALTER MATERIALIZED VIEW "Weird ""Schema"" $1"."Mat; ""1"" $1" CLUSTER ON "Mat; ""index"" $1";
ALTER MATERIALIZED VIEW torture.mat_a ALTER COLUMN kind SET STATISTICS 700;
ALTER MATERIALIZED VIEW torture.mat_a ALTER COLUMN kind SET STORAGE EXTERNAL;
CREATE STATISTICS torture.mat_stats ON kind, n FROM torture.mat_a;
ALTER MATERIALIZED VIEW torture.mat_by_key DEPENDS ON EXTENSION hstore;
COMMENT ON MATERIALIZED VIEW torture.mat_a IS 'a materialized view';
COMMENT ON COLUMN torture.mat_a.n IS 'the column of a materialized view';

CREATE FUNCTION torture.atomic_with_tables(a bigint) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO torture.unlogged (v) SELECT kind FROM torture.mat_a WHERE n > a;
  UPDATE torture.other_am SET v = 'it''s; $1' WHERE id = a;
  SELECT count(*) FROM torture.over_mat o JOIN torture.by_key USING (kind) WHERE o.double_n > a;
END;

-------------------------------------------------------------------------------
-- Rules, triggers, event triggers
-------------------------------------------------------------------------------

CREATE TABLE torture.log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, n bigint);
CREATE TABLE torture.ruled (id int PRIMARY KEY, v text);
CREATE RULE "rule; ""1"" $1" AS ON INSERT TO torture.ruled WHERE new.v = 'it''s; $1' DO ALSO INSERT INTO torture.log (what, n) VALUES ('rule;' || new.v, new.id);
CREATE RULE nothing AS ON DELETE TO torture.ruled WHERE old.id < 0 DO INSTEAD NOTHING;
CREATE RULE several AS ON UPDATE TO torture.ruled DO ALSO (INSERT INTO torture.log (what) VALUES (old.v); DELETE FROM torture.log WHERE n < old.id; NOTIFY torture_rule, 'x;y');
CREATE RULE disabled AS ON DELETE TO torture.ruled DO ALSO NOTIFY never;
CREATE RULE always AS ON INSERT TO torture.ruled DO ALSO SELECT 1;
CREATE RULE replica AS ON INSERT TO torture.ruled DO ALSO SELECT new.id;
ALTER TABLE torture.ruled DISABLE RULE disabled;
ALTER TABLE torture.ruled ENABLE ALWAYS RULE always;
ALTER TABLE torture.ruled ENABLE REPLICA RULE replica;
CREATE VIEW torture.ruled_view AS SELECT id, v FROM torture.ruled;
CREATE RULE view_insert AS ON INSERT TO torture.ruled_view DO INSTEAD INSERT INTO torture.ruled VALUES (new.id, new.v) RETURNING id, v;
CREATE RULE view_update AS ON UPDATE TO torture.ruled_view DO INSTEAD UPDATE torture.ruled SET v = new.v WHERE ruled.id = old.id;
COMMENT ON RULE "rule; ""1"" $1" ON torture.ruled IS 'a rule';
COMMENT ON RULE view_insert ON torture.ruled_view IS 'a view''s rule';

CREATE FUNCTION torture.trigger_fn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('torture.log', true) = 'on' THEN
    INSERT INTO torture.log (what, n) VALUES (TG_NAME || ';' || array_to_string(TG_ARGV, ','), 1);
  END IF;
  RETURN coalesce(NEW, OLD);
END $$;
CREATE FUNCTION torture.statement_trigger_fn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE TRIGGER "trigger; ""1"" $1" BEFORE INSERT OR UPDATE OF kind, amount ON torture.events FOR EACH ROW WHEN (new.kind <> 'it''s; $1') EXECUTE FUNCTION torture.trigger_fn('it''s', E'back\\slash', '$1;"x"', '', 'ünï', '5');
CREATE TRIGGER after_delete AFTER DELETE ON torture.events FOR EACH ROW WHEN (old.* IS NOT NULL) EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER on_statement AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON torture.events FOR EACH STATEMENT EXECUTE FUNCTION torture.statement_trigger_fn();
CREATE TRIGGER transition AFTER UPDATE ON torture.events REFERENCING OLD TABLE AS "old; rows" NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION torture.statement_trigger_fn();
CREATE TRIGGER transition_insert AFTER INSERT ON torture.events REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE CONSTRAINT TRIGGER "constraint; trigger" AFTER INSERT OR UPDATE ON torture.events FROM torture.fk_target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (new.amount > 1e9) EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER enable_always BEFORE UPDATE ON torture.events FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER enable_replica BEFORE UPDATE ON torture.events FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER disabled BEFORE UPDATE ON torture.events FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER unchanged BEFORE UPDATE ON torture.events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER tsvector_update BEFORE INSERT ON torture.events FOR EACH ROW WHEN (new.body = 'never') EXECUTE FUNCTION tsvector_update_trigger('doc', 'pg_catalog.english', 'body');
ALTER TABLE torture.events ENABLE ALWAYS TRIGGER enable_always;
ALTER TABLE torture.events ENABLE REPLICA TRIGGER enable_replica;
ALTER TABLE torture.events DISABLE TRIGGER disabled;
ALTER TRIGGER unchanged ON torture.events DEPENDS ON EXTENSION hstore;
CREATE TRIGGER instead_of INSTEAD OF INSERT OR DELETE ON torture.by_key FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER view_statement AFTER UPDATE ON torture.updatable FOR EACH STATEMENT EXECUTE FUNCTION torture.statement_trigger_fn();
CREATE TRIGGER on_foreign BEFORE INSERT ON torture.foreign_pg FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn();
CREATE TRIGGER on_parent AFTER INSERT OR UPDATE ON torture_part.measurements FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn('on parent');
CREATE TRIGGER on_parent_always BEFORE INSERT ON torture_part.measurements FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn('always');
CREATE TRIGGER on_partition BEFORE INSERT ON torture_part.m_2024 FOR EACH ROW EXECUTE FUNCTION torture.trigger_fn('on partition');
ALTER TABLE torture_part.m_2024 DISABLE TRIGGER on_parent;
ALTER TABLE torture_part.measurements ENABLE ALWAYS TRIGGER on_parent_always;
COMMENT ON TRIGGER "trigger; ""1"" $1" ON torture.events IS 'a trigger';
COMMENT ON TRIGGER on_parent ON torture_part.measurements IS 'a trigger of a partitioned table';

-- They record only when a setting asks for it, and so never meet a copy.
CREATE FUNCTION torture.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('torture.log', true) = 'on' THEN
    INSERT INTO torture.log (what) VALUES (TG_EVENT || ';' || TG_TAG);
  END IF;
END $$;
CREATE EVENT TRIGGER torture_ddl_end ON ddl_command_end EXECUTE FUNCTION torture.on_ddl();
CREATE EVENT TRIGGER "torture; ""drop"" $1" ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP VIEW') EXECUTE FUNCTION torture.on_ddl();
CREATE EVENT TRIGGER torture_start ON ddl_command_start EXECUTE FUNCTION torture.on_ddl();
CREATE EVENT TRIGGER torture_rewrite ON table_rewrite EXECUTE FUNCTION torture.on_ddl();
ALTER EVENT TRIGGER torture_start DISABLE;
ALTER EVENT TRIGGER torture_rewrite ENABLE REPLICA;
ALTER EVENT TRIGGER "torture; ""drop"" $1" ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER torture_ddl_end IS 'an event trigger';

-------------------------------------------------------------------------------
-- Row security
-------------------------------------------------------------------------------

CREATE TABLE torture.secured (id int PRIMARY KEY, owner name DEFAULT CURRENT_USER, v text);
INSERT INTO torture.secured (id, owner, v) SELECT i, CASE i % 2 WHEN 0 THEN 'torture_app' ELSE 'torture_reader' END, 'v' || i FROM generate_series(1, 20) i;
ALTER TABLE torture.secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE torture.secured FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON torture.secured USING (owner = CURRENT_USER) WITH CHECK (v <> 'it''s; $1');
CREATE POLICY "policy; ""1"" $1" ON torture.secured AS RESTRICTIVE FOR UPDATE TO torture_app, torture_reader, "Weird ""Role"" $1" USING (id > 0) WITH CHECK (id < 1000000);
CREATE POLICY only_select ON torture.secured FOR SELECT TO torture_reader USING (EXISTS (SELECT 1 FROM torture.log l WHERE l.n = secured.id));
CREATE POLICY only_insert ON torture.secured FOR INSERT TO "Größe Ünïcødé 漢字" WITH CHECK (true);
CREATE POLICY only_delete ON torture.secured AS PERMISSIVE FOR DELETE TO PUBLIC USING (false);
COMMENT ON POLICY own ON torture.secured IS 'a policy';
ALTER TABLE torture_part.by_list ENABLE ROW LEVEL SECURITY;
CREATE POLICY on_partitioned ON torture_part.by_list USING (n > 0);
-- Forced, but not enabled; and a policy without row security.
ALTER TABLE torture.log FORCE ROW LEVEL SECURITY;
CREATE POLICY not_enabled ON torture.log USING (true);

-------------------------------------------------------------------------------
-- Owners
-------------------------------------------------------------------------------

ALTER SCHEMA torture OWNER TO torture_owner;
ALTER SCHEMA "Weird ""Schema"" $1" OWNER TO "Weird ""Role"" $1";
ALTER LANGUAGE plweird OWNER TO torture_owner;
ALTER COLLATION torture.nondeterministic OWNER TO torture_owner;
ALTER CONVERSION torture.latin1_out OWNER TO torture_owner;
ALTER TYPE torture.mood OWNER TO torture_owner;
ALTER TYPE torture.address OWNER TO "torture;role\with'every""thing";
ALTER TYPE torture.float8_range OWNER TO torture_owner;
ALTER TYPE torture.tint OWNER TO torture_owner;
ALTER DOMAIN torture.positive OWNER TO torture_owner;
ALTER OPERATOR torture.< (torture.tint, torture.tint) OWNER TO torture_owner;
ALTER OPERATOR FAMILY torture.tint_family USING btree OWNER TO torture_owner;
ALTER OPERATOR CLASS torture.tint_ops USING btree OWNER TO torture_owner;
ALTER FUNCTION torture.quoting(text, text[], int) OWNER TO torture_owner;
ALTER FUNCTION torture.definer() OWNER TO torture_other_owner;
ALTER PROCEDURE torture.proc(int, int, text[]) OWNER TO torture_owner;
ALTER AGGREGATE torture.moving_sum(int4) OWNER TO torture_owner;
ALTER AGGREGATE torture.percentile(float8 ORDER BY anyelement) OWNER TO torture_owner;
ALTER TEXT SEARCH DICTIONARY torture.dictionary OWNER TO torture_owner;
ALTER TEXT SEARCH CONFIGURATION torture.config OWNER TO torture_owner;
ALTER FOREIGN DATA WRAPPER torture_fdw OWNER TO torture_super;
ALTER SERVER torture_server OWNER TO torture_owner;
ALTER FOREIGN TABLE torture.foreign_pg OWNER TO torture_owner;
ALTER SEQUENCE torture.seq_down OWNER TO torture_owner;
ALTER TABLE torture.serials OWNER TO torture_owner;
ALTER TABLE torture.identities OWNER TO torture_other_owner;
ALTER TABLE torture.events OWNER TO torture_owner;
ALTER TABLE torture_part.measurements OWNER TO torture_owner;
ALTER TABLE torture_part.m_2024 OWNER TO torture_other_owner;
ALTER TABLE "Weird ""Schema"" $1"."Table; ""1"" \ $1" OWNER TO "Größe Ünïcødé 漢字";
ALTER TABLE torture.secured OWNER TO "select";
ALTER VIEW torture.simple OWNER TO torture_owner;
ALTER MATERIALIZED VIEW torture.mat_a OWNER TO torture_owner;
ALTER STATISTICS torture.events_stats OWNER TO torture_owner;
ALTER EVENT TRIGGER torture_ddl_end OWNER TO torture_super;

-------------------------------------------------------------------------------
-- Privileges
-------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA torture TO torture_app, torture_reader, torture_grantor WITH GRANT OPTION;
GRANT USAGE ON SCHEMA torture, torture_part, torture_grants TO torture_second_grantor, PUBLIC;
GRANT ALL ON SCHEMA "Weird ""Schema"" $1" TO torture_app, "torture;role\with'every""thing";
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO torture_app, torture_owner;
GRANT CREATE ON SCHEMA public TO torture_owner;
REVOKE CREATE ON SCHEMA "select" FROM CURRENT_USER;

GRANT SELECT, INSERT, UPDATE ON torture.events TO torture_app WITH GRANT OPTION;
GRANT ALL ON torture.events TO torture_other_owner;
GRANT SELECT ON torture.events TO PUBLIC;
GRANT SELECT (id, kind), UPDATE (amount), INSERT ("body"), REFERENCES (id) ON torture.events TO torture_reader;
GRANT SELECT ("semi;colon", "back\slash", "ünïcødé 漢字", "line
break"), UPDATE ("Id ""x"" $1") ON "Weird ""Schema"" $1"."Table; ""1"" \ $1" TO "Weird ""Role"" $1", torture_reader WITH GRANT OPTION;
GRANT TRUNCATE, TRIGGER, REFERENCES ON torture.fk_target TO torture_app;
REVOKE INSERT, DELETE ON torture.other_am FROM CURRENT_USER;
REVOKE ALL ON torture."MixedCase" FROM CURRENT_USER;
GRANT SELECT ON torture.simple, torture.mat_a, torture.foreign_pg, torture.zero_columns TO torture_reader;
GRANT SELECT (kind) ON torture.mat_a, torture.by_key TO torture_app;
GRANT SELECT ON torture_part.measurements TO torture_reader;
GRANT INSERT ON torture_part.m_2024 TO torture_app;
GRANT USAGE ON SEQUENCE torture.seq_down TO torture_app WITH GRANT OPTION;
GRANT SELECT, UPDATE ON SEQUENCE "Weird ""Schema"" $1"."Seq; ""1"" \ $1", torture."Renamed ""serial""" TO "select";
GRANT ALL ON SEQUENCE torture.seq_small TO PUBLIC;
GRANT EXECUTE ON FUNCTION torture.quoting(text, text[], int) TO torture_app WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION torture.definer() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION torture.definer() TO torture_app;
REVOKE ALL ON FUNCTION "Weird ""Schema"" $1"."fn; $1 ""quoted"" \ 'x'"(integer, text) FROM PUBLIC, CURRENT_USER;
REVOKE EXECUTE ON PROCEDURE torture.proc(int, int, text[]) FROM PUBLIC;
GRANT EXECUTE ON ROUTINE torture.proc_out(int) TO torture_reader;
GRANT EXECUTE ON FUNCTION torture.moving_sum(int4) TO torture_reader;
REVOKE EXECUTE ON FUNCTION torture.count_all() FROM PUBLIC;
REVOKE USAGE ON TYPE torture.mood FROM PUBLIC;
GRANT USAGE ON TYPE torture.mood TO torture_app, torture_owner WITH GRANT OPTION;
GRANT USAGE ON TYPE torture.float8_range, torture.tint TO torture_app;
REVOKE USAGE ON DOMAIN torture.positive FROM PUBLIC;
GRANT USAGE ON DOMAIN torture.positive, "Weird ""Schema"" $1"."Domain ""$$""" TO torture_app;
REVOKE USAGE ON LANGUAGE plweird FROM PUBLIC;
GRANT USAGE ON LANGUAGE plweird TO torture_app WITH GRANT OPTION;
GRANT USAGE ON FOREIGN DATA WRAPPER torture_fdw TO torture_app WITH GRANT OPTION;
GRANT USAGE ON FOREIGN SERVER torture_server, "Server ""3"" $1" TO torture_app, "Weird ""Role"" $1" WITH GRANT OPTION;
-- Of the system catalog: pg_dump carries these too.
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO torture_app;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(double precision) FROM PUBLIC;
GRANT SELECT (rolname) ON pg_catalog.pg_authid TO torture_reader;

-- Granted by others than the owner.
GRANT SELECT, UPDATE ON torture.fk_source TO torture_grantor WITH GRANT OPTION;
SET ROLE torture_grantor;
GRANT SELECT ON torture.fk_source TO torture_second_grantor WITH GRANT OPTION;
GRANT UPDATE (t1, t2) ON torture.fk_source TO torture_reader;
SET ROLE torture_second_grantor;
GRANT SELECT ON torture.fk_source TO torture_app, PUBLIC;
RESET ROLE;
GRANT SELECT ON torture.fk_source TO torture_app;
SET ROLE torture_app;
GRANT SELECT ON torture.events TO torture_reader;
GRANT EXECUTE ON FUNCTION torture.quoting(text, text[], int) TO torture_reader;
GRANT USAGE ON TYPE torture.mood TO torture_reader;
GRANT USAGE ON SEQUENCE torture.seq_down TO torture_reader;
GRANT USAGE ON FOREIGN SERVER torture_server TO torture_reader;
RESET ROLE;
SET ROLE torture_grantor;
GRANT USAGE ON SCHEMA torture TO torture_second_grantor;
RESET ROLE;

-- Very many.
DO $grants$
DECLARE
  roles text[] := ARRAY['torture_app', 'torture_reader', 'torture_other_owner', 'Weird "Role" $1', 'select', 'torture;role\with''every"thing'];
  privileges text[] := ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'SELECT (id)', 'UPDATE ("V; 1")', 'TRIGGER'];
  i int;
  j int;
BEGIN
  FOR i IN 1..40 LOOP
    EXECUTE format('CREATE TABLE torture_grants.%I (id int PRIMARY KEY, "V; 1" text)', CASE WHEN i % 4 = 0 THEN 'Table "' || i || '"; $1' ELSE 't_' || i END);
    FOR j IN 1..array_length(roles, 1) LOOP
      EXECUTE format('GRANT %s ON torture_grants.%I TO %I %s', privileges[1 + (i + j) % 7],
        CASE WHEN i % 4 = 0 THEN 'Table "' || i || '"; $1' ELSE 't_' || i END, roles[j], CASE WHEN (i + j) % 5 = 0 THEN 'WITH GRANT OPTION' ELSE '' END);
    END LOOP;
    IF i <= 20 THEN
      EXECUTE format('CREATE SEQUENCE torture_grants.seq_%s START %s', i, i * 3);
      EXECUTE format('GRANT %s ON SEQUENCE torture_grants.seq_%s TO %I', CASE i % 3 WHEN 0 THEN 'USAGE' WHEN 1 THEN 'SELECT' ELSE 'UPDATE' END, i, roles[1 + i % 6]);
      EXECUTE format('CREATE FUNCTION torture_grants.fn_%s(int) RETURNS int LANGUAGE sql AS ''SELECT $1 + %s''', i, i);
      EXECUTE format('REVOKE EXECUTE ON FUNCTION torture_grants.fn_%s(int) FROM PUBLIC', i);
      EXECUTE format('GRANT EXECUTE ON FUNCTION torture_grants.fn_%s(int) TO %I', i, roles[1 + i % 6]);
    END IF;
  END LOOP;
END
$grants$;

-- Last, so that they do not change what is above.
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner GRANT SELECT ON TABLES TO torture_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner REVOKE USAGE ON TYPES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner GRANT USAGE ON SCHEMAS TO torture_app WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner IN SCHEMA torture GRANT INSERT, UPDATE ON TABLES TO torture_app WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES FOR ROLE torture_owner, "Weird ""Role"" $1" IN SCHEMA torture, "Weird ""Schema"" $1" GRANT USAGE ON SEQUENCES TO torture_app;
ALTER DEFAULT PRIVILEGES FOR ROLE "Weird ""Role"" $1" IN SCHEMA "Weird ""Schema"" $1" GRANT EXECUTE ON FUNCTIONS TO "Größe Ünïcødé 漢字";
ALTER DEFAULT PRIVILEGES FOR ROLE torture_other_owner REVOKE ALL ON TABLES FROM torture_other_owner;

-------------------------------------------------------------------------------
-- Publications and subscriptions. Last: from here on, tables without a key and
-- with the default replica identity refuse UPDATE and DELETE.
-------------------------------------------------------------------------------

CREATE PUBLICATION all_tables FOR ALL TABLES;
CREATE PUBLICATION keyed_tables FOR TABLE
  torture.events, torture.fk_target, torture.fk_source, torture.chicken, torture.egg, torture.index_names,
  torture."MixedCase", torture.mixedcase, torture.serials, torture.identities, torture.secured, torture.log, torture.not_valid,
  torture.typed, torture.other_am, torture."63 bytes table xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
  "Weird ""Schema"" $1"."Table; ""1"" \ $1", "select"."select", "schema; with\semicolon.and.dots"."table.with.dots",
  torture_part.measurements, torture_part.by_list, torture_part.mixed, torture_part.with_identity;
CREATE PUBLICATION "Pub; ""1"" $1" FOR TABLE
  ONLY torture.parent_a (id, a),
  torture.fk_source WHERE (id > 10 AND id < 100000),
  "Weird ""Schema"" $1"."Table; ""1"" \ $1" ("Id ""x"" $1", "semi;colon", "line
break") WHERE ("Id ""x"" $1" <> 5)
  WITH (publish = 'insert, delete');
CREATE PUBLICATION via_root FOR TABLE torture_part.measurements WHERE (region <> 'it''s; $1'), torture_part.by_list (code, n) WITH (publish_via_partition_root = true, publish = 'insert');
CREATE PUBLICATION in_schemas FOR TABLES IN SCHEMA torture_grants, "Weird ""Schema"" $1", TABLE torture.log;
CREATE PUBLICATION empty_publication WITH (publish = 'truncate');
COMMENT ON PUBLICATION all_tables IS 'a publication';
ALTER PUBLICATION in_schemas OWNER TO torture_super;
ALTER PUBLICATION empty_publication OWNER TO torture_super;

SET client_min_messages = error; -- "tables were not subscribed": meant to be so
CREATE SUBSCRIPTION "torture Sub ""1""" CONNECTION 'host=publisher.invalid port=5432 user=repl dbname=''it\''s'' password=torture-secret-password'
  PUBLICATION "Pub; ""1"" $1", another WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false, binary = true, streaming = on, synchronous_commit = 'remote_apply', disable_on_error = true);
CREATE SUBSCRIPTION torture_sub_owned CONNECTION 'postgresql://repl:torture-secret-password@publisher.invalid:5432/db?application_name=x'
  PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false, two_phase = true);
ALTER SUBSCRIPTION torture_sub_owned OWNER TO torture_super;
COMMENT ON SUBSCRIPTION torture_sub_owned IS 'a subscription';

RESET search_path;
RESET check_function_bodies;
RESET client_min_messages;
RESET TimeZone;
RESET DateStyle;
