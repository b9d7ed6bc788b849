package resync_test

import (
	"errors"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// TestSwapTorture swaps every table of a schema that holds every kind of object
// that pg_dump knows. Whatever is not refused must leave the schema as it was.
func TestSwapTorture(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute")
	}
	majors := pgtest.Majors(t)
	everywhere(t, func(t *testing.T, major int) {
		turn, shared := 0, len(majors) > 1
		if major == majors[0].Major {
			turn = 1
		}
		cluster := pgtest.Start(t, pgtest.Options{Installation: pgtest.Shared(t, major).Installation()})
		raw := cluster.CreateDatabase(t)
		raw.LoadFile(t, "../../integration/testdata/torture_roles.sql")
		raw.LoadFile(t, "../../integration/testdata/torture.sql")
		d := prepare(t, raw)
		conn := d.open(t)
		before := d.schema(t)
		pairs := pgtest.Column[[]string](t, d.Database, `
SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgdrover') ORDER BY 1`)
		tried, swapped := 0, 0
		archive := d.archive(t, true)
		for i, pair := range pairs {
			if shared && i%2 == turn {
				continue // the servers share the work
			}
			tried++
			table := catalog.Name{Schema: pair[0], Name: pair[1]}
			s, err := resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: table, Archive: archive})
			if err != nil && !errors.Is(err, resync.ErrRefused) { // a materialized view was swapped with another table
				archive = d.archive(t, true)
				s, err = resync.NewShadow(t.Context(), conn, resync.ShadowOptions{Mirror: "m", Table: table, Archive: archive})
			}
			if err == nil {
				err = s.Rehearse(t.Context(), conn, patient)
			}
			if errors.Is(err, resync.ErrRefused) {
				t.Logf("%s: %v: %s", table, err, pgerror.From(err).Detail)
				continue
			}
			if err == nil {
				err = s.Create(t.Context(), conn, patient)
			}
			if err == nil {
				d.fill(t, table, s.Target())
				err = s.Finish(t.Context(), conn, patient, nil)
			}
			if err == nil && i%16 == 3 {
				var differences []resync.Difference
				differences, err = s.Compare(t.Context(), conn, d.archive(t, true))
				for _, diff := range differences {
					t.Errorf("%s: %s", table, diff)
				}
			}
			if err == nil {
				_, err = s.Swap(t.Context(), conn, patient)
			}
			if err != nil {
				t.Errorf("%s: %v %s", table, err, pgerror.From(err).Detail)
			} else {
				swapped++
			}
			if s == nil {
				continue
			}
			if err := s.Drop(t.Context(), conn, patient); err != nil {
				t.Errorf("%s: drop: %v %s", table, err, pgerror.From(err).Detail)
			}
		}
		if swapped < tried*8/10 {
			t.Errorf("%d of %d tables swapped", swapped, tried)
		}
		results, err := resync.PutBack(t.Context(), conn, "m", nil, patient, nil)
		noError(t, err)
		for _, r := range results {
			if r.Outcome != resync.KeyRestored {
				t.Errorf("foreign key %s: %s %v", r.ForeignKey, r.Outcome, r.Err)
			}
		}
		t.Logf("swapped %d of %d tables", swapped, tried)
		same(t, "the schema", before, d.schema(t))
		d.clean(t)
	})
}
