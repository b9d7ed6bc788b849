package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// findingsShown is the number of findings that an error lists at most.
const findingsShown = 20

// NotWhole is the error of a destination on which a transaction is visible in part.
type NotWhole struct {
	Shard    Shard
	Findings []string // at most findingsShown
}

func (e *NotWhole) Error() string {
	return fmt.Sprintf("%s is not a state that the source was in:\n  %s", e.Shard, strings.Join(e.Findings, "\n  "))
}

// CheckWhole gives an error, *NotWhole, if a part of a transaction is visible
// on a destination and another part that belongs there is not. It is exact: one query in one
// snapshot. So it may be called at any time from when the destination has a
// state of the source, which is when all tables are copied and have met in one
// position; and on the source itself. No transaction is open in conn.
//
// It compares what the transactions that are visible say they have written,
// for keys that belong to the shard, with the rows that are there.
func CheckWhole(ctx context.Context, conn *pgx.Conn, shard Shard) error {
	sql := wholeSQL(shard)
	for attempt := 1; ; attempt++ {
		findings, err := checkWhole(ctx, conn, sql)
		var server *pgconn.PgError
		if errors.As(err, &server) && server.Code == "40P01" && attempt < 5 {
			continue // a deadlock with a TRUNCATE
		}
		if err != nil {
			return fmt.Errorf("check %s: %w", shard, err)
		}
		if len(findings) > 0 {
			return &NotWhole{Shard: shard, Findings: findings}
		}
		return nil
	}
}

