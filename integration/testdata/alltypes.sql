-- Tables with every built-in type, in rows of NULLs, of ordinary values and of
-- extremes, for PostgreSQL 15 or newer. Superuser, encoding UTF8.
--
-- Two parts: what is there before a copy, one message of the simple protocol
-- (there are no psql commands and no COPY), and behind the line "-- CHANGES"
-- what is to be streamed, a message for each paragraph, since a DO that commits
-- must be alone in its message. Package integration/ledger runs them.
--
-- Each table of schema alltypes has a primary key, id, and columns that may be
-- NULL. A table named x_arrays has an array for each column of x, made of x's
-- rows; so element types, extremes and NULLs are all in arrays too.
--
-- No input: pg_node_tree, pg_ndistinct, pg_dependencies, pg_mcv_list,
-- pg_brin_bloom_summary, pg_brin_minmax_multi_summary and gtsvector. They are
-- left out. "char" has no values above 127: later versions print them otherwise.

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET lc_monetary = 'C';
SET xmloption = 'content';
SET search_path = pg_catalog;

CREATE SCHEMA alltypes;

CREATE TABLE alltypes.numbers (
    id integer PRIMARY KEY,
    int2 smallint, int4 integer, int8 bigint, float4 real, float8 double precision,
    numeric numeric, decimals numeric(10, 3), hundreds numeric(5, -2), fractions numeric(3, 6), money money, bool boolean
);
INSERT INTO alltypes.numbers VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false),
    (3, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, 'NaN', 9999999.999, 9999900, 0.000999, '92233720368547758.07', true),
    (4, -32768, -2147483648, -9223372036854775808, -3.4028235e38, -1.7976931348623157e308, 'Infinity', 'NaN', -9999900, -0.000999, '-92233720368547758.08', false),
    (5, 1, 1, 1, 1e-45, 5e-324, '-Infinity', -9999999.999, 100, 0.000001, '0.01', true),
    (6, -1, -1, -1, '-0', '-0', 0.00, 0.000, 0, 0, '-0.01', false),
    (7, 10, 10, 10, 'NaN', 'NaN', 1.10, 1.1, 'NaN', 'NaN', '1,000.00', true),
    (8, 11, 11, 11, 'Infinity', 'Infinity', 1.100000000000000000000000000000, 1, 100, 0, 1, NULL),
    (9, 12, 12, 12, '-Infinity', '-Infinity', 1e-1000, 0.001, 100, 0, 1, NULL),
    (10, 13, 13, 13, 0.1, 0.1, 1e1000, 0.001, 100, 0, 1, NULL),
    (11, 14, 14, 14, 1.17549435e-38, 2.2250738585072014e-308, -5e-16383, -0.001, 100, 0, 1, NULL),
    (12, 15, 15, 15, 16777217, 9007199254740993, 9999e131068, 0.001, 100, 0, 1, NULL),
    (13, 16, 16, 16, 0.30000001, 0.1::float8 + 0.2, 10000.0001, 0.001, 100, 0, 1, NULL);

CREATE TABLE alltypes.texts (
    id integer PRIMARY KEY,
    text text, varchar varchar, limited varchar(10), bpchar bpchar, padded char(10), one char, name name, "char" "char", bytea bytea, c text COLLATE "C"
);
INSERT INTO alltypes.texts VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, '', '', '', '', '', '', '', '', '', ''),
    (3, ' ', '  ', '   ', 'a  ', 'a  ', ' ', 'a  ', ' ', '\x00', ' '),
    (4, 'NULL', 'null', '\N', '\N', '\N', '\', 'NULL', '\', '\x000102fdfeff', E'\\N'),
    (5, E'\t\n\r\b\f\v', E'\\t', E'a\nb', E'\r\n', E'\t', E'\n', E'a\tb', E'\n', '\x0a0d09', E'\\.'),
    (6, '''', '''''', '"', '""', '''"', '"', 'it''s "q"', '"', '\x27225c', E'\n\\.\n'),
    (7, '{}', '{a,b}', '(a,b)', '[1,2)', '{"a"}', ',', '{NULL}', ',', '\x', '(,)'),
    (8, '$1', '%s', '$$', ':x', '--', ';', '$tag$', '%', '\xdeadbeef', '/* */'),
    (9, 'ünïcødé ✓ 🐘 日本語', 'e' || U&'\0301', '🐘🐘🐘🐘🐘🐘🐘🐘🐘🐘', '🐘', 'äöü', 'ß', 'Größe 🐘', 'z', convert_to('🐘', 'UTF8'), U&'\FFFD'),
    (10, U&'\200B\200E\202E\FEFF', U&'\+10FFFF', U&'\0001\001F\007F', U&'\0080\009F', U&'\E000', U&'\+01F600', repeat('n', 63), '~', '\x5c5c303030', U&'\2028\2029'),
    (11, repeat('compressible ', 30000), repeat('x', 3000), repeat('ä', 10), repeat(' ', 50), repeat('b', 10), 'b', repeat('ä', 31), 'b', decode(repeat('00ff', 50000), 'hex'), repeat('.', 2000)),
    (12, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 8000) i), 'b', 'b', 'b', 'b', 'b', 'b', 'b', (SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 8000) i), 'b');

