-- The tables of the ledger workload (package integration/ledger), for a source
-- database of PostgreSQL 15 or newer. Every table has what makes replication
-- wrong when it is done carelessly.
--
-- Every row that can be followed by itself has a version, taken from one
-- sequence whenever the row is written, and tx, its last writer. A transaction
-- says in ledger.writes what it wrote, and in ledger.txs how much that is. So a
-- snapshot of any copy can be checked in itself: the last version that writes
-- speaks of is the version of the row.
--
-- Tables spread over shards have their sharding key, one of the columns account
-- (bigint), document (uuid) and label (text), in their replica identity. The
-- others (txs, writes, epochs, settings) are for every shard.

CREATE SCHEMA ledger;
CREATE SCHEMA "Weird ""Name"" $1";

CREATE SEQUENCE ledger.runs;
CREATE SEQUENCE ledger.versions;

CREATE TYPE ledger.mood AS ENUM ('sad', 'ok', 'happy', 'it''s "quoted"', 'two words, {braces}');
CREATE DOMAIN ledger.positive AS numeric(20, 4) CHECK (VALUE > 0);
CREATE DOMAIN ledger.codes AS text[] CHECK (array_length(VALUE, 1) < 100);
CREATE TYPE ledger.address AS (street text, number integer, mood ledger.mood);
CREATE TYPE ledger.person AS (name text, home ledger.address, moods ledger.mood[]);
CREATE TYPE ledger.span AS RANGE (subtype = float8, multirange_type_name = ledger.spans);
CREATE TYPE "Weird ""Name"" $1"."Weird ""Type"" $1" AS ENUM ('Weird "Value" $1', '');

-- For every shard.

CREATE TABLE ledger.txs (
    id bigint PRIMARY KEY,
    worker integer NOT NULL,
    kinds text NOT NULL,
    writes integer NOT NULL
);

-- A row written (id, version) or, where rows cannot be told apart, an amount
-- added to what its table holds for key.
CREATE TABLE ledger.writes (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx bigint NOT NULL,
    object text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    id text COLLATE "C",
    version bigint,
    gone boolean NOT NULL DEFAULT false,
    epoch integer,
    amount bigint,
    CHECK (num_nonnulls(id, version) = 2 AND amount IS NULL OR num_nonnulls(id, version) = 0 AND amount IS NOT NULL)
);

CREATE TABLE ledger.epochs (
    epoch integer PRIMARY KEY,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);

CREATE TABLE ledger.settings (
    name text PRIMARY KEY,
    value text,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);

-- By account.

CREATE TABLE ledger.accounts (
    account bigint PRIMARY KEY,
    opening bigint NOT NULL,
    balance bigint NOT NULL,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);

CREATE TABLE ledger.journal (
    account bigint REFERENCES ledger.accounts,
    tx bigint,
    n integer,
    amount bigint NOT NULL,
    PRIMARY KEY (account, tx, n)
);

-- Filled by a trigger on the source: must not fire where changes are applied.
CREATE TABLE ledger.audits (
    account bigint,
    version bigint,
    balance bigint NOT NULL,
    PRIMARY KEY (account, version)
);

CREATE FUNCTION ledger.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger.audits VALUES (NEW.account, NEW.version, NEW.balance);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON ledger.accounts FOR EACH ROW EXECUTE FUNCTION ledger.audit();

-- Values that are unique and swapped between rows within one transaction.
CREATE TABLE ledger.seats (
    account bigint,
    item bigint,
    owner integer NOT NULL,
    place integer NOT NULL UNIQUE,
    later integer NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED,
    span int4range NOT NULL,
    span_later int4range NOT NULL,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, item),
    EXCLUDE USING gist (span WITH &&),
    EXCLUDE USING gist (span_later WITH &&) DEFERRABLE INITIALLY DEFERRED
);

-- Primary keys that are shifted along a chain, swapped, and moved to another account.
CREATE TABLE ledger.chains (
    account bigint,
    position integer,
    item bigint NOT NULL UNIQUE,
    owner integer NOT NULL,
    payload text,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, position)
);

-- Rows that move between partitions.
CREATE TABLE ledger.parcels (
    account bigint,
    item bigint,
    weight integer,
    zone text,
    owner integer NOT NULL,
    payload text,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, item, weight, zone)
) PARTITION BY RANGE (weight);
CREATE TABLE ledger.parcels_light PARTITION OF ledger.parcels FOR VALUES FROM (MINVALUE) TO (100);
CREATE TABLE ledger.parcels_heavy PARTITION OF ledger.parcels FOR VALUES FROM (100) TO (1000) PARTITION BY LIST (zone);
CREATE TABLE ledger.parcels_heavy_north PARTITION OF ledger.parcels_heavy FOR VALUES IN ('north', 'arctic');
-- Made on its own, with its columns in another order.
CREATE TABLE ledger.parcels_heavy_south (
    tx bigint NOT NULL, version bigint NOT NULL DEFAULT nextval('ledger.versions'), gone_by_now text, payload text, owner integer NOT NULL,
    zone text NOT NULL, weight integer NOT NULL, item bigint NOT NULL, account bigint NOT NULL
);
ALTER TABLE ledger.parcels_heavy_south DROP COLUMN gone_by_now;
ALTER TABLE ledger.parcels_heavy ATTACH PARTITION ledger.parcels_heavy_south FOR VALUES IN ('south');
CREATE TABLE ledger.parcels_heavy_other PARTITION OF ledger.parcels_heavy DEFAULT;
CREATE TABLE ledger.parcels_rest PARTITION OF ledger.parcels DEFAULT;

