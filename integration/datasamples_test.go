package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// TestDataAllTypes carries values of every built-in type, by copy and by stream.
func TestDataAllTypes(t *testing.T) {
	t.Parallel()
	for name, to := range destinations {
		for _, format := range []string{"binary", "text"} {
			t.Run(name+", "+format, func(t *testing.T) {
				if strings.HasPrefix(name, "newer") != (format == "binary") {
					pgtest.Long(t)
				}
				t.Parallel()
				c := to(t)
				source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t)
				conn := source.Connect(t)
				if err := ledger.LoadAllTypes(t.Context(), conn); err != nil {
					t.Fatal(err)
				}
				source.Exec(t, "CREATE PUBLICATION all_tables FOR ALL TABLES")
				s := between(source, destination)
				s.extra = pgDump(t, newest(source.Cluster, c))
				s.general = fmt.Sprintf("resharding_copy_format = %q\n", format)
				m := s.manager(t)
				id := copyData(t, m, copyRequest())
				streaming(t, m, id)
				tables, err := ledger.AllTypes(t.Context(), conn)
				if err != nil {
					t.Fatal(err)
				}
				compare := func() {
					t.Helper()
					report, err := ledger.Same(t.Context(), conn, connections(t, destination), tables, ledger.CompareOptions{})
					if err != nil {
						t.Error(err)
					}
					t.Logf("%+v", report)
				}
				compare()
				if err := ledger.ChangeAllTypes(t.Context(), conn); err != nil {
					t.Fatal(err)
				}
				ledger.CaughtUp(t, source, applied(m))
				compare()
				stopTask(t, m, id)
			})
		}
	}
}

// sampleWrites are transactions on sample databases; each is repeated.
var sampleWrites = map[string][]string{
	"pagila": {
		"UPDATE film SET rental_rate = rental_rate + 0.01, last_update = now() WHERE film_id % 50 = $n % 50",
		"INSERT INTO rental (rental_date, inventory_id, customer_id, staff_id) SELECT now() + interval '1 minute' * ($n * 100 + i), i, i, 1 FROM generate_series(1, 20) i",
		"UPDATE customer SET email = 'changed $n', activebool = NOT activebool WHERE customer_id % 40 = $n % 40",
		"BEGIN; DELETE FROM payment WHERE payment_id % 200 = $n % 200; UPDATE payment SET amount = amount + 1 WHERE payment_id % 300 = $n % 300; COMMIT",
		"BEGIN; DELETE FROM film_actor WHERE actor_id = $n + 1; SAVEPOINT s; DELETE FROM film_actor; ROLLBACK TO s; COMMIT",
	},
	"chinook": {
		`UPDATE track SET unit_price = unit_price + 0.01 WHERE track_id % 100 = $n % 100`,
		`INSERT INTO playlist (name) VALUES ('played $n')`,
		`DELETE FROM playlist_track WHERE track_id % 500 = $n % 500`,
		`BEGIN; UPDATE customer SET company = 'ção $n' WHERE customer_id % 10 = $n % 10; DELETE FROM invoice_line WHERE invoice_line_id % 400 = $n % 400; COMMIT`,
	},
}

// TestDataSamples carries sample databases over while they are written to.
func TestDataSamples(t *testing.T) {
	t.Parallel()
	for name, writes := range sampleWrites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Shared(t, 0)
			destination := shards(t, c, 1)[0]
			source := sampleCopy(t, name)
			// A table without a key cannot be followed.
			for _, table := range source.Rows(t, "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND nspname = 'public' AND relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)") {
				source.Exec(t, "ALTER TABLE "+table+" REPLICA IDENTITY FULL")
			}
			m := between(source, destination).manager(t)
			round := 0
			write := func() {
				round++
				for _, sql := range writes {
					source.Exec(t, strings.ReplaceAll(sql, "$n", strconv.Itoa(round)))
				}
			}
			id := copyData(t, m, copyRequest())
			for range 5 {
				write()
			}
			streaming(t, m, id)
			for range 5 {
				write()
			}
			arrived(t, m, source, destination)
			stopTask(t, m, id)
			same(t, m)
		})
	}
}

// sampleCopy gives a sample database of the test's own.
func sampleCopy(tb testing.TB, name string) *pgtest.Database {
	tb.Helper()
	for _, s := range allSamples {
		if s.name == name {
			template := s.source(tb)
			return template.Cluster.CreateDatabase(tb, "TEMPLATE "+pgtest.Quote(template.Name))
		}
	}
	tb.Fatalf("there is no sample %s", name)
	return nil
}
