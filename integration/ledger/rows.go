package ledger

import (
	"fmt"
	"strings"
)

// returning ends the statement c of most operations.
const returning = " RETURNING account AS key, item AS id, version"

// deleteSome deletes one of the worker's rows.
func deleteSome(t *transaction, table string) error {
	return t.deleted(table, "c AS (DELETE FROM ledger."+table+" WHERE item = "+some(table)+" RETURNING account AS key, item AS id)", t.worker.number, t.seed())
}

// updateSome changes one of the worker's rows; args begin with $4.
func updateSome(t *transaction, table, set string, args ...any) error {
	return t.wrote(table, "c AS (UPDATE ledger."+table+" SET "+set+","+bump+"WHERE item = "+some(table)+returning+")",
		append([]any{t.worker.number, t.seed()}, args...)...)
}

var zones = []string{"north", "south", "arctic", "else where", ""}

func changeParcel(t *transaction) error {
	weight, zone := []int{-5, 0, 99, 100, 500, 999, 1000, 100000}[t.random.IntN(8)], zones[t.random.IntN(len(zones))]
	return t.oneOf(
		func() error {
			return t.wrote("parcels", `c AS (INSERT INTO ledger.parcels (account, item, weight, zone, owner, payload, tx)
				VALUES ($2, nextval('ledger.versions'), $3, $4, $5, $6, $1)`+returning+")", t.account(), weight, zone, t.worker.number, texts[t.random.IntN(len(texts))])
		},
		func() error { return deleteSome(t, "parcels") },
		func() error { return updateSome(t, "parcels", "weight = $4, zone = $5", weight, zone) },
		func() error { return updateSome(t, "parcels", "payload = payload || '.'") },
		func() error { return updateSome(t, "parcels", "account = $4, weight = $5", t.account(), weight) },
	)
}

// changeNotes changes one of rows that may be equal. A row is chosen by its
// place, as nothing else tells it from its equals.
func changeNotes(t *transaction) error {
	const one = "p AS (SELECT ctid AS at_row, account FROM ledger.notes WHERE owner = $2 ORDER BY hashtextextended(ctid::text, $3) LIMIT 1), "
	body, mark := "(ARRAY[NULL, '', 'a', 'NULL'])[1 + $4::integer % 4]", "(ARRAY[NULL, 1, 'NaN', 0.5])[1 + $4::integer / 4 % 4]::numeric"
	at := "(ARRAY[NULL, 'infinity', '2024-01-01'])[1 + $4::integer / 16 % 3]::timestamptz"
	variant := t.random.IntN(48)
	args := []any{t.worker.number, t.seed(), variant}
	return t.oneOf(
		func() error {
			return t.counted("notes", fmt.Sprintf(`i AS (INSERT INTO ledger.notes (account, owner, body, mark, at)
				SELECT $3, $2, %s, %s, %s FROM generate_series(1, $5::integer) RETURNING account),
				c AS (SELECT account AS key, count(*) AS amount FROM i GROUP BY account)`, body, mark, at),
				t.worker.number, t.account(), variant, 1+t.random.IntN(3))
		},
		func() error {
			return t.counted("notes", one+`d AS (DELETE FROM ledger.notes n USING p WHERE n.ctid = p.at_row RETURNING n.account),
				c AS (SELECT account AS key, -1 AS amount FROM d)`, args[:2]...)
		},
		func() error {
			return t.counted("notes", one+fmt.Sprintf(`u AS (UPDATE ledger.notes n SET body = %s, mark = %s, at = %s FROM p WHERE n.ctid = p.at_row RETURNING n.account),
				c AS (SELECT account AS key, 0 AS amount FROM u)`, body, mark, at), args...)
		},
		func() error { // to another account
			return t.counted("notes", one+`u AS (UPDATE ledger.notes n SET account = $4 FROM p WHERE n.ctid = p.at_row RETURNING n.account AS new, p.account AS old),
				c AS (SELECT new AS key, 1 AS amount FROM u UNION ALL SELECT old, -1 FROM u)`, t.worker.number, t.seed(), t.account())
		},
	)
}

