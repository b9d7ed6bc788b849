package config

import "testing"

// TestMirrorChangeKinds: what a difference means for a mirror that exists.
func TestMirrorChangeKinds(t *testing.T) {
	t.Parallel()
	from := NewMirror("a", "b", "p")
	from.Schemas = map[string]string{"s": "t"}
	from.Tables = []MirrorTable{{Schema: "public", Name: "only drift", Drift: TableDrift{ColumnDrift: ColumnDrift{SkipColumns: []string{"x"}}}}, {Schema: "public", Name: "gone", ExcludeColumns: []string{"x"}}}
	to := NewMirror("a", "c", "q")
	workers := 3
	to.Workers, to.ReplicateIndexes, to.Drift.Validation = &workers, false, "permissive"
	to.Tables = []MirrorTable{
		{Schema: "public", Name: "casts", CastColumns: map[string]string{"x": "int"}},
		{Schema: "public", Name: "drifts", Drift: TableDrift{MirrorDrift: MirrorDrift{Validation: "disabled"}}},
		{Schema: "public", Name: "the same", DestinationName: "the same"},
	}
	want := map[string]MirrorChangeKind{
		"destination": ChangesPlace, "publication": ChangesPlace, "workers": ChangesWork, "replicate_indexes": ChangesWork, "drift.validation": ChangesWork,
		"SCHEMA s": ChangesRows, "TABLE public.casts": ChangesRows, "TABLE public.drifts": ChangesWork, "TABLE public.only drift": ChangesWork, "TABLE public.gone": ChangesRows,
		"TABLE public.the same": ChangesWork,
	}
	for _, c := range MirrorChanges(from, to) {
		kind, expected := want[c.Key]
		if !expected || kind != c.Kind {
			t.Errorf("%s (%s -> %s) is of kind %d, want %d, expected: %t", c.Key, c.Old, c.New, c.Kind, kind, expected)
		}
		if (c.Set == "" && c.Reset == "") != (c.Kind == ChangesPlace) {
			t.Errorf("%s: SET %q, RESET %q", c.Key, c.Set, c.Reset)
		}
		delete(want, c.Key)
	}
	for key := range want {
		t.Errorf("%s is not told", key)
	}
	if left := MirrorChanges(to, to); len(left) != 0 {
		t.Errorf("the same settings differ in %v", left)
	}
}
