package drift

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// anyDump draws entries of few names and few texts, so that alike ones occur.
func anyDump(t *rapid.T, label string) []dump.Entry {
	kinds := []dump.Kind{dump.KindTable, dump.KindConstraint, dump.KindTrigger, dump.KindACL, dump.KindOperator}
	out := make([]dump.Entry, rapid.IntRange(0, 12).Draw(t, label))
	for i := range out {
		out[i] = dump.Entry{
			DumpID: i + 1, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"),
			Namespace:  rapid.SampledFrom([]string{"s", ""}).Draw(t, "schema"),
			Tag:        rapid.SampledFrom([]string{"a b c", `Weird "Name" $1`}).Draw(t, "tag"),
			Definition: rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "definition"),
			Owner:      rapid.SampledFrom([]string{"me", "you"}).Draw(t, "owner"),
			Drop:       "DROP it;\n",
		}
	}
	return out
}

// TestPairIsAMatching checks that every entry has at most one partner, that
// partners are of one key, and that nobody is left alone who could have one.
func TestPairIsAMatching(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source, destination := anyDump(t, "source"), anyDump(t, "destination")
		pairs := Pair(source, destination)
		taken := map[*dump.Entry]bool{}
		alone := map[dump.Key]int{}
		equal := map[string]int{}
		for i := range source {
			e, other := &source[i], pairs.Of(&source[i])
			if other == nil {
				alone[e.Key()]++
				continue
			}
			if taken[other] {
				t.Fatalf("entry %d of the destination has two partners", other.DumpID)
			}
			if taken[other] = true; e.Key() != other.Key() {
				t.Fatalf("%v and %v are partners", e.Key(), other.Key())
			}
			if e.Definition == other.Definition {
				equal[fmt.Sprint(e.Key(), e.Definition)]++
			}
		}
		for _, e := range pairs.Extra {
			if taken[e] {
				t.Fatalf("entry %d has a partner and is extra", e.DumpID)
			}
			if taken[e] = true; alone[e.Key()] > 0 {
				t.Fatalf("%v is alone on both sides", e.Key())
			}
		}
		if len(taken) != len(destination) {
			t.Fatalf("%d of %d entries of the destination are partners or extra", len(taken), len(destination))
		}
		for text, n := range equals(source, destination) {
			if equal[text] != n {
				t.Fatalf("%d partners have the key and text %s, %d could", equal[text], text, n)
			}
		}
	})
}

// equals counts by key and text how many entries both dumps have.
func equals(source, destination []dump.Entry) map[string]int {
	count := func(entries []dump.Entry) map[string]int {
		out := map[string]int{}
		for _, e := range entries {
			out[fmt.Sprint(e.Key(), e.Definition)]++
		}
		return out
	}
	a, b := count(source), count(destination)
	for text := range a {
		if a[text] = min(a[text], b[text]); a[text] == 0 {
			delete(a, text)
		}
	}
	return a
}

func TestEqualDumpsHaveNoDifferences(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := anyDump(t, "entries")
		for i := range source { // alike in all but the owner: which is whose is chance
			source[i].Owner = "me"
		}
		// Another dump of it numbers and orders its entries otherwise.
		destination := rapid.Permutation(source).Draw(t, "order")
		for i := range destination {
			destination[i].DumpID = 100 + i
		}
		if found := Compare(source, destination, Rules{}); len(found) > 0 {
			t.Fatalf("differences: %+v", found)
		}
	})
}

// TestOrderMeansNothing checks that the order of the destination's dump does
// not change what is found.
func TestOrderMeansNothing(t *testing.T) {
	t.Parallel()
	found := func(source, destination []dump.Entry) []string {
		var out []string
		for _, d := range Compare(source, destination, Rules{IgnoreOwner: true}) {
			if d.What == Missing || d.What == Extra {
				d.Source, d.Destination = "", "" // which of several alike is chance
			}
			out = append(out, fmt.Sprint(d.Kind, d.Schema, d.Object, d.What))
		}
		slices.Sort(out)
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		source, destination := anyDump(t, "source"), anyDump(t, "destination")
		other := rapid.Permutation(destination).Draw(t, "order")
		if diff := cmp.Diff(found(source, destination), found(source, other)); diff != "" {
			t.Fatalf("another order, other differences:\n%s", diff)
		}
	})
}