// changeScraps is changeNotes with values that have no equality, or one that is
// not identity: 1.0 and 1.00, 0 and -0, objects with differing spaces.
func changeScraps(t *transaction) error {
	const one = "p AS (SELECT ctid AS at_row, account FROM ledger.scraps WHERE owner = $2 ORDER BY hashtextextended(ctid::text, $3) LIMIT 1), "
	const doc = `(ARRAY[NULL, '{"a": 1}', '{"a":1}', '{"a":1,"a":2}', 'null'])[1 + $4::integer % 5]::json`
	const page = `(ARRAY[NULL, '<a/>', '<a></a>', 'text &amp; <b>x</b>'])[1 + $4::integer / 5 % 4]::xml`
	const spot = `(ARRAY[NULL, '(0,-0)', '(0,0)', '(Infinity,NaN)'])[1 + $4::integer / 20 % 4]::point`
	const ratio = `(ARRAY[NULL, '1.0', '1.00', '1'])[1 + $4::integer / 80 % 4]::numeric`
	variant := t.random.IntN(320)
	return t.oneOf(
		func() error {
			return t.counted("scraps", `i AS (INSERT INTO ledger.scraps (account, owner, doc, page, spot, ratio, body)
				SELECT $3, $2, `+doc+", "+page+", "+spot+", "+ratio+`, CASE WHEN $4 % 2 = 0 THEN repeat('long ', 1000) END FROM generate_series(1, $5::integer) RETURNING account),
				c AS (SELECT account AS key, count(*) AS amount FROM i GROUP BY account)`, t.worker.number, t.account(), variant, 1+t.random.IntN(2))
		},
		func() error {
			return t.counted("scraps", one+`d AS (DELETE FROM ledger.scraps n USING p WHERE n.ctid = p.at_row RETURNING n.account),
				c AS (SELECT account AS key, -1 AS amount FROM d)`, t.worker.number, t.seed())
		},
		func() error { // body unchanged, out of line
			return t.counted("scraps", one+`u AS (UPDATE ledger.scraps n SET doc = `+doc+", page = "+page+", spot = "+spot+", ratio = "+ratio+` FROM p WHERE n.ctid = p.at_row RETURNING n.account),
				c AS (SELECT account AS key, 0 AS amount FROM u)`, t.worker.number, t.seed(), variant)
		},
	)
}

func changeBadge(t *transaction) error {
	code := texts[t.random.IntN(len(texts))]
	return t.oneOf(
		func() error {
			return t.wrote("badges", `c AS (INSERT INTO ledger.badges (account, item, code, owner, payload, tx)
				SELECT $2, item, $3 || item, $4, 'new', $1 FROM nextval('ledger.versions') item`+returning+")", t.account(), code, t.worker.number)
		},
		func() error { return deleteSome(t, "badges") },
		func() error { return updateSome(t, "badges", "payload = $4", code) },
		func() error { return updateSome(t, "badges", "code = $4 || item", code+"/") },
		func() error { return renumberBadge(t) },
		func() error { return updateSome(t, "badges", "account = $4", t.account()) },
	)
}

// renumberBadge changes the primary key, which is not the identity.
func renumberBadge(t *transaction) error {
	return t.record("WITH p AS "+some("badges")+`, u AS (
			UPDATE ledger.badges b SET item = nextval('ledger.versions'),`+bump+`FROM p WHERE b.item = p.item
			RETURNING account, version, b.item AS new, p.item AS old)
		INSERT INTO ledger.writes (tx, object, key, id, version, gone)
		SELECT $1::bigint, 'badges', account, new::text, version, false FROM u
		UNION ALL SELECT $1, 'badges', account, old::text, nextval('ledger.versions'), true FROM u`, t.worker.number, t.seed())
}

func changeInvoice(t *transaction) error {
	net := fmt.Sprintf("%d.%02d", t.random.IntN(100000)-50000, t.random.IntN(100))
	return t.oneOf(
		func() error {
			return t.wrote("invoices", "c AS (INSERT INTO ledger.invoices (account, owner, net, tax, tx) VALUES ($2, $3, $4, NULL, $1)"+returning+")",
				t.account(), t.worker.number, net)
		},
		func() error { return deleteSome(t, "invoices") },
		func() error { return updateSome(t, "invoices", "net = $4", net) },
		func() error { return updateSome(t, "invoices", "tax = round(gross - net, 2)") },
		func() error { return updateSome(t, "invoices", "account = $4", t.account()) },
	)
}