CREATE TABLE alltypes.times (
    id integer PRIMARY KEY,
    date date, time time, time0 time(0), timetz timetz, timestamp timestamp, timestamp3 timestamp(3), timestamptz timestamptz, timestamptz0 timestamptz(0),
    interval interval, years interval year to month, seconds interval second(2)
);
INSERT INTO alltypes.times VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, '4714-11-24 BC', '00:00', '00:00', '00:00:00+15:59:59', '4714-11-24 00:00:00 BC', '4714-11-24 00:00:00 BC', '4714-11-24 00:00:00+00 BC', '4714-11-24 00:00:00+00 BC',
        '-178000000 years', '-178000000 years', '-00:00:00.01'),
    (3, '5874897-12-31', '24:00', '24:00', '24:00:00-15:59:59', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999', '294276-12-31 23:59:59.999999+00', '294276-12-31 23:59:59+00',
        '178000000 years', '178000000 years', '00:00:59.99'),
    (4, 'infinity', '23:59:59.999999', '23:59:59', '23:59:59.999999+00', 'infinity', 'infinity', 'infinity', 'infinity', '2562047788:00:54.775807', '0', '0'),
    (5, '-infinity', '12:34:56.7', '12:34:56', '12:34:56.7-08', '-infinity', '-infinity', '-infinity', '-infinity', '-2562047788:00:54.775807', '1 mon', '1'),
    (6, '0001-12-31 BC', '00:00:00.000001', '00:00:01', '00:00:00.000001+05:30', '0001-12-31 23:59:59.999999 BC', '2000-01-01', '0001-01-01 00:00:00+00', '1969-12-31 23:59:59+00',
        '2147483647 days -2147483647 mons 00:00:00.000001', '-1 mon', '-1'),
    (7, '1900-02-28', '01:02:03', '01:02:03', '01:02:03+00:00:01', '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59.999', '2024-03-31 01:30:00+00', '2038-01-19 03:14:08+00',
        '1 year -2 mons 3 days -04:05:06.789', '1 year 1 mon', '12.34'),
    (8, '2024-02-29', '01:02:03', '01:02:03', '01:02:03', '2024-02-29 12:00', '2024-02-29 12:00', '2024-10-27 01:30:00+01', '1883-11-18 12:03:58-04:56:02', '-1 mons +30 days', '1 year', '0.5');

CREATE TABLE alltypes.trees (
    id integer PRIMARY KEY,
    json json, jsonb jsonb, jsonpath jsonpath, xml xml
);
INSERT INTO alltypes.trees VALUES
    (1, NULL, NULL, NULL, NULL),
    (2, 'null', 'null', '$', ''),
    (3, '{}', '{}', 'strict $.a[*] ? (@.b == "x\"y")', '<a/>'),
    (4, ' { "a" : 1 , "a" : 2, "" : [ ] } ', '{"a": 1, "a": 2, "": []}', 'lax $."key with $1"[0 to last]', '<?xml version="1.0"?><a b="c">d &amp; e</a>'),
    (5, '"\u0001\ud83d\ude00 \\ \" / \/"', '"\ud83d\ude00 \\ \" / \/ \u000b"', '$ ? (@ like_regex "^a.*\\d" flag "i")', 'text <b>and</b> elements'),
    (6, '[1e400, -0, 0.10, 1.0]', '[1e400, -0, 0.10, 1.0, 123456789012345678901234567890.123456789]', '$.**{2 to 3}.a', '<!-- comment --><a><![CDATA[<&]]></a>'),
    (7, '[[[[[[[[[[[[]]]]]]]]]]]]', '[[[[[[[[[[[[]]]]]]]]]]]]', '($.a + 1) * 2', '<ä>ünïcødé 🐘</ä>'),
    (8, ('{"long": "' || repeat('x', 20000) || '"}')::json, ('{"long": "' || repeat('x', 20000) || '"}')::jsonb, '$.datetime()', ('<a>' || repeat('x', 20000) || '</a>')::xml);

