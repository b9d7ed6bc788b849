package drift

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
)

// pgType is a type of pg_catalog with what a description says of it.
func pgType(name, category string) catalog.TypeDescription {
	return catalog.TypeDescription{Type: catalog.Name{Schema: "pg_catalog", Name: name}, Kind: "b", Category: category}
}

func column(number int, name, typeName, text string) catalog.ColumnDescription {
	return catalog.ColumnDescription{Number: number, Name: name, Type: catalog.Name{Schema: "pg_catalog", Name: typeName}, TypeText: text, Modifier: -1}
}

// users is a table with a key.
func users(columns ...catalog.ColumnDescription) *catalog.TableDescription {
	id := column(1, "id", "int4", "integer")
	id.NotNull = true
	return &catalog.TableDescription{
		Server: 150000, OID: 1, Table: catalog.Name{Schema: "public", Name: "users"}, Relkind: "r", Persistence: "p", ReplicaIdentity: "d",
		Columns:     append([]catalog.ColumnDescription{id}, columns...),
		Types:       []catalog.TypeDescription{pgType("int4", "N"), pgType("int8", "N"), pgType("text", "S"), pgType("numeric", "N"), pgType("varchar", "S")},
		Constraints: []catalog.ConstraintDescription{{Name: "users_pkey", Type: "p", Columns: []string{"id"}, Definition: "PRIMARY KEY (id)", Validated: true, Index: "users_pkey"}},
		Indexes:     []catalog.IndexDescription{{Name: "users_pkey", Unique: true, Primary: true, Columns: []string{"id"}, Using: "btree (id)", Method: "btree", Constraint: "users_pkey"}},
	}
}

func phone(n int) catalog.ColumnDescription { return column(n, "phone", "text", "text") }