-- No key: NULLs, duplicates.
CREATE TABLE ledger.notes (
    account bigint NOT NULL,
    owner integer NOT NULL,
    body text,
    mark numeric,
    at timestamptz
);
ALTER TABLE ledger.notes REPLICA IDENTITY FULL;

-- No key, and types that have no equality, or one that is not identity (1.0 = 1.00).
CREATE TABLE ledger.scraps (
    account bigint NOT NULL,
    owner integer NOT NULL,
    doc json,
    page xml,
    spot point,
    ratio numeric,
    body text
);
ALTER TABLE ledger.scraps ALTER COLUMN body SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;

-- An identity that is not the primary key.
CREATE TABLE ledger.badges (
    item bigint PRIMARY KEY,
    account bigint NOT NULL,
    code text NOT NULL,
    owner integer NOT NULL,
    payload text,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);
CREATE UNIQUE INDEX badges_identity ON ledger.badges (account, code);
ALTER TABLE ledger.badges REPLICA IDENTITY USING INDEX badges_identity;

CREATE TABLE ledger.invoices (
    account bigint,
    item bigint GENERATED ALWAYS AS IDENTITY,
    owner integer NOT NULL,
    net numeric(14, 2) NOT NULL,
    gross numeric GENERATED ALWAYS AS (net * 1.19) STORED,
    tax numeric(14, 2),
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, item)
);

CREATE TABLE ledger.fancies (
    account bigint,
    item bigint,
    owner integer NOT NULL,
    mood ledger.mood,
    moods ledger.mood[],
    price ledger.positive,
    prices ledger.positive[],
    codes ledger.codes,
    home ledger.address,
    homes ledger.address[],
    person ledger.person,
    span ledger.span,
    spans ledger.spans,
    numbers int8multirange,
    during tstzrange,
    duringly tstzrange[],
    matrix integer[],
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, item)
);

CREATE TABLE "Weird ""Name"" $1"."Weird ""Name"" $1" (
    "Weird ""Item"" $1" bigint,
    account bigint,
    "select" text,
    "Upper, 'Case'" text,
    "ünï;--\" text,
    "Weird ""Name"" $1" "Weird ""Name"" $1"."Weird ""Type"" $1",
    "$2" "Weird ""Name"" $1"."Weird ""Type"" $1"[],
    owner integer NOT NULL,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    CONSTRAINT "Weird ""Key"" $1" PRIMARY KEY (account, "Weird ""Item"" $1")
);

-- Truncated now and then; the epoch is counted up in the same transaction.
CREATE TABLE ledger.events (
    account bigint,
    item bigint,
    epoch integer NOT NULL,
    payload text,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL,
    PRIMARY KEY (account, item)
);
CREATE TABLE ledger.event_tags (
    tag bigint GENERATED BY DEFAULT AS IDENTITY,
    account bigint,
    item bigint,
    epoch integer NOT NULL,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    PRIMARY KEY (account, item, tag),
    FOREIGN KEY (account, item) REFERENCES ledger.events
);

-- What transactions larger than memory write.
CREATE TABLE ledger.bulk (
    account bigint,
    item bigint,
    value bigint NOT NULL,
    batch bigint NOT NULL,
    payload text,
    PRIMARY KEY (account, item)
);
CREATE INDEX ON ledger.bulk (batch);

-- By uuid: columns that are stored out of line.
CREATE TABLE ledger.documents (
    document uuid PRIMARY KEY,
    item bigint NOT NULL UNIQUE,
    owner integer NOT NULL,
    title text,
    body text,
    data bytea,
    extra jsonb,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);
ALTER TABLE ledger.documents ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN data SET STORAGE EXTERNAL;

-- By text.
CREATE TABLE ledger.labels (
    label text PRIMARY KEY,
    owner integer NOT NULL,
    used integer NOT NULL,
    version bigint NOT NULL DEFAULT nextval('ledger.versions'),
    tx bigint NOT NULL
);

CREATE INDEX ON ledger.chains (owner);
CREATE INDEX ON ledger.parcels (owner);
CREATE INDEX ON ledger.notes (owner);
CREATE INDEX ON ledger.badges (owner);
CREATE INDEX ON ledger.invoices (owner);
CREATE INDEX ON ledger.fancies (owner);
CREATE INDEX ON ledger.documents (owner);