// fancy is values for all columns of ledger.fancies, chosen by numbers.
func (t *transaction) fancy() []any {
	n := t.random.IntN(1 << 16)
	pick := func(values ...string) any {
		n = n*31 + 7
		if i := (n >> 4 & 0xffff) % (len(values) + 1); i < len(values) {
			return values[i]
		}
		return nil
	}
	const odd = `"it's \"quoted\""`
	return []any{
		pick("sad", `it's "quoted"`, "two words, {braces}"),
		pick("{}", `{sad,`+odd+`,NULL,"two words, {braces}"}`, "{{sad,ok},{ok,happy}}", "[-1:0]={ok,sad}"),
		pick("0.0001", "9999999999999999", "1"),
		pick("{}", "{1,NULL,2.5}", "{{1},{2}}"),
		pick("{}", `{"",NULL,"NULL","a,b","{}","\\","\""}`),
		pick("(,,)", `("Main ""St""\\, 5",7,`+odd+`)`, `("",-1,sad)`),
		pick("{}", `{"(,,)",NULL,"(\"a b\",1,\"two words, {braces}\")"}`),
		pick("(,,)", `(me,"(\"x, y\",1,sad)","{sad,\"two words, {braces}\",NULL}")`),
		pick("empty", "[1.5,2.5)", "(,)", "(-Infinity,Infinity]"),
		pick("{}", "{[1,2),(3,4]}", "{(,)}"),
		pick("{}", "{[1,3),[5,)}", "{(,5),[7,9)}"),
		pick("empty", "[2024-01-01 00:00+00,)", "[-infinity,infinity]"),
		pick("{}", `{empty,"[\"2024-01-01 00:00:00+00\",\"2024-02-01 00:00:00+00\")",NULL}`),
		pick("{}", "{{1,2},{3,NULL}}", "[0:1][5:6]={{1,2},{3,4}}"),
	}
}

// fancyColumns have casts, as their values are sent as text.
var fancyColumns = [][2]string{
	{"mood", "ledger.mood"}, {"moods", "ledger.mood[]"}, {"price", "ledger.positive"}, {"prices", "ledger.positive[]"}, {"codes", "ledger.codes"},
	{"home", "ledger.address"}, {"homes", "ledger.address[]"}, {"person", "ledger.person"}, {"span", "ledger.span"}, {"spans", "ledger.spans"},
	{"numbers", "int8multirange"}, {"during", "tstzrange"}, {"duringly", "tstzrange[]"}, {"matrix", "integer[]"},
}

// fancySQL is the columns' names and their values from $first on.
func fancySQL(first int) (names, values string) {
	var n, v []string
	for i, c := range fancyColumns {
		n, v = append(n, c[0]), append(v, fmt.Sprintf("$%d::text::%s", first+i, c[1]))
	}
	return strings.Join(n, ", "), strings.Join(v, ", ")
}

func changeFancy(t *transaction) error {
	names, values := fancySQL(4)
	return t.oneOf(
		func() error {
			return t.wrote("fancies", "c AS (INSERT INTO ledger.fancies (account, owner, item, tx, "+names+") VALUES ($2, $3, nextval('ledger.versions'), $1, "+values+")"+returning+")",
				append([]any{t.account(), t.worker.number}, t.fancy()...)...)
		},
		func() error { return updateSome(t, "fancies", "("+names+") = ROW("+values+")", t.fancy()...) },
		func() error {
			return updateSome(t, "fancies", "home.number = coalesce((home).number, 0) + 1, moods = CASE WHEN array_ndims(moods) > 1 THEN moods[1:1] ELSE moods || 'ok'::ledger.mood END")
		},
		func() error { return deleteSome(t, "fancies") },
	)
}

func changeWeird(t *transaction) error {
	const table = `"Weird ""Name"" $1"."Weird ""Name"" $1"`
	const returning = ` RETURNING account AS key, "Weird ""Item"" $1" AS id, version)`
	const one = `(SELECT "Weird ""Item"" $1" FROM ` + table + ` WHERE owner = $2 ORDER BY hashint8extended("Weird ""Item"" $1", $3) LIMIT 1)`
	value := texts[t.random.IntN(len(texts))]
	return t.oneOf(
		func() error {
			return t.wrote("weird", "c AS (INSERT INTO "+table+` (account, "Weird ""Item"" $1", "select", "ünï;--\", "Weird ""Name"" $1", "$2", owner, tx)
				VALUES ($2, nextval('ledger.versions'), $3, $3, 'Weird "Value" $1', ARRAY['', 'Weird "Value" $1', NULL]::"Weird ""Name"" $1"."Weird ""Type"" $1"[], $4, $1)`+returning,
				t.account(), value, t.worker.number)
		},
		func() error {
			return t.wrote("weird", "c AS (UPDATE "+table+` SET "Upper, 'Case'" = $4, "Weird ""Name"" $1" = '',`+bump+`WHERE "Weird ""Item"" $1" = `+one+returning, t.worker.number, t.seed(), value)
		},
		func() error {
			return t.wrote("weird", "c AS (UPDATE "+table+" SET account = $4,"+bump+`WHERE "Weird ""Item"" $1" = `+one+returning, t.worker.number, t.seed(), t.account())
		},
		func() error {
			return t.deleted("weird", "c AS (DELETE FROM "+table+` WHERE "Weird ""Item"" $1" = `+one+` RETURNING account AS key, "Weird ""Item"" $1" AS id)`, t.worker.number, t.seed())
		},
	)
}