// TestJudge walks the proposal's scenarios and the options for each.
func TestJudge(t *testing.T) {
	t.Parallel()
	added := Comparison{Source: users(phone(2)), Destination: users()}
	extra := Comparison{Source: users(), Destination: users(phone(2))}
	removed := Comparison{Source: users(), Destination: users(phone(2)), Before: users(phone(2))}
	required := phone(2)
	required.NotNull = true
	removedRequired := Comparison{Source: users(), Destination: users(required), Before: users(required)}
	lossy := Comparison{Source: users(column(2, "price", "numeric", "numeric")), Destination: users(column(2, "price", "int4", "integer"))}
	wider := Comparison{Source: users(column(2, "n", "int4", "integer")), Destination: users(column(2, "n", "int8", "bigint"))}
	narrower := Comparison{Source: users(column(2, "n", "int8", "bigint")), Destination: users(column(2, "n", "int4", "integer"))}
	volatile := phone(2)
	volatile.Default, volatile.DefaultVolatility = "gen_random_uuid()", "v"
	random := Comparison{Source: users(volatile), Destination: users()}
	notNull := Comparison{Source: users(phone(2)), Destination: users(required)}
	with := func(change func(*Policy)) Policy {
		p := Policy{Mirror: "m", Drift: config.Drift{Validation: "strict", SourceAddedColumns: "stop", TargetAddedColumns: "allow", SourceRemovedColumns: "stop", TypeMismatches: "cast_if_safe"}}
		if change != nil {
			change(&p)
		}
		return p
	}
	for _, test := range []struct {
		name     string
		c        Comparison
		policy   Policy
		want     Verdict
		by       string
		skipped  []string
		commands string // of the recommended way
		sql      string
	}{
		{name: "equal", c: Comparison{Source: users(), Destination: users()}, policy: with(nil), want: OK},
		{name: "added", c: added, policy: with(nil), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added, skipped by name", c: added, policy: with(func(p *Policy) { p.SkipColumns = []string{"phone"} }), want: Warn, by: "skip_columns", skipped: []string{"phone"}},
		{name: "added, skipped", c: added, policy: with(func(p *Policy) { p.SourceAddedColumns = "skip" }), want: Warn, by: "source_added_columns", skipped: []string{"phone"}},
		{name: "added, superset allowed", c: added, policy: with(func(p *Policy) { p.AllowDrift = []string{SourceSuperset} }), want: Warn, by: "allow_schema_drift", skipped: []string{"phone"}},
		{name: "added, applied", c: added, policy: with(func(p *Policy) { p.SourceAddedColumns = "apply" }), want: Apply, by: "source_added_columns", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added, migrated", c: added, policy: with(func(p *Policy) { p.AutoMigrate = []string{"add_column"} }), want: Apply, by: "auto_migrate", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added, to be approved", c: added, policy: with(func(p *Policy) { p.AutoMigrate, p.RequireApproval = []string{"add_column"}, true }), want: StopTable, by: "auto_migrate", commands: "APPROVE m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added volatile, applied", c: random, policy: with(func(p *Policy) { p.SourceAddedColumns = "apply" }), want: ResyncTable, by: "source_added_columns", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text; ALTER TABLE "public"."users" ALTER COLUMN "phone" SET DEFAULT gen_random_uuid();`},
		{name: "added, warn only", c: added, policy: with(func(p *Policy) { p.WarnOnly = true }), want: Warn, skipped: []string{"phone"}, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added, permissive", c: added, policy: with(func(p *Policy) { p.Validation = "permissive" }), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ADD COLUMN "phone" text;`},
		{name: "added, disabled", c: added, policy: with(func(p *Policy) { p.Validation = "disabled" }), want: OK, by: "validation"},
		{name: "extra", c: extra, policy: with(nil), want: Warn},
		{name: "extra, stop", c: extra, policy: with(func(p *Policy) { p.TargetAddedColumns = "stop" }), want: StopTable, by: "target_added_columns", commands: "ALTER MIRROR m WITH (allow_schema_drift = (target_superset)); RETRY MIRROR m"},
		{name: "removed", c: removed, policy: with(nil), want: StopTable, commands: "ALTER MIRROR m WITH (preserve_columns = 'public.users.phone'); RETRY MIRROR m"},
		{name: "removed, preserve", c: removed, policy: with(func(p *Policy) { p.SourceRemovedColumns = "preserve" }), want: Warn, by: "source_removed_columns"},
		{name: "removed, null", c: removed, policy: with(func(p *Policy) { p.NullColumns = []string{"phone"} }), want: Warn, by: "null_columns"},
		{name: "removed, drop", c: removed, policy: with(func(p *Policy) { p.SourceRemovedColumns = "drop" }), want: Apply, by: "source_removed_columns", commands: "SYNC_SCHEMA m public.users FORCE", sql: `ALTER TABLE "public"."users" DROP COLUMN IF EXISTS "phone";`},
		{name: "removed required, preserve", c: removedRequired, policy: with(func(p *Policy) { p.PreserveColumns = []string{"phone"} }), want: Apply, by: "preserve_columns", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "phone" DROP NOT NULL;`},
		{name: "lossy", c: lossy, policy: with(nil), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "price" TYPE numeric;`},
		{name: "lossy, permissive", c: lossy, policy: with(func(p *Policy) { p.Validation = "permissive" }), want: Warn, by: "validation"},
		{name: "lossy, allowed", c: lossy, policy: with(func(p *Policy) { p.AllowTypeCasts = []string{"price"} }), want: Warn, by: "allow_type_casts"},
		{name: "lossy, allowed to that type", c: lossy, policy: with(func(p *Policy) { p.AllowTypeCasts = []string{"price:int4"} }), want: Warn, by: "allow_type_casts"},
		{name: "lossy, allowed to another type", c: lossy, policy: with(func(p *Policy) { p.AllowTypeCasts = []string{"price:smallint"} }), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "price" TYPE numeric;`},
		{name: "lossy, always", c: lossy, policy: with(func(p *Policy) { p.TypeMismatches = "cast_always" }), want: Warn, by: "type_mismatches"},
		{name: "lossy, all without force", c: lossy, policy: with(func(p *Policy) { p.AllowDrift = []string{AllDrift} }), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "price" TYPE numeric;`},
		{name: "lossy, all", c: lossy, policy: with(func(p *Policy) { p.AllowDrift, p.Force = []string{AllDrift}, true }), want: Warn, by: "allow_schema_drift"},
		{name: "lossy, widened", c: lossy, policy: with(func(p *Policy) { p.AutoMigrate = []string{"widen_type"} }), want: Apply, by: "auto_migrate", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "price" TYPE numeric;`},
		{name: "wider", c: wider, policy: with(nil), want: OK},
		{name: "wider, stop", c: wider, policy: with(func(p *Policy) { p.TypeMismatches = "stop" }), want: StopTable, by: "type_mismatches", commands: "ALTER MIRROR m WITH (allow_type_casts = 'public.users.n'); RETRY MIRROR m"},
		{name: "narrower, widened", c: narrower, policy: with(func(p *Policy) { p.TypeMismatches, p.AutoMigrate = "stop", []string{"widen_type"} }), want: Apply, by: "auto_migrate", commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "n" TYPE bigint;`},
		{name: "not null there", c: notNull, policy: with(nil), want: StopTable, commands: "SYNC_SCHEMA m public.users", sql: `ALTER TABLE "public"."users" ALTER COLUMN "phone" DROP NOT NULL;`},
		{name: "not null there, permissive", c: notNull, policy: with(func(p *Policy) { p.Validation = "permissive" }), want: Warn, by: "validation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j := Judge(test.c.Differences(), test.policy)
			if j.Verdict != test.want {
				t.Errorf("verdict %s (%s), want %s", j.Verdict, j.Reason, test.want)
			}
			by := ""
			for _, d := range j.Differences {
				by += d.By
			}
			if by != test.by {
				t.Errorf("decided by %q, want %q", by, test.by)
			}
			if diff := cmp.Diff(test.skipped, j.Skipped); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
			if (j.Would.Stops() || j.Would == Apply) != (len(j.Ways) > 0) || (j.Reason == "") != (j.Would == OK) {
				t.Errorf("would be %s, %d ways out, reason %q", j.Would, len(j.Ways), j.Reason)
			}
			if len(j.Ways) == 0 {
				return
			}
			w := j.Ways[0]
			if w.Number != 1 || !w.Recommended || w.Text == "" {
				t.Errorf("the first way is %+v", w)
			}
			if got := strings.Join(w.Commands, "; "); got != test.commands {
				t.Errorf("commands %s, want %s", got, test.commands)
			}
			if got := strings.Join(w.SQL, " "); got != test.sql {
				t.Errorf("SQL %s, want %s", got, test.sql)
			}
		})
	}
}

