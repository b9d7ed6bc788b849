package mirror

import (
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// TestWayOut has the commands that let a stopped table go on, each with what has
// to come before it.
func TestWayOut(t *testing.T) {
	table := catalog.Name{Schema: "s", Name: `t "x"`}
	const sync, resync = `SYNC_SCHEMA "m" "s"."t ""x"""; alters the destination's table until it is as the source's`, `RESYNC "m" "s"."t ""x""";`
	for name, c := range map[string]struct{ code, hint, want string }{
		"nothing known":    {"23505", "", "when the reason is gone: " + resync + " copies the table again while the others go on"},
		"repair, then":     {"23503", "repair it", "repair it. Then " + resync + " copies the table again"},
		"by the applier":   {"42703", resync, sync + ". Then " + resync + " copies the table again while the others go on"},
		"null":             {"23502", "", sync + ". Then " + resync + " copies the table again while the others go on"},
		"column":           {"42703", "ALTER TABLE a ADD COLUMN b int;", sync + ". If that is all that differs, by hand there: ALTER TABLE a ADD COLUMN b int. Then " + resync + " copies the table again while the others go on"},
		"of a copy":        {"42804", "there: ALTER TABLE a;", sync + ". If that is all that differs, by hand there: ALTER TABLE a. Then " + resync + " copies the table again while the others go on"},
		"of the structure": {"42703", "1. SYNC_SCHEMA m s.t; or\n" + resync, "1. SYNC_SCHEMA m s.t; or\n" + resync},
		"of the mapping":   {"42804", "correct cast_columns of [[mirrors.tables]]", "correct cast_columns of [[mirrors.tables]]. Then " + resync + " copies the table again"},
	} {
		if got := withWayOut(pgerror.New(c.code, "it stops").WithHint("%s", c.hint), "m", table).Hint; got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
