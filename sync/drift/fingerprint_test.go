package drift

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// anyTable draws a table of few names, so that alike ones occur.
func anyTable(t *rapid.T) *catalog.TableDescription {
	name := rapid.SampledFrom([]string{"a", "b", "c", `Weird "Name" $1`})
	d := users()
	d.Columns = nil
	names := rapid.SliceOfNDistinct(name, 1, 4, rapid.ID[string]).Draw(t, "columns")
	for i, n := range names {
		c := column(i+1, n, rapid.SampledFrom([]string{"int4", "int8", "text"}).Draw(t, "type"), "")
		c.TypeText = c.Type.Name
		c.NotNull = rapid.Bool().Draw(t, "not null")
		c.Default = rapid.SampledFrom([]string{"", "1", "'x'::text"}).Draw(t, "default")
		d.Columns = append(d.Columns, c)
	}
	d.Constraints[0].Columns, d.Indexes[0].Columns = names[:1], names[:1]
	d.Constraints[0].Definition, d.Indexes[0].Using = "PRIMARY KEY (x)", "btree (x)"
	for i, n := range rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "checks") {
		d.Constraints = append(d.Constraints, catalog.ConstraintDescription{Name: n, Type: "c", Definition: fmt.Sprintf("CHECK ((%d > 0))", i), Validated: true})
	}
	for _, n := range rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "triggers") {
		d.Triggers = append(d.Triggers, catalog.TriggerDescription{Name: n, Rest: "…", Definition: "…", Enabled: rapid.SampledFrom([]string{"O", "A", "D"}).Draw(t, "enabled")})
	}
	d.ACL = rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "acl")
	d.Options = rapid.SliceOfDistinct(name, rapid.ID[string]).Draw(t, "options")
	return d
}

// elsewhere is the same table in another database.
func elsewhere(t *rapid.T, d *catalog.TableDescription) *catalog.TableDescription {
	c := *d
	c.OID, c.Filenode, c.Tuples, c.Bytes, c.Server = 4711, 4712, 17, 8192, 170000
	c.Columns = slices.Clone(d.Columns)
	for i := range c.Columns { // columns were dropped between
		c.Columns[i].Number = c.Columns[i].Number*2 + 3
		c.Columns[i].HasMissing, c.Columns[i].Missing = true, "x"
	}
	c.Constraints = rapid.Permutation(d.Constraints).Draw(t, "constraints")
	c.Triggers = rapid.Permutation(d.Triggers).Draw(t, "triggers")
	c.Types = rapid.Permutation(d.Types).Draw(t, "types")
	c.ACL = rapid.Permutation(d.ACL).Draw(t, "acl")
	c.Options = rapid.Permutation(d.Options).Draw(t, "options")
	return &c
}

// TestFingerprint checks that it depends on nothing of one database alone, and
// that tables with one fingerprint have no differences.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyTable(t), anyTable(t)
		if same := elsewhere(t, a); Fingerprint(a) != Fingerprint(same) {
			t.Fatalf("another fingerprint of the same table:\n%s\n%s", Canonical(a), Canonical(same))
		} else if found := differ(CompareTables(a, same, nil)); len(found) > 0 {
			t.Fatalf("the same table differs: %v", found)
		}
		if found := differ(CompareTables(a, b, nil)); Fingerprint(a) == Fingerprint(b) && len(found) > 0 {
			t.Fatalf("one fingerprint, but %v", found)
		}
	})
}

// differ leaves out what is true of one table by itself: an ALWAYS trigger.
func differ(differences []TableDifference) []TableDifference {
	return slices.DeleteFunc(differences, func(d TableDifference) bool { return d.Kind == TriggerFires })
}

// TestExchangedNames checks that two columns that change their names are seen.
func TestExchangedNames(t *testing.T) {
	t.Parallel()
	a, b := users(column(2, "x", "text", "text"), column(3, "y", "text", "text")), users(column(2, "y", "text", "text"), column(3, "x", "text", "text"))
	if Fingerprint(a) == Fingerprint(b) {
		t.Error("one fingerprint")
	}
	if found := (Comparison{Source: b, Destination: a, Before: a}).Differences(); len(found) != 2 || found[0].Kind != RenamedColumn {
		t.Errorf("found %v", found)
	}
}

// TestComparingChangesNothing checks properties of any two tables: what is
// compared is not changed, judging never panics, a stop has a way out, a table
// with itself is right.
func TestComparingChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyTable(t), anyTable(t)
		before := string(Canonical(a)) + string(Canonical(b))
		j := Judge(CompareTables(a, b, nil), Policy{Mirror: "m"})
		if string(Canonical(a))+string(Canonical(b)) != before {
			t.Fatal("comparing changed a description")
		}
		if j.Would.Stops() != (len(j.Ways) > 0) {
			t.Fatalf("%s with %d ways out", j.Would, len(j.Ways))
		}
		strict := Judge(CompareTables(a, b, nil), Policy{Mirror: "m"}).Verdict
		permissive := Policy{Mirror: "m"}
		permissive.Validation = "permissive"
		if loose := Judge(CompareTables(a, b, nil), permissive).Verdict; strict.Worse(loose) != strict {
			t.Fatalf("strict says %s, permissive %s", strict, loose)
		}
	})
}

func FuzzTexts(f *testing.F) {
	for _, seed := range []string{`CHECK (("a" > 'it''s "a"'::text))`, `nextval('"S".q'::regclass)`, `E'\'' || b`, `"unclosed`, `'`, `a.b(c)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		same := texts{columns: map[string]string{"a": "a"}}
		if got := same.rename(text); !strings.Contains(text, `"`) && got != text {
			t.Errorf("%q became %q without a renamed column", text, got)
		}
		x := texts{columns: map[string]string{"a": "b"}, schemas: map[string]string{"s": "t"}}
		x.translate(text)
		if !x.same(text, x.rename(text)) {
			t.Errorf("%q is renamed to %q, which is not the same", text, x.rename(text))
		}
	})
}

func TestTexts(t *testing.T) {
	t.Parallel()
	x := texts{columns: map[string]string{"a": `A "q"`, "Weird \"Name\" $1": "plain"}, schemas: map[string]string{"s": "S 2"}}
	for _, test := range []struct{ text, want string }{
		{`CHECK ((a > 0))`, `CHECK (("A ""q""" > 0))`},
		{`(a || 'a'::text) || a(b) || s.a`, `("A ""q""" || 'a'::text) || a(b) || "S 2"."A ""q"""`},
		{`lower("Weird ""Name"" $1") <> E'it\'s a' AND 'it''s a' <> b`, `lower("plain") <> E'it\'s a' AND 'it''s a' <> b`},
	} {
		if got := x.rename(test.text); got != test.want {
			t.Errorf("%s became %s, want %s", test.text, got, test.want)
		}
		if !x.same(test.text, test.want) || (texts{}).same(test.text, test.want) {
			t.Errorf("%s: same", test.text)
		}
	}
}