// TestGoingOn checks what a judgement says of the columns of a table that goes
// on with differences.
func TestGoingOn(t *testing.T) {
	t.Parallel()
	source := users(phone(2), column(3, "price", "numeric", "numeric"), column(4, "secret", "text", "text"))
	destination := users(column(2, "price", "int4", "integer"), column(3, "old", "text", "text"), column(4, "older", "text", "text"))
	before := users(phone(2), column(3, "price", "numeric", "numeric"), column(4, "secret", "text", "text"), column(5, "old", "text", "text"), column(6, "older", "text", "text"))
	differences := Comparison{Source: source, Destination: destination, Before: before}.Differences()
	options := Policy{Mirror: "m", ColumnDrift: config.ColumnDrift{SkipColumns: []string{"phone", "secret"}, PreserveColumns: []string{"old"}, NullColumns: []string{"older"}, AllowTypeCasts: []string{"price"}}}
	warn, off := Policy{Mirror: "m"}, Policy{Mirror: "m"}
	warn.WarnOnly, off.Validation = true, "disabled"
	for _, test := range []struct {
		policy Policy
		want   Judgement
	}{
		{options, Judgement{Verdict: Warn, Would: Warn, Skipped: []string{"phone", "secret"}, Preserved: []string{"old"}, Nulled: []string{"older"}, Casts: map[string]string{"price": "integer"},
			Used: []string{"skip_columns", "allow_type_casts", "preserve_columns", "null_columns"}}},
		{warn, Judgement{Verdict: Warn, Would: StopTable, Skipped: []string{"phone", "secret"}, Casts: map[string]string{"price": "integer"}, Used: []string{"warn_only"}}},
		{off, Judgement{Verdict: OK, Would: OK, Used: []string{"validation"}}},
	} {
		got := Judge(differences, test.policy)
		got.Table, got.Destination, got.Reason, got.Differences, got.Ways, got.Mirror = catalog.Name{}, catalog.Name{}, "", nil, nil, ""
		slices.Sort(got.Used)
		slices.Sort(test.want.Used)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	// A table that is not there is made from a dump; what cannot be computed is
	// not applied.
	create := Policy{Mirror: "m"}
	create.AutoMigrate = []string{"create_table", "add_column"}
	if j := Judge(CompareTables(users(), nil, nil), create); j.Verdict != Apply || len(j.Steps) > 0 {
		t.Errorf("a missing table: %s, %d steps", j.Verdict, len(j.Steps))
	}
	computed := column(3, "c", "text", "text")
	computed.Generated, computed.Default = "s", "lower(secret)"
	lacking := CompareTables(users(column(2, "secret", "text", "text"), computed), users(), renaming{columns: map[string]string{"secret": ""}})
	if j := Judge(lacking, create); j.Verdict != StopTable || len(j.Ways) == 0 {
		t.Errorf("a column computed from one that is not copied: %s, %v", j.Verdict, j.Ways)
	}
	// One column is skipped, another one has the table copied again.
	volatile := column(3, "u", "text", "text")
	volatile.Default, volatile.DefaultVolatility = "gen_random_uuid()", "v"
	apply := Policy{Mirror: "m", ColumnDrift: config.ColumnDrift{SkipColumns: []string{"phone"}}}
	apply.SourceAddedColumns, apply.WarnOnly = "apply", true
	if j := Judge(CompareTables(users(phone(2), volatile), users(), nil), apply); j.Verdict != ResyncTable || !slices.Equal(j.Skipped, []string{"phone"}) || len(j.Steps) == 0 {
		t.Errorf("%s, skipped %v, %d steps", j.Verdict, j.Skipped, len(j.Steps))
	}
}

// TestEveryStopHasAWayOut judges each kind that stops by itself.
func TestEveryStopHasAWayOut(t *testing.T) {
	t.Parallel()
	table := catalog.Name{Schema: "public", Name: `Weird "Name" $1`}
	for _, c := range Cases {
		j := Judge([]TableDifference{{Table: table, Destination: table, Kind: c.Kind, Column: "c", Object: "o", Verdict: c.Verdict, Reason: c.Reason}}, Policy{Mirror: "m"})
		if j.Would.Stops() && (len(j.Ways) == 0 || j.Reason == "") {
			t.Errorf("%s stops without a way out", c.Kind)
		}
		for i, w := range j.Ways {
			if w.Number != i+1 || w.Recommended != (i == 0) || w.Text == "" || len(w.Commands) == 0 {
				t.Errorf("%s: way %+v", c.Kind, w)
			}
			if slices.ContainsFunc(w.Commands, func(command string) bool {
				return strings.Contains(command, "RESYNC") && !strings.Contains(command, `public."Weird ""Name"" $1"`)
			}) {
				t.Errorf("%s: %v", c.Kind, w.Commands)
			}
		}
		if c.Migrates != "" && !slices.Contains(config.AutoMigrateKinds, c.Migrates) {
			t.Errorf("%s: auto_migrate has no %q", c.Kind, c.Migrates)
		}
	}
}

func TestPolicyCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		drift []string
		force bool
		ok    bool
	}{{drift: nil, ok: true}, {drift: []string{SourceSuperset, TargetSuperset}, ok: true}, {drift: []string{TypeCasts}}, {drift: []string{AllDrift}}, {drift: []string{AllDrift}, force: true, ok: true}, {drift: []string{"what"}, force: true}} {
		if err := (Policy{AllowDrift: test.drift, Force: test.force}).Check(); (err == nil) != test.ok {
			t.Errorf("%v, force %t: %v", test.drift, test.force, err)
		}
	}
}