CREATE TABLE alltypes.networks (
    id integer PRIMARY KEY,
    uuid uuid, inet inet, cidr cidr, macaddr macaddr, macaddr8 macaddr8, bit bit, bits bit(9), varbit varbit, varbits varbit(20)
);
INSERT INTO alltypes.networks VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, '00000000-0000-0000-0000-000000000000', '0.0.0.0', '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', B'0', B'000000000', B'', B''),
    (3, 'ffffffff-ffff-ffff-ffff-ffffffffffff', '255.255.255.255/0', '255.255.255.255/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', B'1', B'111111111', B'1', repeat('1', 20)::varbit),
    (4, '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', '192.168.1.5/24', '192.168.1.0/24', '08002b:010203', '08:00:2b:01:02:03', B'0', B'101010101', B'101010101', B'01'),
    (5, '12345678-1234-1234-1234-123456789abc', '::', '::/0', '08:00:2b:01:02:03', '08:00:2b:ff:fe:01:02:03', B'1', B'000000001', repeat('10', 5000)::varbit, B'0'),
    (6, '12345678-1234-1234-1234-123456789abd', '::ffff:1.2.3.4/128', '2001:4f8:3:ba::/64', '08:00:2b:01:02:04', '08:00:2b:01:02:03:04:05', B'1', B'100000000', B'00000000', B'0'),
    (7, '12345678-1234-1234-1234-123456789abe', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/1', 'fe80::/10', '08:00:2b:01:02:05', '02:00:00:00:00:00:00:01', B'1', B'011111110', B'11111111', B'1');

CREATE TABLE alltypes.shapes (
    id integer PRIMARY KEY,
    point point, line line, lseg lseg, box box, path path, polygon polygon, circle circle
);
INSERT INTO alltypes.shapes VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, '(0,0)', '{1,0,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '[(0,0)]', '((0,0))', '<(0,0),0>'),
    (3, '(-0,-0)', '{-1,-0.5,1e300}', '[(-0,1),(2,-3)]', '(2,3),(-1,-2)', '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(-1,-2.5),3.5>'),
    (4, '(Infinity,-Infinity)', '{0,1,-Infinity}', '[(Infinity,0),(0,-Infinity)]', '(Infinity,Infinity),(-Infinity,-Infinity)', '[(Infinity,0),(1,-Infinity)]', '((1,Infinity),(2,3))', '<(Infinity,0),Infinity>'),
    (5, '(NaN,NaN)', '{1,NaN,1}', '[(NaN,0),(0,1)]', '(1.5,2.5),(0.1,0.2)', '[(NaN,0),(1,1)]', '((0.1,0.2),(0.30000000000000004,5e-324))', '<(0.1,0.2),1e308>'),
    (6, '(1.7976931348623157e308,5e-324)', '{0.1,0.2,0.3}', '[(1,2),(3,4)]', '(3,4),(1,2)', (SELECT string_agg('(' || i || ',' || i * 2 || ')', ',') FROM generate_series(1, 1000) i)::path,
        (SELECT '(' || string_agg('(' || i || ',' || i * i || ')', ',') || ')' FROM generate_series(1, 1000) i)::polygon, '<(1,1),1>');

CREATE TABLE alltypes.searches (
    id integer PRIMARY KEY,
    tsvector tsvector, tsquery tsquery
);
INSERT INTO alltypes.searches VALUES
    (1, NULL, NULL),
    (2, '', ''),
    (3, 'a:1A fat:2B,4C cat:5D', 'fat & (rat | cat) & !dog'),
    (4, '''it''''s'' ''two words'' ''\\back'' '' ''', 'super:*AB & ''two words'' <-> x <3> y'),
    (5, 'word:16383 ünïcødé:1', '!(a <-> !b)'),
    (6, (SELECT string_agg(md5(i::text) || ':' || i, ' ') FROM generate_series(1, 2000) i)::tsvector, (SELECT string_agg(md5(i::text), ' | ') FROM generate_series(1, 100) i)::tsquery);

CREATE TABLE alltypes.ranges (
    id integer PRIMARY KEY,
    int4range int4range, int8range int8range, numrange numrange, tsrange tsrange, tstzrange tstzrange, daterange daterange,
    int4multirange int4multirange, int8multirange int8multirange, nummultirange nummultirange, tsmultirange tsmultirange, tstzmultirange tstzmultirange, datemultirange datemultirange
);
INSERT INTO alltypes.ranges VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, 'empty', 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}', '{}', '{}', '{}', '{}'),
    (3, '(,)', '(,)', '(,)', '(,)', '(,)', '(,)', '{(,)}', '{(,)}', '{(,)}', '{(,)}', '{(,)}', '{(,)}'),
    (4, '[1,)', '(,1]', '(1.0,)', '[2024-01-01,)', '(,2024-01-01 00:00:00+02]', '[2024-01-01,2024-02-01]', '{[1,3),[5,7)}', '{(,5),[7,)}', '{[1.5,2.50],(3,4)}',
        '{[2024-01-01,2024-02-01),(2024-02-01,2024-03-01]}', '{(,2024-01-01 00:00:00+00),[2025-01-01 00:00:00+00,)}', '{[2024-01-01,2024-02-01),[2024-02-02,)}'),
    (5, '[-2147483648,2147483646]', '[-9223372036854775808,9223372036854775806]', '[NaN,NaN]', '[-infinity,infinity]', '[-infinity,infinity)', '[-infinity,infinity]',
        '{[-2147483648,2147483646]}', '{[-9223372036854775808,9223372036854775806]}', '{[-Infinity,0),(0,NaN]}', '{[-infinity,infinity]}', '{(-infinity,infinity)}', '{[-infinity,infinity]}'),
    (6, '[1,1]', '[1,2)', '[1.0,1.00]', '["0001-01-01 00:00:00 BC","0001-01-01 00:00:00")', '["4714-11-24 00:00:00+00 BC","294276-12-31 23:59:59.999999+00"]', '["4714-11-24 BC","5874897-12-30"]',
        (SELECT range_agg(int4range(2 * i, 2 * i + 1)) FROM generate_series(1, 1000) i), '{[1,2)}', '{[1.0,1.00]}', '{}', '{}', '{}');

