package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// triggered puts the event triggers into a source.
func triggered(tb testing.TB, source *pgtest.Database) {
	tb.Helper()
	if err := ddl.Install(tb.Context(), source.Connect(tb)); err != nil {
		tb.Fatal(full(err))
	}
}

// evenly spreads every table that has an id over the shards of the destination.
const evenly = "[[sharded_tables]]\ndatabase = \"prod_new\"\ncolumn = \"id\"\ndata_type = \"bigint\"\n"

// TestSchemaChanges makes every schema change that is known while the table is
// mirrored, told by event triggers and found by polls.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for _, events := range []bool{true, false} {
		for _, shards := range []int{1, 3} {
			for _, all := range []bool{false, true} {
				if shards > 1 && !all {
					continue
				}
				t.Run(fmt.Sprintf("events=%t,shards=%d,all=%t", events, shards, all), func(t *testing.T) {
					t.Parallel()
					if all {
						pgtest.Long(t)
					}
					allSchemaChanges(t, events, shards, all)
				})
			}
		}
	}
}

// representative are the cases of the short run.
var representative = []string{"rename table", "column with a stable default", "column dropped", "column renamed", "type widened", "labels of an enum"}

func allSchemaChanges(t *testing.T, events bool, shards int, all bool) {
	cases := slices.DeleteFunc(schemaCases(), func(c schemaCase) bool {
		return c.one && shards > 1 || !all && !slices.Contains(representative, c.name)
	})
	var tables strings.Builder
	for _, c := range cases {
		tables.WriteString(c.tables)
	}
	source, first := fresh(t, tables.String())
	destinations := []*pgtest.Database{first}
	for len(destinations) < shards {
		destinations = append(destinations, first.Cluster.CreateDatabase(t))
	}
	if events {
		triggered(t, source)
	}
	s := between(source, destinations...)
	s.general, s.extra = quick, everyChange
	if shards > 1 {
		s.extra = evenly + s.extra
	}
	m := s.manager(t)
	follow(t, m)
	slot := slots(t, source)
	for _, c := range cases {
		for _, sql := range append(append([]string{c.before}, c.change...), c.after) {
			if sql != "" {
				source.Exec(t, sql)
			}
		}
	}
	ledger.CaughtUp(t, source, applied(m))
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d %s", c.number, c.name), func(t *testing.T) { c.arrived(t, m, source, destinations, events) })
	}
	if now := slots(t, source); !slices.Equal(now, slot) {
		t.Errorf("the slots are %v, and were %v", now, slot)
	}
}

// arrived waits until the tables of a case stream, and compares them.
func (c *schemaCase) arrived(t *testing.T, m *mirror.Manager, source *pgtest.Database, destinations []*pgtest.Database, events bool) {
	if c.polled != "" && !events {
		row := becomes(t, m, qualified(c.list[0]), mirror.TableStopped)
		if e := full(row.Error); row.StoppedLSN == 0 || !strings.Contains(e, c.polled) || !strings.Contains(e, "RESYNC") {
			t.Errorf("it is stopped at %s for %s", row.StoppedLSN, e)
		}
		return
	}
	for _, table := range c.list {
		follows(t, m, qualified(table))
	}
	for _, table := range c.gone {
		becomes(t, m, qualified(table), mirror.TableUnpublished)
	}
	ledger.CaughtUp(t, source, applied(m))
	for _, table := range c.list {
		sameTable(t, source, destinations, table)
	}
	for sql, want := range c.check {
		if !events {
			continue // the table was copied again
		}
		sum := 0
		for _, d := range destinations {
			sum += pgtest.Value[int](t, d, strings.Replace(sql, "count(*)", "count(*)::int", 1))
		}
		if fmt.Sprint(sum) != want {
			t.Errorf("%s gives %d, want %s", sql, sum, want)
		}
	}
}

func qualified(table string) string {
	if strings.Contains(table, ".") {
		return table
	}
	return "public." + table
}

// follows waits until a table streams; one that is stopped is an error.
func follows(t *testing.T, m *mirror.Manager, table string) {
	t.Helper()
	var last mirror.MirrorTableRow
	pgtest.Eventually(t, "table "+table+" streams", func(ctx context.Context) (bool, error) {
		rows, _, err := m.MirrorTables(ctx, theMirror)
		for _, row := range rows {
			if row.Schema+"."+row.Table == table {
				last = row
			}
		}
		if last.State == mirror.TableStopped {
			return false, fmt.Errorf("%s is stopped: %s", table, full(last.Error))
		}
		return last.State == mirror.TableStreaming, err
	})
}

// sameTable compares the rows of a table by the columns that the source has.
func sameTable(t *testing.T, source *pgtest.Database, destinations []*pgtest.Database, table string) {
	t.Helper()
	columns := pgtest.Value[string](t, source, `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`, table)
	sql := fmt.Sprintf("SELECT %s FROM %s", columns, table)
	want := source.Rows(t, sql)
	var got []string
	for _, d := range destinations {
		got = append(got, d.Rows(t, sql)...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-source +destination):\n%s", table, diff)
	}
}

// arrivedIn waits until all that the source has committed is applied, and
// compares the rows of all tables.
func arrivedIn(t *testing.T, m *mirror.Manager, source *pgtest.Database, destinations []*pgtest.Database) {
	t.Helper()
	ledger.CaughtUp(t, source, applied(m))
	follows(t, m, "public.items")
	sameTable(t, source, destinations, "items")
}
