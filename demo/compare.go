package demo

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/pgerror"
)

// place is one database that is compared.
type place struct{ name, dsn string }

// content is what a table holds: so many rows, and the sum of the hashes of
// their texts, which does not depend on their order and can be added up over shards.
type content struct {
	rows   int64
	hashes *big.Int
}

func (c content) same(other content) bool {
	return c.rows == other.rows && c.hashes.Cmp(other.hashes) == 0
}

// proveSame compares every published table, and fails unless all are equal. The
// customers wait meanwhile, so that both sides are looked at in one position.
func (d *demo) proveSame(ctx context.Context, mirror string, destinations []place) error {
	d.writer.pause()
	defer d.writer.resume()
	at, err := d.caughtUp(ctx, mirror)
	if err != nil {
		return err
	}
	tables, err := d.publishedTables(ctx)
	if err != nil {
		return err
	}
	places := append([]place{{source, d.source.DSN(sourceDatabase)}}, destinations...)
	contents := make([]map[string]content, len(places))
	group, reading := errgroup.WithContext(ctx)
	for i, p := range places {
		group.Go(func() (err error) {
			if contents[i], err = contentsOf(reading, p.dsn, tables); err != nil {
				return fmt.Errorf("read %s: %w", p.name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	shown, different := compared(tables, places, contents)
	d.screen.say("\n%s", shown)
	if len(different) > 0 {
		return pgerror.New(pgerror.InternalError, "%d tables differ at %s: %q", len(different), at, different).
			WithHint("This is a defect of pgdrover: please report it with the output above")
	}
	d.screen.say("\nThe same rows on both sides at %s: their number, and a hash of every value of every row.\n", at)
	return nil
}

// compared makes a table of what the places hold, the source first, and names
// the tables that differ.
func compared(tables []string, places []place, contents []map[string]content) (shown table, different []string) {
	shown.columns = []column{{name: "table"}}
	for _, p := range places {
		shown.columns = append(shown.columns, column{name: p.name, number: true})
	}
	shown.columns = append(shown.columns, column{name: "same"})
	for _, name := range tables {
		row, there := []string{name}, content{hashes: new(big.Int)}
		for i := range places {
			c := contents[i][name]
			row = append(row, fmt.Sprint(c.rows))
			switch {
			case i == 0:
			case isSpread(name) || i == 1:
				there.rows += c.rows
				there.hashes.Add(there.hashes, c.hashes)
			case !c.same(contents[1][name]): // whole on every shard
				there.rows = -1
			}
		}
		verdict := "yes"
		if !there.same(contents[0][name]) {
			verdict, different = "NO", append(different, name)
		}
		shown.rows = append(shown.rows, append(row, verdict))
	}
	return shown, different
}

// caughtUp waits until a mirror has applied everything that the source has
// committed, and gives that position.
func (d *demo) caughtUp(ctx context.Context, mirror string) (string, error) {
	answer, err := d.asked(ctx, d.source.DSN(sourceDatabase), sourceDatabase, "SELECT pg_current_wal_flush_lsn();")
	if err != nil {
		return "", err
	}
	at := answer.value("pg_current_wal_flush_lsn")
	err = poll(ctx, interval, func() (bool, error) {
		streams, err := d.command(ctx, "SHOW STREAMS;")
		if err != nil {
			return false, err
		}
		reached := streams.where("mirror", mirror).value("applied_lsn")
		return lsn(reached) >= lsn(at), nil
	})
	if err != nil {
		return "", fmt.Errorf("wait until %s is applied: %w", at, err)
	}
	_, err = d.shown(ctx, "SHOW STREAMS;", "mirror", "slot", "server_lsn", "applied_lsn", "confirmed_lsn", "transactions", "rows")
	return at, err
}

// lsn reads "16/B374D848"; 0 if it is none.
func lsn(text string) uint64 {
	var high, low uint64
	if n, err := fmt.Sscanf(text, "%X/%X", &high, &low); err != nil || n != 2 {
		return 0
	}
	return high<<32 | low
}

func (d *demo) publishedTables(ctx context.Context) ([]string, error) {
	var tables []string
	err := query(ctx, d.source.DSN(sourceDatabase),
		`SELECT array_agg(format('%I.%I', schemaname, tablename) ORDER BY tablename) FROM pg_catalog.pg_publication_tables WHERE pubname = '`+publication+`'`, &tables)
	if err != nil {
		return nil, fmt.Errorf("read the publication: %w", err)
	}
	return tables, nil
}

// contentsOf reads tables in one snapshot. Their names are quoted.
func contentsOf(ctx context.Context, dsn string, tables []string) (_ map[string]content, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	out := map[string]content{}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, name := range tables {
			var c content
			var sum string
			err := tx.QueryRow(ctx, "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM "+name+" t").Scan(&c.rows, &sum)
			if err != nil {
				return err
			}
			c.hashes, _ = new(big.Int).SetString(sum, 10) // a numeric without a fraction
			out[name] = c
		}
		return nil
	})
	return out, err
}

// patience is how long poll waits for what takes a second or two.
const patience = 2 * time.Minute

// interval is how often poll asks for what takes a second or two.
const interval = 100 * time.Millisecond

// poll asks again and again until the answer is yes.
func poll(ctx context.Context, interval time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, pgerror.New(pgerror.QueryCanceled, "it has taken longer than %s", patience))
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
