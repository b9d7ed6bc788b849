package ledger

import (
	"fmt"
	"math/rand/v2"
)

// newUUID is a random UUID from a source that can be repeated.
func newUUID(random *rand.Rand) string {
	high, low := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&0xffffffffffff)
}

// bytes that do not compress, between 3 and 15 kB.
func (t *transaction) bytes() []byte {
	data := make([]byte, 3000+t.random.IntN(12000))
	for i := range data {
		data[i] = byte(t.random.Uint32())
	}
	return data
}

// body is SQL for text that is stored out of line.
const body = "repeat(md5(%[1]s::bigint::text) || '\\', 100 + (%[1]s::bigint & 127)::integer)"

func changeDocument(t *transaction) error {
	const returning = " RETURNING document AS key, item AS id, version)"
	const one = "WHERE item = (SELECT item FROM ledger.documents WHERE owner = $2 ORDER BY hashint8extended(item, $3) LIMIT 1)"
	update := func(set string, args ...any) error {
		return t.wrote("documents", "c AS (UPDATE ledger.documents SET "+set+","+bump+one+returning, append([]any{t.worker.number, t.seed()}, args...)...)
	}
	insert := func(document string) error {
		return t.wrote("documents", `c AS (INSERT INTO ledger.documents (document, owner, item, title, body, data, extra, tx)
			VALUES ($2, $3, nextval('ledger.versions'), $4, `+fmt.Sprintf(body, "$5")+`, $6, jsonb_build_object('n', $5::bigint, 'list', ARRAY[1, 2]), $1)`+returning,
			document, t.worker.number, texts[t.random.IntN(len(texts))], t.seed(), t.bytes())
	}
	return t.oneOf(
		func() error { return insert(newUUID(t.random)) },
		func() error { return insert(newUUID(t.random)) },
		func() error { return update("title = $4", texts[t.random.IntN(len(texts))]) },
		func() error { return update("body = "+fmt.Sprintf(body, "$4"), t.seed()) },
		func() error { return update("data = $4", t.bytes()) },
		func() error {
			return update("data = CASE WHEN data IS NULL THEN convert_to(body, 'UTF8') ELSE NULL END, extra = 'null'")
		},
		func() error { // the body changes first and is unchanged afterwards
			if err := update("body = coalesce(body, '') || "+fmt.Sprintf(body, "$4"), t.seed()); err != nil {
				return err
			}
			if err := update("title = 'changed afterwards'"); err != nil {
				return err
			}
			return update(`extra = '{"last": true}'`)
		},
		func() error {
			return t.deleted("documents", "c AS (DELETE FROM ledger.documents "+one+" RETURNING document AS key, item AS id)", t.worker.number, t.seed())
		},
		func() error { return replaceDocument(t, insert) },
	)
}

// replaceDocument deletes a row and inserts another one under its key.
func replaceDocument(t *transaction, insert func(string) error) error {
	document := newUUID(t.random)
	if err := insert(document); err != nil {
		return err
	}
	if err := t.deleted("documents", "c AS (DELETE FROM ledger.documents WHERE document = $2 RETURNING document AS key, item AS id)", document); err != nil {
		return err
	}
	return insert(document)
}

// rekeyDocument changes the primary key, which is the sharding key, and leaves
// the columns out of line alone: the stream does not carry them.
func rekeyDocument(t *transaction) error {
	return t.wrote("documents", `c AS (UPDATE ledger.documents SET document = $4,`+bump+`WHERE item = `+some("documents")+`
		RETURNING document AS key, item AS id, version)`, t.worker.number, t.seed(), newUUID(t.random))
}

// changeLabel inserts, counts up or deletes under text keys that come again.
func changeLabel(t *transaction) error {
	label := fmt.Sprintf("%s%d", texts[t.random.IntN(len(texts))], t.worker.number)
	if t.random.IntN(4) == 0 {
		return t.deleted("labels", "c AS (DELETE FROM ledger.labels WHERE label = $2 RETURNING label AS key, label AS id)", label)
	}
	return t.wrote("labels", `c AS (INSERT INTO ledger.labels AS l (label, owner, used, tx) VALUES ($2, $3, 1, $1)
		ON CONFLICT (label) DO UPDATE SET used = l.used + 1,`+bump+`RETURNING label AS key, label AS id, version)`, label, t.worker.number)
}

// churn writes one row several times: what may be folded, and to nothing.
func churn(t *transaction) error {
	var item int64
	if err := t.conn.QueryRow(t.ctx, "SELECT nextval('ledger.versions')").Scan(&item); err != nil {
		return err
	}
	insert := func() error {
		return t.wrote("parcels", `c AS (INSERT INTO ledger.parcels (account, item, weight, zone, owner, payload, tx) VALUES ($2, $3, 5, 'churn', $4, 'new', $1)`+returning+")",
			t.account(), item, t.worker.number)
	}
	update := func() error {
		return t.wrote("parcels", `c AS (UPDATE ledger.parcels SET weight = weight + $3, payload = $4,`+bump+`WHERE item = $2`+returning+")",
			item, t.random.IntN(2)*100, texts[t.random.IntN(len(texts))])
	}
	remove := func() error {
		return t.deleted("parcels", "c AS (DELETE FROM ledger.parcels WHERE item = $2 RETURNING account AS key, item AS id)", item)
	}
	plans := [][]func() error{
		{insert, update, update}, {insert, remove}, {insert, update, remove}, {insert, remove, insert}, {insert, update, remove, insert, update},
		{insert, update, remove, insert, remove},
	}
	for _, step := range plans[t.random.IntN(len(plans))] {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