func TestWithoutServer(t *testing.T) {
	t.Parallel()
	kinds := func(c Comparison) []Kind {
		var out []Kind
		for _, d := range c.Differences() {
			out = append(out, d.Kind)
		}
		return out
	}
	// PostgreSQL 18 publishes what is computed.
	generated := column(2, "g", "int4", "integer")
	generated.Generated, generated.Default = "s", "(id * 2)"
	source := users(generated)
	source.Publications = []catalog.PublicationDescription{{Name: "p", Insert: true, Update: true, Delete: true, Truncate: true, Generated: "s"}}
	if got := kinds(Comparison{Source: source, Destination: users(column(2, "g", "int4", "integer")), Publication: "p"}); !slices.Equal(got, []Kind{GeneratedSent}) {
		t.Error(got)
	}
	// Versions of a collation and of an extension.
	of := func(version, actual, extension string) *catalog.TableDescription {
		c := phone(2)
		c.Collation = &catalog.Name{Schema: "pg_catalog", Name: "en-x-icu"}
		d := users(c, catalog.ColumnDescription{Number: 3, Name: "ci", Type: catalog.Name{Schema: "public", Name: "citext"}, TypeText: "public.citext", Modifier: -1})
		d.Collations = []catalog.CollationDescription{{Collation: *c.Collation, Provider: "i", Locale: "en", Deterministic: true, Version: version, ActualVersion: actual}}
		d.Types = append(d.Types, catalog.TypeDescription{Type: catalog.Name{Schema: "public", Name: "citext"}, Kind: "b", Category: "S", Extension: extension})
		return d
	}
	if got := kinds(Comparison{Source: of("1", "1", "citext 1.6"), Destination: of("2", "3", "citext 1.7")}); !slices.Equal(got, []Kind{CollationVersion, CollationVersion, ExtensionVersion}) {
		t.Error(got)
	}
	// A column list of the publication leaves columns out.
	source = users(phone(2))
	source.Publications = []catalog.PublicationDescription{{Name: "p", Columns: []string{"id"}, Insert: true, Update: true, Delete: true, Truncate: true}}
	if got := kinds(Comparison{Source: source, Destination: users(), Publication: "p"}); len(got) > 0 {
		t.Error(got)
	}
	if got := kinds(Comparison{Source: source, Destination: users(phone(2)), Publication: "p"}); !slices.Equal(got, []Kind{ExtraColumn}) {
		t.Error(got)
	}
	// A filter of one of several entries counts for nothing beside one without.
	both := []catalog.PublicationDescription{{Name: "p", Filter: "(id > 1)"}, {Name: "p", AllTables: true}}
	if rowsOf(both) != rowsOf(both[1:]) || rowsOf(both) == rowsOf(both[:1]) {
		t.Error(rowsOf(both))
	}
	if CompareTables(nil, nil, nil) != nil {
		t.Error("differences of nothing")
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	rewrite, brief := Step{Rewrites: true, Indexes: 2, Lock: AccessExclusive}, Step{Lock: AccessExclusive}
	if a, b := rewrite.Estimate(1e6, 1<<30), brief.Estimate(1e6, 1<<30); a <= 100*b || !rewrite.Blocks() || (Step{Lock: ShareUpdateExclusive}).Blocks() {
		t.Errorf("rewriting a gigabyte takes %v, a moment's lock %v", a, b)
	}
	if (Step{Scans: true}).Estimate(-1, -1) != brief.Estimate(0, 0) {
		t.Error("an unknown size is none")
	}
}

func TestSameTypeText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		written, formatted string
		same               bool
	}{
		{"int8", "bigint", true}, {"BIGINT", "bigint", true}, {"varchar(20)", "character varying(20)", true}, {"numeric( 10 , 2 )", "numeric(10,2)", true},
		{"timestamptz(3)", "timestamp(3) with time zone", true}, {"timestamp(3) with time zone", "timestamp(3) with time zone", true}, {"timestamptz", "timestamp with time zone", true},
		{"char", "character(1)", true}, {"int4[]", "integer[]", true}, {"int", "bigint", false}, {`public."Mood"`, `public."Mood"`, true}, {`public."Mood"`, `public."mood"`, false}, {")(", ")(", true},
	} {
		if sameTypeText(test.written, test.formatted) != test.same {
			t.Errorf("%s and %s: same %t", test.written, test.formatted, !test.same)
		}
	}
}

