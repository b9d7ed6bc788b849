// Package ledger proves that a copy of a database is right: a workload that
// writes to a source in all the ways that make replication hard, and checks of
// what arrived.
//
//   - Setup makes the tables (testdata/ledger.sql) and first rows, Start begins
//     concurrent transactions and Stop ends them.
//   - CheckWhole finds, on one destination shard and at any time while changes
//     are applied there, transactions of which only a part is visible.
//   - Workload.CheckAcknowledged finds acknowledged transactions that are
//     missing, and rolled back ones that are there.
//   - Same compares tables row by row.
//   - LoadAllTypes and ChangeAllTypes bring values of every built-in type.
//
// It is used by tests and benchmarks alone.
package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

// Options describe a workload. Setup and Start of one database are given the
// same ones.
type Options struct {
	// Seed makes the choices of each worker; how workers interleave is the server's.
	Seed uint64
	// Accounts is the number of accounts, 60 if 0. Few mean more waiting for locks.
	Accounts int
	// Workers is the number of connections that write at the same time, 4 if 0.
	Workers int
	// Initial is the number of transactions that Setup runs for each worker, 20 if 0.
	Initial int
	// Rate is the number of transactions per second of all workers, 0 for as many as go.
	Rate float64
	// BigRows is the number of rows that a big transaction inserts (it updates
	// and deletes about as many more), of some 200 bytes each; 0 for no big
	// transactions. Setup puts as many there.
	BigRows int
	// BigEvery makes each n-th transaction of a worker a big one, 200 if 0.
	BigEvery int
	// PreparedTransactions has some transactions committed or rolled back in
	// two phases. The source needs max_prepared_transactions > Workers.
	PreparedTransactions bool
	// Without are kinds of writes that are left out, for what is applied by
	// something that cannot do them.
	Without []Kind
	// Most is the number of writes in one transaction at most, 4 if 0. Big ones have more.
	Most int
}

func (o Options) complete() Options {
	or := func(value *int, otherwise int) {
		if *value == 0 {
			*value = otherwise
		}
	}
	or(&o.Accounts, 60)
	or(&o.Workers, 4)
	or(&o.Initial, 20)
	or(&o.BigEvery, 200)
	or(&o.Most, 4)
	return o
}

// Shard tells what a destination holds: all, or what PostgreSQL's hash partitioning
// with Of partitions puts into the partition of remainder Index.
type Shard struct {
	Index int
	Of    int
}

// Unsharded is a destination that holds everything.
var Unsharded = Shard{Index: 0, Of: 1}

func (s Shard) String() string { return fmt.Sprintf("shard %d of %d", s.Index, s.Of) }

// ShardedTables is the part of pgdog.toml that spreads the workload's tables
// over the shards of a database. Its other tables are for every shard.
func ShardedTables(database string) string {
	return fmt.Sprintf(`
[[sharded_tables]]
database = %[1]q
schema = "ledger"
column = "account"
data_type = "bigint"

[[sharded_tables]]
database = %[1]q
schema = "Weird \"Name\" $1"
name = "Weird \"Name\" $1"
column = "account"
data_type = "bigint"

[[sharded_tables]]
database = %[1]q
schema = "ledger"
name = "documents"
column = "document"
data_type = "uuid"

[[sharded_tables]]
database = %[1]q
name = "labels"
column = "label"
data_type = "varchar"
`, database)
}

// keyType is the type of a sharding key; none for tables of every shard.
type keyType string

const (
	none   keyType = ""
	bigint keyType = "bigint"
	uuid   keyType = "uuid"
	text   keyType = "text"
)

// hashFunctions are those of the default hash operator classes.
var hashFunctions = map[keyType]string{bigint: "hashint8extended", uuid: "uuid_hash_extended", text: "hashtextextended"}

// ShardExpression is SQL for the shard, from 0, to which PostgreSQL's hash
// partitioning assigns a key of type bigint, uuid or text. It is immutable and made of built-in
// functions alone, so a publication's row filter may contain it.
//
// Source: compute_partition_hash_value in partbounds.c, with HASH_PARTITION_SEED,
// and hash_combine64 of 0 and the key's hash, as an unsigned number.
func ShardExpression(key, keyTypeName string, shards int) string {
	function, ok := hashFunctions[keyType(keyTypeName)]
	if !ok {
		panic(fmt.Sprintf("ledger: no hash of type %q", keyTypeName))
	}
	return fmt.Sprintf("mod(mod(pg_catalog.%s(%s, 8816678312871386365)::numeric + 5305509591434766563 + 18446744073709551616, 18446744073709551616), %d)::integer",
		function, key, shards)
}

// relation is one table of the workload and how its rows are followed.
type relation struct {
	schema, name string
	object       string  // in ledger.writes
	keyType      keyType // of key
	key          string  // column, "" for every shard
	id           string  // SQL: what the row is called in writes, "" where only amounts are known
	version      string  // SQL
	amount       string  // SQL, of an aggregate over the rows of a key
}

const (
	ledgerSchema = "ledger"
	weird        = `Weird "Name" $1`
)

