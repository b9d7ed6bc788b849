package ledger

import "slices"

// transfer moves money between two to four accounts: the sum stays, and each
// account's balance is what it opened with and its journal.
func transfer(t *transaction) error {
	if t.transfer {
		return nil
	}
	t.transfer = true
	var accounts []int64
	for range 2 + t.random.IntN(3) {
		accounts = append(accounts, t.account())
	}
	slices.Sort(accounts) // the order of locks
	accounts = slices.Compact(accounts)
	left := int64(0)
	for i, account := range accounts {
		amount := t.random.Int64N(2001) - 1000
		if i == len(accounts)-1 {
			amount = -left
		}
		left += amount
		t.entries++
		err := t.record(`WITH c AS (UPDATE ledger.accounts SET balance = balance + $2,`+bump+`WHERE account = $3 RETURNING account, version),
			j AS (INSERT INTO ledger.journal (account, tx, n, amount) SELECT account, $1, $4, $2 FROM c)
			INSERT INTO ledger.writes (tx, object, key, id, version)
			SELECT $1::bigint, v.object, c.account, v.id, v.version FROM c CROSS JOIN LATERAL (VALUES
				('accounts', c.account::text, c.version),
				('audits', c.account || '/' || c.version, 1),
				('journal', c.account || '/' || $1::bigint || '/' || $4::integer, 1)) v(object, id, version)`, amount, account, t.entries)
		if err != nil {
			return err
		}
	}
	return nil
}

// addEvent inserts into the tables that are truncated.
func addEvent(t *transaction) error {
	// Waits for a truncation, whose epoch the next statement sees.
	if err := t.exec("LOCK TABLE ledger.events, ledger.event_tags IN ROW EXCLUSIVE MODE"); err != nil {
		return err
	}
	if t.worker.event != 0 && t.random.IntN(3) == 0 {
		return t.record(`WITH c AS (UPDATE ledger.events SET payload = payload || '+',`+bump+`WHERE item = $2 RETURNING *)
			INSERT INTO ledger.writes (tx, object, key, id, version, epoch) SELECT $1::bigint, 'events', account, item, version, epoch FROM c`, t.worker.event)
	}
	if err := t.conn.QueryRow(t.ctx, "SELECT nextval('ledger.versions')").Scan(&t.worker.event); err != nil {
		return err
	}
	return t.record(`WITH c AS (
			INSERT INTO ledger.events (account, item, epoch, payload, tx) SELECT $2, $3, max(epoch), 'event', $1 FROM ledger.epochs RETURNING *
		), tags AS (
			INSERT INTO ledger.event_tags (account, item, epoch) SELECT account, item, epoch FROM c, generate_series(1, $4::integer) RETURNING *
		)
		INSERT INTO ledger.writes (tx, object, key, id, version, epoch)
		SELECT $1::bigint, 'events', account::text, item::text, version, epoch FROM c
		UNION ALL SELECT $1, 'event_tags', account::text, item || '/' || tag, version, epoch FROM tags`,
		t.account(), t.worker.event, t.random.IntN(3))
}

// truncateEvents empties them and counts the epoch up. Only rows of the last
// epoch may be anywhere.
func truncateEvents(t *transaction) error {
	ways := []string{
		"TRUNCATE ledger.events CASCADE", "TRUNCATE ledger.events RESTART IDENTITY CASCADE", "TRUNCATE ledger.events, ledger.event_tags",
	}
	if err := t.exec(ways[t.random.IntN(len(ways))]); err != nil {
		return err
	}
	return t.wrote("epochs", "c AS (INSERT INTO ledger.epochs (epoch, tx) SELECT max(epoch) + 1, $1 FROM ledger.epochs RETURNING '' AS key, epoch AS id, version)")
}

// changeSetting writes to a table of every shard.
func changeSetting(t *transaction) error {
	name := settingNames[t.random.IntN(len(settingNames))] + string(rune('0'+t.worker.number%10))
	if t.random.IntN(4) == 0 {
		return t.deleted("settings", "c AS (DELETE FROM ledger.settings WHERE name = $2 RETURNING '' AS key, name AS id)", name)
	}
	var value *string
	if t.random.IntN(4) != 0 {
		value = &texts[t.random.IntN(len(texts))]
	}
	return t.wrote("settings", `c AS (INSERT INTO ledger.settings AS s (name, value, tx) VALUES ($2, $3, $1)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value,`+bump+`RETURNING '' AS key, name AS id, version)`, name, value)
}

var settingNames = []string{"timeout", "Größe", "it's", `back\slash`, ""}

// texts are values that are quoted wrongly, if any are.
var texts = []string{
	"", " ", "plain", "it's", `"quoted"`, `back\slash`, `\N`, `\.`, "NULL", "tab\tand\nnew\r\nline", "{1,2}", "(a,b)", "$1", "%s",
	"ünïcødé ✓ 🐘", "\u200b", "a,b;c", "--", "/* */", "\x01\x02\x7f",
}