func checkWhole(ctx context.Context, conn *pgx.Conn, sql string) (findings []string, err error) {
	// READ COMMITTED: the snapshot is taken when all tables are locked, so a TRUNCATE
	// is either before or after. In an older snapshot truncated tables are empty.
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if _, err := tx.Exec(ctx, "SET LOCAL work_mem = '64MB'; SET LOCAL jit = off; SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off"); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// wholeSQL is the query, with a line of text for each finding.
func wholeSQL(shard Shard) string {
	actual, amounts := unions()
	sharded := map[keyType][]string{}
	for _, r := range relations {
		if r.object != "txs" && r.object != "writes" {
			sharded[r.keyType] = append(sharded[r.keyType], "'"+r.object+"'")
		}
	}
	ours := fmt.Sprintf("CASE WHEN object IN (%s) THEN true WHEN object IN (%s) THEN %s = %[6]d WHEN object IN (%[4]s) THEN %[5]s = %[6]d ELSE %[7]s = %[6]d END",
		strings.Join(sharded[none], ", "),
		strings.Join(sharded[uuid], ", "), ShardExpression("key::uuid", "uuid", shard.Of),
		strings.Join(sharded[text], ", "), ShardExpression("key", "text", shard.Of),
		shard.Index, ShardExpression("key::bigint", "bigint", shard.Of))
	return `
WITH actual AS (` + actual + `),
amounts AS (` + amounts + `),
written AS (
	SELECT DISTINCT ON (object, id) object, id, key, version, gone, epoch, tx FROM ledger.writes WHERE amount IS NULL ORDER BY object, id, version DESC
),
expected AS (
	SELECT object, id, key, version, tx FROM written
	WHERE NOT gone AND (epoch IS NULL OR epoch = (SELECT max(epoch) FROM ledger.epochs)) AND ` + ours + `
),
expected_amounts AS (
	SELECT object, key, sum(amount) AS amount FROM ledger.writes WHERE amount IS NOT NULL AND ` + ours + ` GROUP BY object, key
)
(SELECT format('transaction %s wrote %s rows, of %s of which there is a record', coalesce(t.id, w.tx), coalesce(t.writes::text, 'unknown'), coalesce(w.n, 0))
	FROM ledger.txs t FULL JOIN (SELECT tx, count(*) AS n FROM ledger.writes GROUP BY tx) w ON w.tx = t.id
	WHERE t.id IS NULL OR t.writes <> coalesce(w.n, 0) LIMIT 5)
UNION ALL
(SELECT format('%s %s (key %s): version %s is there, %s by transaction %s belongs there (key %s)',
		coalesce(e.object, a.object), coalesce(e.id, a.id), coalesce(a.key, 'none'), coalesce(a.version::text, 'none'), coalesce(e.version::text, 'none'), e.tx, coalesce(e.key, 'none'))
	FROM expected e FULL JOIN actual a ON a.object = e.object AND a.id = e.id
	WHERE e.version IS DISTINCT FROM a.version OR e.key IS DISTINCT FROM a.key LIMIT 10)
UNION ALL
(SELECT format('%s with key %s: their sum is %s, %s belongs there', coalesce(e.object, a.object), coalesce(e.key, a.key), coalesce(a.amount, 0), coalesce(e.amount, 0))
	FROM expected_amounts e FULL JOIN amounts a ON a.object = e.object AND a.key = e.key
	WHERE coalesce(e.amount, 0) <> coalesce(a.amount, 0) LIMIT 5)
UNION ALL
(SELECT format('account %s has %s, but opened with %s and its journal adds %s', a.account, a.balance, a.opening, coalesce(j.amount, 0))
	FROM ledger.accounts a LEFT JOIN (SELECT account, sum(amount) AS amount FROM ledger.journal GROUP BY account) j ON j.account = a.account
	WHERE a.balance <> a.opening + coalesce(j.amount, 0) LIMIT 5)` + zeroSum(shard) + fmt.Sprintf(`
LIMIT %d`, findingsShown)
}

// zeroSum holds where all accounts are.
func zeroSum(shard Shard) string {
	if shard.Of != 1 {
		return ""
	}
	return `
UNION ALL
(SELECT format('the journal of transaction %s adds up to %s', tx, sum(amount)) FROM ledger.journal GROUP BY tx HAVING sum(amount) <> 0 LIMIT 5)`
}

// unions are the rows of all tables that are followed by row, and the amounts
// of the others.
func unions() (actual, amounts string) {
	var byRow, byAmount []string
	for _, r := range relations {
		key := "''::text"
		if r.key != "" {
			key = r.key + "::text"
		}
		switch {
		case r.id != "":
			byRow = append(byRow, fmt.Sprintf(`SELECT '%s'::text COLLATE "C" AS object, (%s) COLLATE "C" AS id, %s COLLATE "C" AS key, %s AS version FROM %s`, r.object, r.id, key, r.version, r.sql()))
		case r.amount != "":
			byAmount = append(byAmount, fmt.Sprintf(`SELECT '%s'::text COLLATE "C" AS object, %s COLLATE "C" AS key, %s AS amount FROM %s GROUP BY 1, 2`, r.object, key, r.amount, r.sql()))
		}
	}
	return strings.Join(byRow, "\n\tUNION ALL "), strings.Join(byAmount, "\n\tUNION ALL ")
}

// CheckAcknowledged gives an error unless every transaction that the source
// acknowledged is on the destinations, whole, and none that it rolled back.
// The destinations are one, or as many shards in their order, and have applied
// everything up to the position at which the workload was at the time of the
// call (see Stats.LSN). No transaction is open in the connections.
func (w *Workload) CheckAcknowledged(ctx context.Context, destinations ...*pgx.Conn) error {
	if len(destinations) == 0 {
		return errors.New("there is no destination to check")
	}
	w.mu.Lock()
	ids, writes := make([]int64, len(w.committed)), make([]int64, len(w.committed))
	for i, a := range w.committed {
		ids[i], writes[i] = a.id, int64(a.writes)
	}
	rolledBack := append([]int64{}, w.rolledBack...)
	w.mu.Unlock()
	var failures []error
	for i, conn := range destinations {
		shard := Shard{Index: i, Of: len(destinations)}
		rows, err := conn.Query(ctx, `
			(SELECT format('acknowledged transaction %s, which wrote %s rows, is not there', a.id, a.writes)
				FROM unnest($1::bigint[], $2::bigint[]) a(id, writes) LEFT JOIN ledger.txs t ON t.id = a.id WHERE t.writes IS DISTINCT FROM a.writes ORDER BY a.id LIMIT 10)
			UNION ALL
			(SELECT format('transaction %s is there, which was rolled back', id) FROM ledger.txs WHERE id = ANY($3::bigint[]) ORDER BY id LIMIT 10)`, ids, writes, rolledBack)
		var findings []string
		if err == nil {
			findings, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		if err != nil {
			return fmt.Errorf("check the acknowledged transactions on %s: %w", shard, err)
		}
		if len(findings) > 0 {
			failures = append(failures, &NotWhole{Shard: shard, Findings: findings})
			continue
		}
		if err := CheckWhole(ctx, conn, shard); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}