// relations are in the order in which CheckWhole locks them: TRUNCATE locks
// events before event_tags, so does it.
var relations = []relation{
	row("events", bigint, "account", "item::text"),
	row("event_tags", bigint, "account", "item || '/' || tag"),
	row("accounts", bigint, "account", "account::text"),
	{name: "journal", keyType: bigint, key: "account", id: "account || '/' || tx || '/' || n", version: "1::bigint"},
	{name: "audits", keyType: bigint, key: "account", id: "account || '/' || version", version: "1::bigint"},
	row("seats", bigint, "account", "item::text"),
	row("chains", bigint, "account", "item::text"),
	row("parcels", bigint, "account", "item::text"),
	{name: "notes", keyType: bigint, key: "account", amount: "count(*)"},
	{name: "scraps", keyType: bigint, key: "account", amount: "count(*)"},
	row("badges", bigint, "account", "item::text"),
	row("invoices", bigint, "account", "item::text"),
	row("fancies", bigint, "account", "item::text"),
	{schema: weird, name: weird, object: "weird", keyType: bigint, key: "account", id: `"Weird ""Item"" $1"::text`, version: "version"},
	{name: "bulk", keyType: bigint, key: "account", amount: "sum(value)::bigint"},
	row("documents", uuid, "document", "item::text"),
	row("labels", text, "label", "label"),
	row("epochs", none, "", "epoch::text"),
	row("settings", none, "", "name"),
	{name: "txs"},
	{name: "writes"},
}

func row(name string, keyType keyType, key, id string) relation {
	return relation{name: name, keyType: keyType, key: key, id: id, version: "version"}
}

func init() {
	for i := range relations {
		r := &relations[i]
		if r.schema == "" {
			r.schema = ledgerSchema
		}
		if r.object == "" {
			r.object = r.name
		}
	}
}

func (r relation) sql() string { return pgx.Identifier{r.schema, r.name}.Sanitize() }

// Tables are the workload's tables, for Same: where the destinations are as
// many as shards, each row must be on its shard alone.
func Tables(shards int) []Table {
	var tables []Table
	for _, r := range relations {
		t := Table{Schema: r.schema, Name: r.name}
		if r.keyType != none {
			t.Placement = &Placement{Column: r.key, Expression: ShardExpression(pgx.Identifier{r.key}.Sanitize(), string(r.keyType), shards)}
		}
		tables = append(tables, t)
	}
	return tables
}

// Setup makes the workload's schemas, which must not be there, and its first
// rows. Nothing else writes to them meanwhile.
func Setup(ctx context.Context, conn *pgx.Conn, options Options) error {
	if err := SetupSchema(ctx, conn); err != nil {
		return err
	}
	return SetupRows(ctx, conn, options)
}

// SetupRows is the part of Setup after SetupSchema, for a source from which
// changes are streamed before there are rows.
func SetupRows(ctx context.Context, conn *pgx.Conn, options Options) error {
	options = options.complete()
	options.PreparedTransactions = false
	run, err := newRun(ctx, conn, options)
	if err != nil {
		return err
	}
	first := run.worker(0)
	first.conn = conn
	err = first.must(ctx, func(t *transaction) error {
		if err := t.firstRows(options); err != nil || options.BigRows == 0 {
			return err
		}
		return bulkInsert(t, options.BigRows)
	})
	if err != nil {
		return fmt.Errorf("make the ledger's first rows: %w", err)
	}
	if err := run.readAccounts(ctx, conn); err != nil {
		return err
	}
	for i := range options.Workers {
		w := run.worker(i + 1)
		w.conn = conn
		for range options.Initial {
			if err := w.must(ctx, w.mixed()); err != nil {
				return fmt.Errorf("make the ledger's first rows: %w", err)
			}
		}
	}
	return nil
}

// SetupSchema makes the workload's tables without rows: on a source as the first
// part of Setup, or on a destination whose schema is not copied.
func SetupSchema(ctx context.Context, conn *pgx.Conn) error {
	script, err := testdata("ledger.sql")
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().Exec(ctx, script).ReadAll(); err != nil {
		return fmt.Errorf("make the ledger's tables: %w", err)
	}
	return nil
}

// seatsPerWorker is the number of rows whose unique values one worker swaps.
const seatsPerWorker = 8

// firstRows writes what the workers never insert: accounts (some negative,
// some large), seats and the first epoch.
func (t *transaction) firstRows(o Options) error {
	err := t.wrote("accounts", `c AS (INSERT INTO ledger.accounts (account, opening, balance, tx)
		SELECT CASE i % 5 WHEN 0 THEN -i WHEN 1 THEN i + 4611686018427387904 ELSE i END, 1000 * i, 1000 * i, $1 FROM generate_series(1, $2::bigint) i
		RETURNING account AS key, account AS id, version)`, o.Accounts)
	if err != nil {
		return err
	}
	err = t.wrote("seats", `c AS (INSERT INTO ledger.seats (account, item, owner, place, later, span, span_later, tx)
		SELECT (SELECT account FROM ledger.accounts ORDER BY account OFFSET n % $2 LIMIT 1), n, 1 + n / $3, 1 + n, 1 + n,
			int4range(10 * n, 10 * n + 10), int4range(10 * n, 10 * n + 10), $1
		FROM generate_series(0, $3::integer * $4 - 1) n RETURNING account AS key, item AS id, version)`, o.Accounts, seatsPerWorker, o.Workers)
	if err != nil {
		return err
	}
	return t.wrote("epochs", "c AS (INSERT INTO ledger.epochs (epoch, tx) VALUES (1, $1) RETURNING '' AS key, epoch AS id, version)")
}

// newRandom gives the source of choices of one worker in one run.
func newRandom(seed uint64, run int64, worker int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(run)<<20|uint64(worker)))
}
