package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// pace is the pause between two transactions of the writer.
const pace = 20 * time.Millisecond

// writer is the shop's customers: one connection to the source on which orders
// are placed, paid and shipped, products looked at and reviewed, until stop.
type writer struct {
	dsn    string
	random *rand.Rand
	stop   context.CancelFunc
	ended  chan struct{}

	turn sync.Mutex // held by a transaction, and by who wants none to be under way

	mu           sync.Mutex
	transactions int64
	failure      error // of the first transaction that failed
}

// startWriter begins to write. The goroutine is the writer's own: it ends with stopWriter.
func (d *demo) startWriter(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &writer{
		dsn: d.source.DSN(sourceDatabase), random: rand.New(rand.NewPCG(1, 2)), stop: stop, ended: make(chan struct{}),
	}
	d.writer = w
	go w.run(running)
	d.removeLater(d.stopWriter)
	d.screen.say("Customers have come: from now on they look at products, order, pay and review, some 50 transactions a second.\n")
	return nil
}

// stopWriter waits until the writer has ended. What it met does not matter any more.
func (d *demo) stopWriter() error {
	d.writer.stop()
	<-d.writer.ended
	return nil
}

// run writes until ctx ends. A transaction that fails is noted, and the next one
// begun: the servers are the user's to play with.
func (w *writer) run(ctx context.Context) {
	defer close(w.ended)
	var conn *pgx.Conn
	defer func() { w.disconnect(conn) }()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := w.one(ctx, &conn)
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		if err == nil {
			w.transactions++
		} else if w.failure == nil {
			w.failure = err
		}
		w.mu.Unlock()
	}
}

func (w *writer) disconnect(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is under way on it
}

// one runs one transaction, on a new connection if the last one is lost.
func (w *writer) one(ctx context.Context, conn **pgx.Conn) error {
	w.turn.Lock()
	defer w.turn.Unlock()
	if *conn == nil || (*conn).IsClosed() {
		opened, err := pgx.Connect(ctx, w.dsn)
		if err != nil {
			return err
		}
		*conn = opened
	}
	act := acts[w.random.IntN(len(acts))]
	err := pgx.BeginFunc(ctx, *conn, func(tx pgx.Tx) error { return act(ctx, tx, w.random) })
	if pgerror.Code(err) == checkViolation { // sold out
		_, err = (*conn).Exec(ctx, `UPDATE shop.stock SET quantity = quantity + 1000, counted_on = current_date WHERE quantity - reserved < 10`)
	}
	return err
}

const checkViolation = "23514"

// pause waits until no transaction is under way, and lets none begin until resume.
func (w *writer) pause() { w.turn.Lock() }

func (w *writer) resume() { w.turn.Unlock() }

// wrote gives the number of transactions that were committed.
func (w *writer) wrote() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.transactions
}

// failed gives the error of the first transaction that failed.
func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		return nil
	}
	return fmt.Errorf("write to the shop: %w", w.failure)
}

// act is what a customer, or the shop, does in one transaction.
type act func(context.Context, pgx.Tx, *rand.Rand) error

// acts are chosen from at random; what stands here more often is done more often.
var acts = []act{buy, buy, buy, ship, look, look, look, review, changeReview, moveHouse}

func buy(ctx context.Context, tx pgx.Tx, random *rand.Rand) error {
	var order int64
	err := tx.QueryRow(ctx, `SELECT shop.place_order($1, jsonb_build_array(jsonb_build_object('product_id', $2::integer, 'quantity', 1),
		jsonb_build_object('product_id', $3::integer, 'quantity', $4::integer)))`,
		1+random.Int64N(5000), 1+random.IntN(750), 751+random.IntN(750), 1+random.IntN(3)).Scan(&order)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `WITH paid AS (UPDATE shop.orders SET status = 'paid' WHERE id = $1 AND placed_at = now() RETURNING id, placed_at, total)
		INSERT INTO shop.payments (order_id, order_placed_at, method, amount, paid_at, reference) SELECT id, placed_at, 'card', total, now(), 'PAY-' || id FROM paid`, order)
	return err
}

func ship(ctx context.Context, tx pgx.Tx, _ *rand.Rand) error {
	_, err := tx.Exec(ctx, `UPDATE shop.orders SET status = 'shipped' WHERE (id, placed_at) IN (
		SELECT id, placed_at FROM shop.orders WHERE status = 'paid' ORDER BY placed_at LIMIT 3)`)
	return err
}

func look(ctx context.Context, tx pgx.Tx, random *rand.Rand) error {
	_, err := tx.Exec(ctx, `INSERT INTO shop.page_views (customer_id, product_id, visit) SELECT $1, 1 + ($2 + i * 17) % 1500, gen_random_uuid() FROM generate_series(1, 5) i`,
		1+random.Int64N(5000), random.IntN(1500))
	return err
}

func review(ctx context.Context, tx pgx.Tx, random *rand.Rand) error {
	_, err := tx.Exec(ctx, `INSERT INTO shop.reviews (product_id, customer_id, rating, title) VALUES ($1, $2, $3, 'As described')
		ON CONFLICT (product_id, customer_id) DO UPDATE SET rating = excluded.rating, written_at = excluded.written_at`,
		1+random.IntN(1500), 1+random.Int64N(5000), 1+random.IntN(5))
	return err
}

// changeReview changes a review's product, which is a part of its key, or takes
// it back.
func changeReview(ctx context.Context, tx pgx.Tx, random *rand.Rand) error {
	customer, product := 1+random.Int64N(5000), 1+random.IntN(1500)
	if random.IntN(4) == 0 {
		_, err := tx.Exec(ctx, `DELETE FROM shop.reviews WHERE customer_id = $1`, customer)
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE shop.reviews SET product_id = $2 WHERE (product_id, customer_id) IN (SELECT product_id, customer_id FROM shop.reviews WHERE customer_id = $1 LIMIT 1)
		AND NOT EXISTS (SELECT FROM shop.reviews WHERE customer_id = $1 AND product_id = $2)`, customer, product)
	return err
}

func moveHouse(ctx context.Context, tx pgx.Tx, random *rand.Rand) error {
	customer := 1 + random.Int64N(5000)
	_, err := tx.Exec(ctx, `UPDATE shop.addresses SET address.street = 'Mill Lane ' || $2::integer WHERE customer_id = $1 AND kind = 'billing'`, customer, 1+random.IntN(140))
	return err
}
