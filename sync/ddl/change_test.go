package ddl

import (
	"cmp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

func column(number int, name, kind string) catalog.ColumnDescription {
	return catalog.ColumnDescription{Number: number, Name: name, Type: catalog.Name{Schema: "pg_catalog", Name: kind}, TypeText: kind, Modifier: -1}
}

func table(columns ...catalog.ColumnDescription) *catalog.TableDescription {
	return &catalog.TableDescription{
		OID: 7, Table: name("t"), Relkind: "r", Persistence: "p", ReplicaIdentity: "d", Columns: columns,
		Publications: []catalog.PublicationDescription{{Name: "p", Insert: true, Update: true}},
	}
}

// with changes a copy of a description.
func with(d *catalog.TableDescription, f func(*catalog.TableDescription)) *catalog.TableDescription {
	out := *d
	f(&out)
	return &out
}

func withDefault(c catalog.ColumnDescription, text, volatility string) catalog.ColumnDescription {
	c.Default, c.DefaultVolatility = text, volatility
	return c
}

// What rows hold that are older than a column follows from the catalog and from
// whether the table was rewritten.
func TestOldRows(t *testing.T) {
	t.Parallel()
	domain := func(text string) catalog.TypeDescription {
		return catalog.TypeDescription{Type: catalog.Name{Schema: "pg_catalog", Name: "d"}, Kind: "d", Domain: &catalog.DomainDescription{Base: catalog.Name{Schema: "pg_catalog", Name: "int4"}, Default: text}}
	}
	missing := withDefault(column(2, "c", "text"), "'x'::text", "i")
	missing.HasMissing, missing.Missing = true, "it's"
	generated := withDefault(column(2, "c", "int4"), "a + 1", "i")
	generated.Generated = "s"
	identity := column(2, "c", "int4")
	identity.Identity, identity.NotNull = "a", true
	for name, test := range map[string]struct {
		added catalog.ColumnDescription
		types []catalog.TypeDescription
		kind  string
		known Context
		want  OldRows
		value string
	}{
		"no default":                         {added: column(2, "c", "int4"), want: OldNull},
		"no default, rewritten":              {added: column(2, "c", "int4"), known: Context{Moved: true, Reason: RewriteColumn}, want: OldNull},
		"DEFAULT NULL, rewritten":            {added: withDefault(column(2, "c", "text"), "NULL::text", "i"), known: Context{Moved: true}, want: OldNull},
		"a value":                            {added: missing, want: OldConstant, value: "it's"},
		"a default, nothing rewritten":       {added: withDefault(column(2, "c", "int4"), "7", "i"), want: OldNull},
		"a default, rewritten":               {added: withDefault(column(2, "c", "int4"), "7", "i"), known: Context{Moved: true, Reason: RewriteColumn}, want: OldUnknown},
		"volatile, rewritten":                {added: withDefault(column(2, "c", "int4"), "random()", "v"), known: Context{Moved: true, Reason: RewriteDefault}, want: OldUnknown},
		"volatile, set afterwards":           {added: withDefault(column(2, "c", "int4"), "random()", "v"), want: OldNull},
		"generated":                          {added: generated, known: Context{Moved: true, Reason: RewriteDefault}, want: OldComputed},
		"identity":                           {added: identity, known: Context{Moved: true, Reason: RewriteDefault}, want: OldUnknown},
		"a domain without a default":         {added: column(2, "c", "d"), types: []catalog.TypeDescription{domain("")}, known: Context{Moved: true, Reason: RewriteDefault}, want: OldNull},
		"a domain with one":                  {added: column(2, "c", "d"), types: []catalog.TypeDescription{domain("7")}, known: Context{Moved: true, Reason: RewriteDefault}, want: OldUnknown},
		"partitioned, no partition":          {kind: "p", added: withDefault(column(2, "c", "int4"), "7", "i"), known: Context{Moved: true}, want: OldNull},
		"partitioned, as in its partitions":  {kind: "p", added: withDefault(column(2, "c", "int4"), "7", "i"), known: Context{LeafMissing: map[string]string{"c": "7"}}, want: OldConstant, value: "7"},
		"partitioned, partitions rewritten":  {kind: "p", added: withDefault(column(2, "c", "int4"), "random()", "v"), known: Context{Moved: true, LeafMissing: map[string]string{}}, want: OldUnknown},
		"partitioned, default set afterward": {kind: "p", added: withDefault(column(2, "c", "int4"), "random()", "v"), known: Context{LeafMissing: map[string]string{}}, want: OldNull},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := table(column(1, "a", "int4"))
			after := with(table(column(1, "a", "int4"), test.added), func(d *catalog.TableDescription) { d.Types = test.types })
			if test.kind != "" {
				before.Relkind, after.Relkind = test.kind, test.kind
			}
			for _, c := range Changes(before, after, test.known) {
				if c.Kind == ColumnAdded && (c.Old != test.want || c.OldValue != test.value) {
					t.Errorf("old rows hold %d %q, want %d %q", c.Old, c.OldValue, test.want, test.value)
				}
			}
		})
	}
}

