package ledger

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// seat is a row of ledger.seats.
type seat struct {
	Item  int64
	Place int
	Later int
	Span  int // the lower bound of span and span_later, which are ten wide
	Spans int
}

// swapSeats swaps or rotates unique values between two or three rows.
func swapSeats(t *transaction) error {
	rows, err := t.conn.Query(t.ctx, "SELECT item, place, later, lower(span) AS span, lower(span_later) AS spans FROM ledger.seats WHERE owner = $1 ORDER BY item", t.worker.number)
	if err != nil {
		return err
	}
	seats, err := pgx.CollectRows(rows, pgx.RowToStructByName[seat])
	if err != nil || len(seats) < 2 {
		return err
	}
	t.random.Shuffle(len(seats), func(i, j int) { seats[i], seats[j] = seats[j], seats[i] })
	seats = seats[:2+t.random.IntN(min(2, len(seats)-1))]
	set := func(column string, item int64, value any) error {
		return t.wrote("seats", "c AS (UPDATE ledger.seats SET "+column+","+bump+"WHERE item = $2 RETURNING account AS key, item AS id, version)", item, value)
	}
	// rotate gives each row the value of the next one, the first by way of a free value.
	rotate := func(column string, value func(seat) any, free any) error {
		if free != nil {
			if err := set(column, seats[0].Item, free); err != nil {
				return err
			}
		}
		for i := len(seats) - 1; i > 0; i-- {
			if err := set(column, seats[i].Item, value(seats[(i+1)%len(seats)])); err != nil {
				return err
			}
		}
		return set(column, seats[0].Item, value(seats[1]))
	}
	place := func(s seat) any { return s.Place }
	later := func(s seat) any { return s.Later }
	span := func(s seat) any { return s.Span }
	spans := func(s seat) any { return s.Spans }
	return t.oneOf(
		func() error { return rotate("place = $3", place, -seats[0].Place) },
		func() error { return rotate("later = $3", later, nil) },
		func() error { return rotate("span = "+fmt.Sprintf(wide, "$3"), span, -1) },
		func() error { return rotate("span_later = "+fmt.Sprintf(wide, "$3"), spans, nil) },
		func() error { // in one statement, which a deferrable constraint allows
			return t.wrote("seats", `c AS (UPDATE ledger.seats SET later = CASE item WHEN $2 THEN $4::integer ELSE $5 END,`+bump+`WHERE item IN ($2, $3)
				RETURNING account AS key, item AS id, version)`, seats[0].Item, seats[1].Item, seats[1].Later, seats[0].Later)
		},
		func() error { return set("account = $3", seats[0].Item, t.account()) },
		func() error { return reseat(t, seats[0], seats[1]) },
	)
}

// wide is a range of ten; below 0 it is empty, which overlaps nothing.
const wide = "CASE WHEN %[1]s::integer < 0 THEN 'empty' ELSE int4range(%[1]s, %[1]s + 10) END"

// reseat deletes two rows and inserts them again, under their keys, with each
// other's place.
func reseat(t *transaction, a, b seat) error {
	var accounts [2]int64
	for i, s := range []seat{a, b} {
		if err := t.conn.QueryRow(t.ctx, "SELECT account FROM ledger.seats WHERE item = $1", s.Item).Scan(&accounts[i]); err != nil {
			return err
		}
	}
	err := t.deleted("seats", "c AS (DELETE FROM ledger.seats WHERE item IN ($2, $3) RETURNING account AS key, item AS id)", a.Item, b.Item)
	if err != nil {
		return err
	}
	for i, s := range []struct{ seat, other seat }{{a, b}, {b, a}} {
		err := t.wrote("seats", `c AS (INSERT INTO ledger.seats (account, item, owner, place, later, span, span_later, tx)
			VALUES ($2, $3, $4, $5, $6, int4range($7, $7 + 10), int4range($8, $8 + 10), $1) RETURNING account AS key, item AS id, version)`,
			accounts[i], s.seat.Item, t.worker.number, s.other.Place, s.seat.Later, s.other.Span, s.seat.Spans)
		if err != nil {
			return err
		}
	}
	return nil
}

// link is a row of ledger.chains.
type link struct {
	Account  int64
	Position int
	Item     int64
}

// changeChain changes primary keys.
func changeChain(t *transaction) error {
	rows, err := t.conn.Query(t.ctx, "SELECT account, position, item FROM ledger.chains WHERE owner = $1 ORDER BY position", t.worker.number)
	if err != nil {
		return err
	}
	chain, err := pgx.CollectRows(rows, pgx.RowToStructByName[link])
	if err != nil {
		return err
	}
	if len(chain) < 3 || t.random.IntN(6) == 0 && len(chain) < 12 {
		return extendChain(t, chain)
	}
	move := func(item int64, position int) error {
		return t.wrote("chains", "c AS (UPDATE ledger.chains SET position = $3,"+bump+"WHERE item = $2 RETURNING account AS key, item AS id, version)", item, position)
	}
	return t.oneOf(
		func() error { // each row takes the key that the one before it in time has left
			for i := len(chain) - 1; i >= 0; i-- {
				if err := move(chain[i].Item, chain[i].Position+1); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { // one of the first goes, all others close up
			gone := t.random.IntN(len(chain))
			err := t.deleted("chains", "c AS (DELETE FROM ledger.chains WHERE item = $2 RETURNING account AS key, item AS id)", chain[gone].Item)
			for i := gone + 1; i < len(chain) && err == nil; i++ {
				err = move(chain[i].Item, chain[i].Position-1)
			}
			return err
		},
		func() error { // swapped by way of a free key
			i := t.random.IntN(len(chain) - 1)
			a, b := chain[i], chain[i+1]
			if err := move(a.Item, -a.Position); err != nil {
				return err
			}
			if err := move(b.Item, a.Position); err != nil {
				return err
			}
			return move(a.Item, b.Position)
		},
		func() error { // all change the account
			return t.wrote("chains", "c AS (UPDATE ledger.chains SET account = $3,"+bump+"WHERE owner = $2 RETURNING account AS key, item AS id, version)",
				t.worker.number, t.account())
		},
	)
}

// extendChain adds a row at the end. Each owner has positions of its own, all positive.
func extendChain(t *transaction, chain []link) error {
	position, account := t.worker.number*1_000_000, t.account()
	if len(chain) > 0 {
		last := chain[len(chain)-1]
		position, account = last.Position+1, last.Account
	}
	return t.wrote("chains", `c AS (INSERT INTO ledger.chains (account, position, item, owner, payload, tx)
		VALUES ($2, $3, nextval('ledger.versions'), $4, $5, $1) RETURNING account AS key, item AS id, version)`,
		account, position, t.worker.number, texts[t.random.IntN(len(texts))])
}