CREATE TABLE alltypes.internals (
    id integer PRIMARY KEY,
    oid oid, regclass regclass, regcollation regcollation, regconfig regconfig, regdictionary regdictionary, regnamespace regnamespace,
    regoper regoper, regoperator regoperator, regproc regproc, regprocedure regprocedure, regrole regrole, regtype regtype,
    pg_lsn pg_lsn, xid xid, xid8 xid8, cid cid, tid tid, pg_snapshot pg_snapshot, txid_snapshot txid_snapshot, refcursor refcursor, aclitem aclitem
);
-- regclass and regtype of tables made here: the same name is another OID elsewhere.
INSERT INTO alltypes.internals VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, 0, '-', '-', '-', '-', '-', '0', '0', '-', '-', '-', '-', '0/0', '0', '0', '0', '(0,0)', '1:1:', '1:1:', '', '=/postgres'),
    (3, 4294967295, 'pg_class', '"C"', 'english', 'simple', 'pg_catalog', '||/', '+(integer,integer)', 'now', 'lower(text)', 'postgres', 'integer', 'FFFFFFFF/FFFFFFFF', '4294967295', '18446744073709551615', '4294967295',
        '(4294967295,65535)', '10:20:10,14,15', '10:20:10,14,15', 'cursor "1"', 'postgres=arwdDxt/postgres'),
    (4, 1, 'alltypes.numbers', '"POSIX"', 'german', 'english_stem', 'alltypes', '!!', '-(none,integer)', 'int4in', 'abs(integer)', 'pg_monitor', 'alltypes.numbers', '0/16B3748', '3', '3', '1',
        '(42,7)', '9223372036854775000:9223372036854775807:', '1:9223372036854775807:', 'ünïcødé', 'pg_monitor=r*/postgres'),
    (5, 2147483648, 'alltypes.texts', 'default', 'simple', 'simple', 'pg_toast', '|/', '||(text,text)', 'int8in', 'pg_sleep(double precision)', 'postgres', 'timestamp with time zone[]',
        '1/0', '2147483648', '4294967296', '2', '(0,1)', '1:2:1', '1:2:1', 'x', 'postgres=r/postgres');

