package ledger

// bulkInsert inserts many rows with one statement.
func bulkInsert(t *transaction, rows int) error {
	return t.counted("bulk", `i AS (INSERT INTO ledger.bulk (account, item, value, batch, payload)
		SELECT (SELECT array_agg(account) FROM ledger.accounts)[1 + (n + $1) % (SELECT count(*) FROM ledger.accounts)],
			nextval('ledger.versions'), 1000000 + n % 1000, $1, md5(n::text) || md5($1::text) || md5((n + $1)::text) || '''"\'
		FROM generate_series(1, $2::bigint) n RETURNING account, value),
		c AS (SELECT account AS key, sum(value) AS amount FROM i GROUP BY account)`, rows)
}

// big is a transaction of many rows, with subtransactions that are released
// and rolled back, and single writes of other tables in between.
func big(t *transaction, rows int) error {
	t.kinds = append(t.kinds, string(Big))
	steps := []func() error{
		func() error { return t.savepoint(true, func() error { return bulkInsert(t, rows/2) }) },
		func() error {
			return t.savepoint(false, func() error {
				if err := bulkInsert(t, rows/4); err != nil {
					return err
				}
				return t.counted("bulk", `d AS (DELETE FROM ledger.bulk WHERE batch = $1 RETURNING account, value),
					c AS (SELECT account AS key, -sum(value) AS amount FROM d GROUP BY account)`)
			})
		},
		func() error { return bulkInsert(t, rows-rows/2) },
		func() error { return transfer(t) },
		func() error { // changed
			return t.counted("bulk", `u AS (UPDATE ledger.bulk SET value = value + 7 WHERE batch = $1 AND item % 3 = 0 RETURNING account),
				c AS (SELECT account AS key, 7 * count(*) AS amount FROM u GROUP BY account)`)
		},
		func() error { // keys changed
			return t.counted("bulk", `u AS (UPDATE ledger.bulk SET item = -item WHERE batch = $1 AND item % 50 = 0 RETURNING account),
				c AS (SELECT account AS key, 0 AS amount FROM u GROUP BY account)`)
		},
		func() error { return changeLabel(t) },
		func() error { // the batch before goes
			return t.counted("bulk", `d AS (DELETE FROM ledger.bulk WHERE batch = $2 RETURNING account, value),
				c AS (SELECT account AS key, -sum(value) AS amount FROM d GROUP BY account)`, t.worker.batch)
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