// A conversion is the same everywhere only if no setting, no USING and no type
// of a user's decides.
func TestRetyped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from, to string
		known    Context
		want     Verdict
	}{
		{"int4", "int8", Context{Reason: RewriteColumn, Plain: true}, Apply},
		{"int4", "int8", Context{Reason: RewriteColumn}, Resync},
		{"int4", "int8", Context{}, Apply},
		{"numeric", "int4", Context{Reason: RewriteColumn, Plain: true}, Apply},
		{"timestamp", "timestamptz", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"timestamptz", "timestamp", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"float8", "text", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"money", "numeric", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"json", "jsonb", Context{Reason: RewriteColumn, Plain: true}, Apply},
		{"own", "text", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"mood", "text", Context{Reason: RewriteColumn, Plain: true}, Apply},
		{"_int4", "_int8", Context{Reason: RewriteColumn, Plain: true}, Apply},
		{"_timestamp", "_timestamptz", Context{Reason: RewriteColumn, Plain: true}, Resync},
		{"_int4", "int4", Context{Reason: RewriteColumn, Plain: true}, Resync},
	} {
		describe := func(kind string) *catalog.TableDescription {
			d := table(column(1, "c", kind))
			add := func(t catalog.TypeDescription) { d.Types = append(d.Types, t) }
			n := catalog.Name{Schema: "pg_catalog", Name: strings.TrimPrefix(kind, "_")}
			if kind == "own" || kind == "mood" {
				n.Schema = "public"
				d.Columns[0].Type = n
			}
			base := catalog.TypeDescription{Type: n, Kind: "b", Category: "N"}
			if kind == "mood" {
				base.Kind, base.Labels = "e", []string{"x"}
			}
			add(base)
			if kind != n.Name {
				add(catalog.TypeDescription{Type: catalog.Name{Schema: "pg_catalog", Name: kind}, Kind: "b", Category: "A", Element: &n})
			}
			return d
		}
		verdict := Metadata
		for _, c := range Changes(describe(test.from), describe(test.to), test.known) {
			v, _ := Judge(&c)
			verdict = verdict.Heavier(v)
		}
		if verdict != test.want {
			t.Errorf("%s to %s, %+v: %s, want %s", test.from, test.to, test.known, verdict, test.want)
		}
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ before, after, want string }{
		{"a b", "a b", ""},
		{"a b", "a b c", "enum label added c after b"},
		{"a b", "x a b", "enum label added x after "},
		{"a c", "a b c d", "enum label added b after a; enum label added d after c"},
		{"", "a", "enum label added a after "},
		{"a b", "a x", "enum label renamed b after "},
		{"a b", "b a", "enum labels unclear  after "},
		{"a b", "x b c", "enum labels unclear  after "},
	} {
		d := func(labels string) *catalog.TypeDescription {
			return &catalog.TypeDescription{Kind: "e", Labels: strings.Fields(labels)}
		}
		var got []string
		for _, c := range TypeChanges(d(test.before), d(test.after)) {
			got = append(got, string(c.Kind)+" "+c.Object+" after "+c.Neighbour)
		}
		if s := strings.Join(got, "; "); s != test.want {
			t.Errorf("%q to %q: %q, want %q", test.before, test.after, s, test.want)
		}
	}
}