-- Vectors are arrays by themselves, so their arrays are written here.
CREATE TABLE alltypes.vectors (
    id integer PRIMARY KEY,
    int2vector int2vector, oidvector oidvector, int2vectors int2vector[], oidvectors oidvector[]
);
INSERT INTO alltypes.vectors VALUES
    (1, NULL, NULL, NULL, NULL),
    (2, '', '', '{}', '{}'),
    (3, '32767 -32768 0', '4294967295 0 1', '{"1 2","",NULL,"-3"}', '{"1 2","",NULL,"3"}');

-- Types made by users, in a schema with a name.
CREATE SCHEMA "all ""Types"" $1";
CREATE TYPE "all ""Types"" $1".mood AS ENUM ('sad', '', 'it''s "quoted"', 'two words, {braces} \back', 'ünïcødé 🐘', 'NULL');
CREATE TYPE "all ""Types"" $1"."Pair ""1""" AS ("select" integer, "b ""c""" text);
CREATE TYPE "all ""Types"" $1".nested AS (pair "all ""Types"" $1"."Pair ""1""", moods "all ""Types"" $1".mood[], pairs "all ""Types"" $1"."Pair ""1"""[], at timestamptz, data bytea);
CREATE TYPE "all ""Types"" $1".floats AS RANGE (subtype = float8, multirange_type_name = "all ""Types"" $1".many_floats);
CREATE TYPE "all ""Types"" $1".strings AS RANGE (subtype = text, collation = "C");
CREATE DOMAIN "all ""Types"" $1".positive AS integer CHECK (VALUE > 0);
CREATE DOMAIN "all ""Types"" $1".very_positive AS "all ""Types"" $1".positive CHECK (VALUE > 10);
CREATE DOMAIN "all ""Types"" $1".short AS varchar(5);
CREATE DOMAIN "all ""Types"" $1".list AS integer[] CHECK (array_ndims(VALUE) = 1 OR VALUE = '{}');
CREATE DOMAIN "all ""Types"" $1".feeling AS "all ""Types"" $1".mood;
CREATE DOMAIN "all ""Types"" $1".couple AS "all ""Types"" $1"."Pair ""1""";
CREATE DOMAIN "all ""Types"" $1".stretch AS "all ""Types"" $1".floats;
CREATE TABLE alltypes.users (
    id integer PRIMARY KEY,
    mood "all ""Types"" $1".mood, pair "all ""Types"" $1"."Pair ""1""", nested "all ""Types"" $1".nested,
    floats "all ""Types"" $1".floats, many_floats "all ""Types"" $1".many_floats, strings "all ""Types"" $1".strings,
    positive "all ""Types"" $1".positive, very_positive "all ""Types"" $1".very_positive, short "all ""Types"" $1".short, list "all ""Types"" $1".list,
    feeling "all ""Types"" $1".feeling, couple "all ""Types"" $1".couple, stretch "all ""Types"" $1".stretch, "row" alltypes.vectors
);
INSERT INTO alltypes.users VALUES
    (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, 'sad', '(,)', '(,,,,)', 'empty', '{}', 'empty', 1, 11, '', '{}', 'sad', '(,)', 'empty', '(,,,,)'),
    (3, '', '(1,"")', '("(1,a)","{sad,NULL,\"\"}","{\"(1,\\\"x, y\\\")\"}",infinity,"\\x00ff")', '[1.5,2.5)', '{[1,2),(3,Infinity]}', '[")","a,b"]', 2147483647, 2147483647, 'ünïcø', '{1,NULL,3}', '', '(-1,")(")', '(,)', '(1,1 2,,"{""1 2""}",)'),
    (4, 'it''s "quoted"', '(2147483647,"q"" \\ ,()")', '("(,)",{},{},-infinity,"")', '[-Infinity,Infinity]', '{(,)}', '["","z"]', 2, 12, '     ', '[5:7]={1,2,3}', 'it''s "quoted"', '(0,NULL)', '[0.1,0.2]', NULL),
    (5, 'two words, {braces} \back', ROW(5, E'tab\tnl\n'), NULL, '[-0,0]', '{[0,0]}', '(,"""")', 3, 13, 'x', '{3,2,1}', 'two words, {braces} \back', ROW(5, E'tab\tnl\n'), '[0,)', NULL),
    (6, 'ünïcødé 🐘', ROW(6, ''), NULL, '(5e-324,1e308)', NULL, '(a,b)', 3, 13, 'x', NULL, 'ünïcødé 🐘', ROW(NULL, repeat('x', 5000)), NULL, NULL),
    (7, 'NULL', ROW(6, 'NULL'), NULL, NULL, NULL, NULL, 3, 13, 'NULL', NULL, 'NULL', ROW(NULL, 'NULL'), NULL, NULL);