func TestCompare(t *testing.T) {
	t.Parallel()
	entry := func(id int, kind dump.Kind, tag, definition string) dump.Entry {
		return dump.Entry{DumpID: id, Kind: kind, Namespace: "s", Tag: tag, Definition: definition, Owner: "o", Drop: "DROP x;\n", AccessMethod: "heap"}
	}
	changed := func(e dump.Entry, change func(*dump.Entry)) dump.Entry { change(&e); return e }
	table := entry(1, dump.KindTable, "t", "CREATE TABLE s.t ();")
	grants := entry(2, dump.KindACL, "TABLE t", "GRANT SELECT ON TABLE s.t TO a;\nGRANT SELECT ON TABLE s.t TO b;\n")
	sequence := entry(3, dump.KindSequence, "q", "INCREMENT BY 1")
	for _, test := range []struct {
		name         string
		source, dest []dump.Entry
		rules        Rules
		want         []What
	}{
		{"same", []dump.Entry{table, grants}, []dump.Entry{grants, table}, Rules{}, nil},
		{"missing", []dump.Entry{table}, nil, Rules{}, []What{Missing}},
		{"extra", nil, []dump.Entry{table}, Rules{}, []What{Extra}},
		{"definition", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) { e.Definition += " " })}, Rules{}, []What{Definition}},
		{"everything", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) {
			e.Definition, e.Owner, e.Tablespace, e.AccessMethod = "", "p", "fast", "columnar"
		})}, Rules{}, []What{Definition, Owner, Tablespace, AccessMethod}},
		{"owner", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) { e.Owner = "p" })}, Rules{}, []What{Owner}},
		{"owner left out", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) { e.Owner = "p" })}, Rules{IgnoreOwner: true}, nil},
		{"owner of what has none of its own", []dump.Entry{grants}, []dump.Entry{changed(grants, func(e *dump.Entry) { e.Owner = "p" })}, Rules{}, nil},
		{"order of grants", []dump.Entry{grants}, []dump.Entry{changed(grants, func(e *dump.Entry) {
			e.Definition = "GRANT SELECT ON TABLE s.t TO b;\nGRANT SELECT ON TABLE s.t TO a;\n"
		})}, Rules{}, nil},
		{"one grant twice for two", []dump.Entry{grants}, []dump.Entry{changed(grants, func(e *dump.Entry) {
			e.Definition = "GRANT SELECT ON TABLE s.t TO a;\nGRANT SELECT ON TABLE s.t TO a;\n"
		})}, Rules{}, []What{Definition}},
		{"grants left out", []dump.Entry{grants}, nil, Rules{IgnorePrivileges: true}, nil},
		{"meant to differ", []dump.Entry{sequence}, []dump.Entry{changed(sequence, func(e *dump.Entry) { e.Definition = "INCREMENT BY 3" })},
			Rules{Expect: func(e *dump.Entry) string { return strings.Replace(e.Definition, "1", "3", 1) }}, nil},
		{"meant to differ otherwise", []dump.Entry{sequence}, []dump.Entry{changed(sequence, func(e *dump.Entry) { e.Definition = "INCREMENT BY 4" })},
			Rules{Expect: func(e *dump.Entry) string { return strings.Replace(e.Definition, "1", "3", 1) }}, []What{Definition}},
		{"printed otherwise", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) { e.Definition = "canonical" })},
			Rules{Canonical: func(e *dump.Entry) (string, bool) { return "canonical", e.DumpID == 1 }}, nil},
		{"not known how it is printed", []dump.Entry{table}, []dump.Entry{changed(table, func(e *dump.Entry) { e.Definition = "canonical" })},
			Rules{Canonical: func(*dump.Entry) (string, bool) { return "canonical", false }}, []What{Definition}},
		{"what is never compared", []dump.Entry{entry(9, dump.KindTableData, "t", "x"), entry(10, dump.KindEncoding, "", "x")}, nil, Rules{}, nil},
	} {
		var got []What
		for _, d := range Compare(test.source, test.dest, test.rules) {
			got = append(got, d.What)
			if (d.SourceID == 0) != (d.What == Extra) || (d.Source == "") != (d.What == Extra || d.What == Tablespace) {
				t.Errorf("%s: %s has the source %d, %q", test.name, d.What, d.SourceID, d.Source)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestDifferencesHideSecrets(t *testing.T) {
	t.Parallel()
	e := dump.Entry{DumpID: 1, Kind: dump.KindUserMapping, Tag: "m", Definition: "CREATE USER MAPPING FOR u SERVER s OPTIONS (password 'hidden');"}
	for _, d := range Compare([]dump.Entry{e}, nil, Rules{}) {
		if strings.Contains(d.Source, "hidden") || d.Source == "" {
			t.Errorf("the difference shows %q", d.Source)
		}
	}
}