// The mapping decides what is called how, and what is there at all.
func TestStatementsFollowTheMapping(t *testing.T) {
	t.Parallel()
	before := table(column(1, "id", "int4"), column(2, "secret", "text"), column(3, "v", "text"), column(4, "gone", "int4"))
	after := with(table(column(1, "key", "int8"), column(2, "hidden", "varchar"), column(3, "w", "text"), column(5, "secret2", "int4"), column(6, "kept", "int4")), func(d *catalog.TableDescription) {
		d.Table = catalog.Name{Schema: "s", Name: "u"}
	})
	names := map[string]string{"id": "nr", "key": "nr"}
	got := []string{}
	for _, s := range Statements(Changes(before, after, Context{}), Destination{
		Name:     func(n catalog.Name) catalog.Name { return catalog.Name{Schema: "copy", Name: "the " + n.Name} },
		Column:   func(c string) string { return cmp.Or(names[c], c) },
		Excluded: func(c string) bool { return strings.HasPrefix(c, "secret") || c == "hidden" },
		Columns:  []string{"nr", "v", "gone", "kept"}, DropColumns: true,
	}) {
		got = append(got, s.SQL)
	}
	want := []string{
		`ALTER TABLE "copy"."the t" DROP COLUMN IF EXISTS "gone"`,
		`ALTER TABLE "copy"."the t" RENAME COLUMN "v" TO "w"`,
		`ALTER TABLE "copy"."the t" ALTER COLUMN "nr" TYPE int8`,
		`ALTER TABLE "copy"."the t" RENAME COLUMN "kept" TO "pgdrover_6_kept"`,
		`ALTER TABLE "copy"."the t" ADD COLUMN "kept" int4`,
		`ALTER TABLE "copy"."the t" RENAME TO "the u"`,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesInBetween(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"x":                     "pgdrover_12_x",
		strings.Repeat("x", 63): "pgdrover_12_" + strings.Repeat("x", 51),
		strings.Repeat("é", 31): "pgdrover_12_" + strings.Repeat("é", 25),
	} {
		if got := aside(12, name); got != want || len(got) > 63 {
			t.Errorf("%q: %q (%d bytes)", name, got, len(got))
		}
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	generated := column(3, "g", "int4")
	generated.Generated = "s"
	d := table(column(1, "a", "int4"), column(2, "b", "text"), generated)
	relation := func(columns ...string) *stream.Relation {
		r := &stream.Relation{OID: 7, Schema: "public", Name: "t"}
		for _, c := range columns {
			r.Columns = append(r.Columns, stream.RelationColumn{Name: c, Type: 23, Modifier: -1})
		}
		return r
	}
	r := NewRegistry([]string{"p"})
	r.Record(d)
	for _, test := range []struct {
		relation *stream.Relation
		want     bool
	}{
		{relation("a", "b"), true}, {relation("a", "b", "g"), true}, {relation("b", "a"), false}, {relation("a"), false}, {relation("a", "b", "c"), false},
		{&stream.Relation{OID: 8, Schema: "public", Name: "t"}, false}, {&stream.Relation{OID: 7, Schema: "public", Name: "u"}, false},
	} {
		if r.Fits(test.relation) != test.want {
			t.Errorf("%+v: not %v", test.relation, test.want)
		}
	}
	again := NewRegistry([]string{"p"})
	again.Record(d)
	again.RecordShapes(Memory{Tables: map[uint32]Version{7: {Shape: Shape{{"a", 23, -1}, {"b", 25, -1}}}, 9: {}}})
	if again.Fits(relation("a", "b")) {
		t.Error("an int fits a text")
	}
	// A poll knows the types too, and a column list leaves columns out.
	r.Read(&Reading{Tables: []TableReading{{After: with(d, func(d *catalog.TableDescription) {
		d.Publications = []catalog.PublicationDescription{{Name: "p", Columns: []string{"a"}}, {Name: "other"}}
	}), Shape: Shape{{"a", 23, -1}, {"b", 25, -1}}}}})
	if !r.Fits(relation("a")) || r.Fits(relation("a", "b")) {
		t.Error("the column list does not count")
	}
	bigint := relation("a")
	bigint.Columns[0].Type = 20
	if r.Fits(bigint) {
		t.Error("another type fits")
	}
}

// What has no image has to be polled, and a rewrite whose table's event is
// missing is not forgotten.
func TestUnclear(t *testing.T) {
	t.Parallel()
	r := NewRegistry([]string{"p"})
	d := table(column(1, "a", "int4"))
	r.Record(d)
	failed := &Event{Kind: TableEvent, OID: 7, Name: name("t"), Relkind: "r", Failure: &Failure{Code: "54000"}}
	for _, test := range []struct {
		events []*Event
		want   []string
	}{
		{[]*Event{failed}, []string{"table unclear t: poll"}},
		{[]*Event{{Kind: UnknownEvent, Failure: &Failure{Code: "25001"}}}, []string{"everything unclear: poll"}},
		{[]*Event{{Kind: RewriteEvent, OID: 7, Reason: RewriteColumn}}, []string{"table unclear t: poll"}},
		{[]*Event{{Kind: RewriteEvent, OID: 7, Reason: RewriteDefault}}, nil},
		{[]*Event{{Kind: RewriteEvent, OID: 9, Reason: RewriteColumn}}, nil},
		{[]*Event{{Kind: RewriteEvent, OID: 7, Reason: RewriteColumn}, {Kind: TableEvent, OID: 7, After: d, Relkind: "r"}}, []string{"table rewritten t: resync"}},
		{[]*Event{{Kind: TypeEvent, OID: 3, Failure: &Failure{}}}, []string{"everything unclear: poll"}},
		{[]*Event{{Kind: PublicationEvent, OID: 3, Name: catalog.Name{Name: "p"}, Failure: &Failure{}}}, []string{"publication unclear p: poll"}},
		{[]*Event{{Kind: PublicationEvent, OID: 3, Name: catalog.Name{Name: "other"}, Failure: &Failure{}}}, nil},
	} {
		var changes []Change
		for _, e := range test.events {
			changes = append(changes, r.Observe(e)...)
		}
		changes = append(changes, r.EndTransaction()...)
		got := kinds(changes)
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], " :", ":")
		}
		if diff := gocmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v: %s", test.events[0], diff)
		}
	}
}