-- Types of extensions, where they can be had.
CREATE TABLE alltypes.extensions (id integer PRIMARY KEY);
DO $do$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('citext', ARRAY['', 'MiXeD', 'mixed', 'ÄÖ"'' \']),
            ('hstore', ARRAY['', 'a=>1, b=>NULL, ""=>"", "k \"q\" \\"=>"v, =>"', '"NULL"=>"NULL"', 'ü=>🐘']),
            ('ltree', ARRAY['', 'Top.Science.Astronomy', 'a', '1_x.2']),
            ('cube', ARRAY['(0)', '(1,2),(3,4)', '(1e300,-0.5)', '(0,0,0)']),
            ('isn', NULL), ('seg', ARRAY['1 .. 2', '<1', '~5', '1.50 .. 2.0'])
        ) AS w(extension, samples) JOIN pg_available_extensions ON name = extension ORDER BY 1
    LOOP
        EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA alltypes', wanted.extension);
        CONTINUE WHEN wanted.samples IS NULL;
        EXECUTE format('ALTER TABLE alltypes.extensions ADD COLUMN %I alltypes.%1$I', wanted.extension);
        FOR i IN 1..4 LOOP
            EXECUTE format('INSERT INTO alltypes.extensions (id, %I) VALUES (%s, %L) ON CONFLICT (id) DO UPDATE SET %1$I = excluded.%1$I', wanted.extension, i + 1, wanted.samples[i]);
        END LOOP;
    END LOOP;
    INSERT INTO alltypes.extensions (id) VALUES (1);
END $do$;

-- What later versions have more.
DO $do$
BEGIN
    IF current_setting('server_version_num')::integer >= 170000 THEN
        INSERT INTO alltypes.times (id, interval, years) VALUES (9, 'infinity', '-infinity');
    END IF;
END $do$;

-- An array of each column: NULL, empty, of all rows, two and three dimensions, other bounds.
DO $do$
DECLARE
    original record;
    col record;
BEGIN
    FOR original IN
        SELECT c.oid, relname AS name, relname || '_arrays' AS arrays FROM pg_class c
        WHERE relnamespace = 'alltypes'::regnamespace AND relkind = 'r' AND relname NOT IN ('vectors') ORDER BY relname
    LOOP
        EXECUTE format('CREATE TABLE alltypes.%I (id integer PRIMARY KEY)', original.arrays);
        EXECUTE format('INSERT INTO alltypes.%I SELECT * FROM generate_series(1, 7)', original.arrays);
        FOR col IN
            SELECT quote_ident(attname) AS name, format_type(typarray, atttypmod) AS type, format_type(t.oid, NULL) AS element FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
            WHERE attrelid = original.oid AND attnum > 1 AND NOT attisdropped ORDER BY attnum
        LOOP
            EXECUTE format('ALTER TABLE alltypes.%I ADD COLUMN %s %s', original.arrays, col.name, col.type);
            EXECUTE format('UPDATE alltypes.%I SET %s = ''{}'' WHERE id = 2', original.arrays, col.name);
            -- A domain over an array cannot be put into an array by array_agg, nor by a constructor.
            CONTINUE WHEN col.element LIKE '%.list';
            EXECUTE format('UPDATE alltypes.%1$I SET %2$s = (SELECT array_agg(%2$s ORDER BY id) FROM alltypes.%3$I) WHERE id = 3', original.arrays, col.name, original.name);
            EXECUTE format('UPDATE alltypes.%1$I SET %2$s = (SELECT ARRAY[ARRAY[a.%2$s, b.%2$s], ARRAY[b.%2$s, a.%2$s]] FROM alltypes.%3$I a, alltypes.%3$I b WHERE a.id = 2 AND b.id = 3) WHERE id = 4',
                original.arrays, col.name, original.name);
            EXECUTE format('UPDATE alltypes.%1$I SET %2$s[-2:0] = (SELECT array_agg(%2$s ORDER BY id) FROM alltypes.%3$I WHERE id < 4) WHERE id = 5', original.arrays, col.name, original.name);
            EXECUTE format('UPDATE alltypes.%1$I SET %2$s = (SELECT ARRAY[[[a.%2$s]], [[b.%2$s]]] FROM alltypes.%3$I a, alltypes.%3$I b WHERE a.id = 4 AND b.id = 1) WHERE id = 6',
                original.arrays, col.name, original.name);
            EXECUTE format('UPDATE alltypes.%1$I SET %2$s = ARRAY[NULL]::%3$s WHERE id = 7', original.arrays, col.name, col.type);
        END LOOP;
    END LOOP;
END $do$;

-- Every column without a default and without a key: nothing but its values tells a row.
CREATE TABLE alltypes.one_column (only_one text);
ALTER TABLE alltypes.one_column REPLICA IDENTITY FULL;
INSERT INTO alltypes.one_column VALUES (NULL), (NULL), (''), ('\N'), ('\.'), (E'\n'), ('x'), ('x');

RESET ALL;

-- CHANGES

SET client_min_messages = warning;
SET TimeZone = 'UTC';
SET search_path = pg_catalog;

-- All rows again, under new ids: what was copied comes by INSERT.
DO $do$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT relname AS name, (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 1 AND NOT attisdropped) AS columns
        FROM pg_class c WHERE relnamespace = 'alltypes'::regnamespace AND relkind = 'r' AND relname <> 'one_column' ORDER BY relname
    LOOP
        EXECUTE format('INSERT INTO alltypes.%1$I (id, %2$s) SELECT id + 1000, %2$s FROM alltypes.%1$I', t.name, t.columns);
        COMMIT;
        -- Each row takes the values of the next one: all come by UPDATE, also NULLs.
        EXECUTE format('UPDATE alltypes.%1$I t SET (%2$s) = (SELECT %2$s FROM alltypes.%1$I o WHERE o.id = CASE WHEN EXISTS (SELECT FROM alltypes.%1$I n WHERE n.id = t.id + 1) THEN t.id + 1 ELSE 1 END) WHERE id < 1000',
            t.name, t.columns);
        COMMIT;
        -- Keys change, the rest stays, out of line too.
        EXECUTE format('UPDATE alltypes.%I SET id = id + 5000 WHERE id %% 3 = 0', t.name);
        COMMIT;
        EXECUTE format('DELETE FROM alltypes.%I WHERE id %% 7 = 0', t.name);
        COMMIT;
        -- Written twice and deleted in one transaction.
        EXECUTE format('INSERT INTO alltypes.%1$I (id, %2$s) SELECT id + 20000, %2$s FROM alltypes.%1$I WHERE id < 1000', t.name, t.columns);
        EXECUTE format('UPDATE alltypes.%I SET id = id + 1 WHERE id = (SELECT max(id) FROM alltypes.%1$I)', t.name);
        EXECUTE format('DELETE FROM alltypes.%I WHERE id > 20000 AND id %% 2 = 0', t.name);
        COMMIT;
    END LOOP;
END $do$;

UPDATE alltypes.one_column SET only_one = 'was null' WHERE ctid = (SELECT min(ctid) FROM alltypes.one_column WHERE only_one IS NULL);
DELETE FROM alltypes.one_column WHERE ctid = (SELECT min(ctid) FROM alltypes.one_column WHERE only_one = 'x');

UPDATE alltypes.one_column SET only_one = NULL WHERE only_one = '\.';
INSERT INTO alltypes.one_column VALUES (repeat('x', 100000)), (NULL);
UPDATE alltypes.one_column SET only_one = only_one || 'y' WHERE length(only_one) > 10;

RESET ALL;
