package integration

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// validated gives what VALIDATE_SCHEMA says of the mirror's tables, by
// "schema.table" of the shard.
func validated(tb testing.TB, m *mirror.Manager, shard int, tables ...string) map[string]mirror.TableReport {
	tb.Helper()
	reports, err := m.ValidateSchema(tb.Context(), theMirror, tables)
	if err != nil {
		tb.Fatal(full(err))
	}
	out := map[string]mirror.TableReport{}
	for _, r := range reports {
		if r.Shard == shard {
			out[r.Table.String()] = r
		}
	}
	return out
}

const weirdTable = `public.Weird "Name" $1`

// TestValidateSchema looks at a mirror's tables while its destination is the
// same, and after it was altered by hand on one shard.
func TestValidateSchema(t *testing.T) {
	t.Parallel()
	source, first := fresh(t, pairRows+`CREATE TABLE "Weird ""Name"" $1" ("a b" int PRIMARY KEY, n int NOT NULL, v varchar(20));`+
		"CREATE TABLE other (id int PRIMARY KEY, v text)")
	second := first.Cluster.CreateDatabase(t)
	m := between(source, first, second).manager(t)
	id := follow(t, m)
	for shard := range 2 {
		reports := validated(t, m, shard)
		if len(reports) != 4 {
			t.Errorf("%d tables are judged", len(reports))
		}
		for name, r := range reports {
			if r.Verdict != drift.OK && r.Verdict != drift.Warn || r.SourceFingerprint == "" || r.DestinationFingerprint == "" {
				t.Errorf("%s of shard %d, as it was made, is %s: %s %+v", name, shard, r.Verdict, r.Reason, r.Differences)
			}
		}
	}
	second.Exec(t, `ALTER TABLE "Weird ""Name"" $1" ALTER v TYPE varchar(5), ADD COLUMN required int NOT NULL`)
	second.Exec(t, "DROP TABLE other")
	if r := validated(t, m, 0)[weirdTable]; r.Verdict != drift.OK && r.Verdict != drift.Warn {
		t.Errorf("shard 0 was not altered: %+v", r)
	}
	reports := validated(t, m, 1)
	weird, gone := reports[weirdTable], reports["public.other"]
	var kinds []string
	for _, d := range weird.Differences {
		kinds = append(kinds, string(d.Kind))
	}
	if weird.Verdict != drift.StopTable || !strings.Contains(strings.Join(kinds, " "), string(drift.TypeUnsafe)) || !strings.Contains(strings.Join(kinds, " "), string(drift.ExtraRequired)) {
		t.Errorf("after ALTER TABLE it is %s, because of %v", weird.Verdict, kinds)
	}
	if len(weird.Ways) == 0 || !weird.Ways[0].Recommended || weird.Reason == "" {
		t.Errorf("there is no way out: %+v", weird.Ways)
	}
	if gone.DestinationFingerprint != "" || gone.Verdict == drift.OK {
		t.Errorf("a table that is gone is %s", gone.Verdict)
	}
	if one := validated(t, m, 1, "items"); len(one) != 1 {
		t.Errorf("of one table: %+v", one)
	}
	_, err := m.ValidateSchema(t.Context(), theMirror, []string{"no such"})
	says(t, err, pgerror.UndefinedTable, "no such")
	_, err = m.ValidateSchema(t.Context(), "none", nil)
	says(t, err, pgerror.UndefinedObject, "none")
	stopTask(t, m, id)
}