// Publications that are renamed or dropped stop the stream; those that gain a
// schema have to be polled for what is in it.
func TestPublicationChanges(t *testing.T) {
	t.Parallel()
	r := NewRegistry([]string{"p"})
	r.Record(table(column(1, "a", "int4")))
	r.RecordPublication(&Publication{OID: 3, Name: "p", Insert: true, Update: true, Tables: []ListedMember{{OID: 7, Table: name("t")}}})
	observe := func(p Publication) []string {
		return kinds(r.Observe(&Event{Kind: PublicationEvent, OID: p.OID, Name: catalog.Name{Name: p.Name}, Publication: &p}))
	}
	listed := []ListedMember{{OID: 7, Table: name("t")}}
	for _, test := range []struct {
		p    Publication
		want []string
	}{
		{Publication{OID: 3, Name: "p", Insert: true, Update: true, Tables: listed}, nil},
		{Publication{OID: 3, Name: "p", Insert: true, Update: true, Schemas: []string{"s"}, Tables: listed}, []string{"publication unclear p: poll"}},
		{Publication{OID: 3, Name: "p", Insert: true, Update: true, ViaRoot: true, Tables: listed}, []string{"published via root changed t p: resync"}},
		{Publication{OID: 4, Name: "other", Insert: true}, nil},
		{Publication{OID: 3, Name: "p", Insert: true, Update: true}, []string{"unpublished t p: keep"}},
		{Publication{OID: 3, Name: "q", Insert: true, Update: true}, []string{"publication renamed p q: stop"}},
	} {
		if diff := gocmp.Diff(test.want, observe(test.p)); diff != "" {
			t.Errorf("%+v: %s", test.p, diff)
		}
	}
	r.RecordPublication(&Publication{OID: 3, Name: "p"})
	e := &Event{Kind: DropEvent, Dropped: []Dropped{{OID: 3, Type: "publication", Names: []string{"p"}}}}
	if diff := gocmp.Diff([]string{"publication dropped p: stop"}, kinds(r.Observe(e))); diff != "" {
		t.Error(diff)
	}
}
