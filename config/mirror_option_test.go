package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMirrorWith(t *testing.T) {
	t.Parallel()
	m := NewMirror("a", "b", "p")
	var err error
	for _, option := range [][2]string{
		{"publication", "Other"}, {"resync_strategy", "swap"}, {"replicate_indexes", "off"}, {"workers", "4"}, {"group_bytes", "4096"}, {"group_rows", "9"}, {"group_rows", "default"}, {"autostart", "true"},
		{"schemas", `{ public = "app", "S t" = "u" }`}, {"tables", `[{ name = "t", exclude_columns = ["x"], drift = { warn_only = true } }, { schema = "s", name = "u" }]`},
		{"drift.interval", "5000"}, {"drift.validation", "permissive"}, {"drift.auto_migrate", "add_column, widen_type"},
	} {
		if m, err = m.With(option[0], option[1]); err != nil {
			t.Fatalf("%v: %v", option, err)
		}
	}
	workers, bytes, yes, interval := 4, int64(4096), true, 5*time.Second
	want := Mirror{
		Name: "a_to_b", Source: "a", Destination: "b", Publication: "Other", ResyncStrategy: "swap", ReplicateForeignKeys: true, Workers: &workers, GroupBytes: &bytes, Autostart: true,
		Schemas: map[string]string{"public": "app", "S t": "u"},
		Tables:  []MirrorTable{{Schema: "public", Name: "t", ExcludeColumns: []string{"x"}, Drift: TableDrift{MirrorDrift: MirrorDrift{WarnOnly: &yes}}}, {Schema: "s", Name: "u"}},
		Drift:   MirrorDrift{Interval: &interval, Validation: "permissive", AutoMigrate: []string{"add_column", "widen_type"}},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("mirror (-want +got):\n%s", diff)
	}
	if again, err := m.With("schemas", `{ x = "y" }`); err != nil || len(m.Schemas) != 2 || len(again.Schemas) != 1 {
		t.Errorf("the mirror itself is changed: %v, %v, %v", m.Schemas, again.Schemas, err)
	}
	for _, test := range [][4]string{
		{"worker", "4", "42704", `Did you mean "workers"?`}, {"drift.intervall", "4", "42704", `Did you mean "drift.interval"?`}, {"nothing_like_it", "4", "42704", "pgdog.toml.example"},
		{"source", "c", "22023", "DROP MIRROR"}, {"name", "c", "22023", "DROP MIRROR"}, {"workers", "0", "22023", ""}, {"workers", "many", "22023", ""}, {"resync_strategy", "fast", "22023", ""},
		{"publication", "", "22023", ""}, {"schemas", "public=app", "22023", ""}, {"schemas", "1\ny = 2", "22023", ""}, {"tables", "[1]", "22023", ""}, {"tables", strings.Repeat("[", 1_000_000), "22023", ""}, {"tables", `[{ name = "t", exclude = ["x"] }]`, "22023", ""},
		{"drift", `{ interval = -1 }`, "22023", ""}, {"drift.auto_migrate", "add_row", "22023", ""},
	} {
		_, err := m.With(test[0], test[1])
		var e *pgerror.Error
		if !errors.As(err, &e) || e.Code != test[2] || !strings.Contains(e.Hint, test[3]) {
			t.Errorf("%s = %s: %+v", test[0], test[1], err)
		}
	}
}