// TestMappingOf checks that the mirror's own mapping is what is compared by.
func TestMappingOf(t *testing.T) {
	t.Parallel()
	m, problem := mapping.New(&config.Config{}, config.Mirror{Name: "m", Source: "a", Destination: "b", Schemas: map[string]string{"public": "app"}, Tables: []config.MirrorTable{
		{Schema: "public", Name: "users", DestinationName: "people", RenameColumns: map[string]string{"phone": "tel"}, ExcludeColumns: []string{"secret"}, CastColumns: map[string]string{"n": "int8"}},
	}})
	if problem != nil {
		t.Fatal(problem)
	}
	source := users(phone(2), column(3, "secret", "text", "text"), column(4, "n", "int4", "integer"))
	destination := users(column(2, "tel", "text", "text"), column(3, "n", "int8", "bigint"))
	destination.Table = catalog.Name{Schema: "app", Name: "people"}
	mapped, err := MappingOf(m, source.Table)
	if err != nil {
		t.Fatal(err)
	}
	differences := CompareTables(source, destination, mapped)
	if len(differences) != 1 || differences[0].Kind != TypeDeclared || differences[0].Destination != destination.Table {
		t.Errorf("found %v", differences)
	}
	if other := mapped.Table(catalog.Name{Schema: "public", Name: "other"}); other != (catalog.Name{Schema: "app", Name: "other"}) || mapped.Schema("public") != "app" {
		t.Errorf("public.other is %s", other)
	}
	if same, err := MappingOf(nil, source.Table); err != nil || len(CompareTables(source, source, same)) != 0 {
		t.Errorf("no mapping: %v", err)
	}
	if _, err := MappingOf(m, catalog.Name{Schema: "app", Name: "people"}); err == nil {
		t.Error("two tables with one name at the destination")
	}
}
