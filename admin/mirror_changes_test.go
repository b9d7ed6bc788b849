package admin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/config"
)

// anyMirror draws settings of a mirror that do not contradict themselves.
func anyMirror(t *rapid.T) config.Mirror {
	m := config.NewMirror("a", "b", "p")
	maybe := func(what string, set func()) {
		if rapid.Bool().Draw(t, what) {
			set()
		}
	}
	name := rapid.SampledFrom([]string{"a", `Weird "Name" $1`, "x.y", "it's"})
	maybe("workers", func() { m.Workers = pointer(rapid.IntRange(1, 9).Draw(t, "n")) })
	maybe("group_bytes", func() { m.GroupBytes = pointer(int64(rapid.IntRange(1<<10, 1<<20).Draw(t, "bytes"))) })
	m.ReplicateIndexes, m.Autostart = rapid.Bool().Draw(t, "indexes"), rapid.Bool().Draw(t, "autostart")
	maybe("strategy", func() { m.ResyncStrategy = "swap" })
	maybe("interval", func() { m.Drift.Interval = pointer(time.Duration(rapid.IntRange(0, 3).Draw(t, "s")) * time.Second) })
	maybe("migrate", func() {
		m.Drift.AutoMigrate = rapid.SliceOfNDistinct(rapid.SampledFrom(config.AutoMigrateKinds), 1, 3, rapid.ID[string]).Draw(t, "kinds")
	})
	maybe("warn", func() { m.Drift.WarnOnly = pointer(rapid.Bool().Draw(t, "only")) })
	maybe("schema", func() { m.Schemas = map[string]string{name.Draw(t, "from"): "to " + name.Draw(t, "to")} })
	for i := range rapid.IntRange(0, 3).Draw(t, "tables") {
		table := config.MirrorTable{Schema: name.Draw(t, "schema"), Name: fmt.Sprint(name.Draw(t, "table"), i)}
		maybe("there", func() { table.DestinationName = fmt.Sprint("there ", name.Draw(t, "name"), i) })
		maybe("elsewhere", func() { table.DestinationSchema = "in " + name.Draw(t, "where") })
		maybe("exclude", func() { table.ExcludeColumns = []string{"c" + name.Draw(t, "excluded")} })
		maybe("rename", func() {
			table.RenameColumns = map[string]string{"r" + name.Draw(t, "column"): "called " + name.Draw(t, "called")}
		})
		maybe("cast", func() { table.CastColumns = map[string]string{"t" + name.Draw(t, "cast"): "numeric(12, 2)"} })
		maybe("filter", func() { table.RowFilter = "a = 'it''s' AND (b > 1)" })
		maybe("skip", func() { table.Drift.SkipColumns = []string{"s" + name.Draw(t, "skipped")} })
		maybe("table interval", func() { table.Drift.Interval = pointer(time.Second) })
		m.Tables = append(m.Tables, table)
	}
	return m
}

// TestMirrorChangesAsStatements: what ALTER MIRROR is told to be brings a mirror
// from any settings to any others, as making the changes does.
func TestMirrorChangesAsStatements(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from, to := anyMirror(t), anyMirror(t)
		changes := config.MirrorChanges(from, to)
		made, typed := from, from
		for _, c := range changes {
			c.Apply(&made)
		}
		for _, statement := range strings.SplitAfter(config.AlterMirror("m", changes), ");") {
			_, list, found := strings.Cut(statement, " SET (")
			parse := ParseMirrorSettings
			if !found {
				_, list, found = strings.Cut(statement, " RESET (")
				parse = ParseMirrorReset
			}
			if !found {
				continue
			}
			settings, err := parse(strings.TrimSuffix(list, ");"))
			if err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
			for _, c := range settings.changes { // Apply would refuse what contradicts itself on the way
				c.apply(&typed)
			}
		}
		for way, got := range map[string]config.Mirror{"made": made, "typed": typed} {
			for _, left := range config.MirrorChanges(got, to) {
				t.Errorf("%s: %s is left: %s -> %s\nby %s", way, left.Key, left.Old, left.New, config.AlterMirror("m", changes))
			}
		}
	})
}
