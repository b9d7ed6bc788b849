package drift

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// renaming maps the schema app to "Weird "Name" $1", table t to u and columns.
type renaming struct {
	columns map[string]string // "" for one that is not copied
	casts   map[string]string
}

func (r renaming) Column(source string) (string, bool) {
	name, ok := r.columns[source]
	if !ok {
		return source, true
	}
	return name, name != ""
}
func (r renaming) Cast(source string) string { return r.casts[source] }
func (r renaming) Schema(source string) string {
	return r.Table(catalog.Name{Schema: source}).Schema
}
func (r renaming) Table(source catalog.Name) catalog.Name {
	if source.Schema == "app" {
		source.Schema = `Weird "Name" $1`
	}
	if source.Name == "t" {
		source.Name = "u"
	}
	return source
}

func describeOne(t *testing.T, conn *pgx.Conn, schema, table string) *catalog.TableDescription {
	t.Helper()
	name := catalog.Name{Schema: schema, Name: table}
	found, err := catalog.DescribeTables(t.Context(), conn, []catalog.Name{name})
	if err != nil || found[name] == nil {
		t.Fatalf("describe %s: %v", name, err)
	}
	return found[name]
}

// TestMappedTable compares tables that are meant to differ in names, and makes
// the rest of one the same as the other.
func TestMappedTable(t *testing.T) {
	t.Parallel()
	source := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	destination := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	exec(t, source, `CREATE SCHEMA app; CREATE TYPE app.e AS ENUM ('a', 'b'); CREATE TABLE app.parent (id bigint PRIMARY KEY);
		CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TABLE app.t (id bigint PRIMARY KEY, secret text, total numeric(10,2) DEFAULT 1 CONSTRAINT positive CHECK (total > 0), e app.e DEFAULT 'a', n int REFERENCES app.parent, old int,
			twice numeric GENERATED ALWAYS AS (total * 2) STORED);
		CREATE INDEX by_secret ON app.t (total DESC, lower(secret)); CREATE INDEX i ON app.t (abs(total)) WHERE total > 5;
		CREATE UNIQUE INDEX u ON app.t (total, e); CREATE TRIGGER tr BEFORE UPDATE OF total ON app.t FOR EACH ROW WHEN (NEW.total > 1) EXECUTE FUNCTION app.f()`)
	exec(t, destination, strings.ReplaceAll(`CREATE SCHEMA @; CREATE TYPE @.e AS ENUM ('a', 'b'); CREATE TABLE @.parent (id bigint PRIMARY KEY);
		CREATE FUNCTION @.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TABLE @.u (old int, id bigint PRIMARY KEY, "Amount $" numeric(10,2) DEFAULT 1, e @.e DEFAULT 'a', n bigint)`, "@", `"Weird ""Name"" $1"`))
	mapping := renaming{columns: map[string]string{"secret": "", "total": "Amount $"}, casts: map[string]string{"n": "int8"}}
	compare := func() []TableDifference {
		return CompareTables(describeOne(t, source, "app", "t"), describeOne(t, destination, `Weird "Name" $1`, "u"), mapping)
	}
	var kinds []Kind
	for _, d := range compare() {
		if d.Kind != ColumnOrder {
			kinds = append(kinds, d.Kind)
		}
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	want := []Kind{AddedGenerated, CheckSource, ForeignKeyMissing, IndexMissing, TriggerMissing, TypeDeclared, UniqueSource}
	slices.Sort(want)
	if !slices.Equal(kinds, want) {
		t.Fatalf("found %v, want %v", kinds, want)
	}
	for _, s := range Migrate(compare(), Policy{}) {
		exec(t, destination, s.SQL)
	}
	for _, d := range compare() {
		if d.Kind != ColumnOrder && d.Kind != TypeDeclared {
			t.Errorf("there is still %s", &d)
		}
	}
	// A key that is not copied, a cast that loses.
	mapping.columns["id"] = ""
	mapping.casts["total"] = "numeric(10,2)"
	exec(t, source, `DROP TRIGGER tr ON app.t; ALTER TABLE app.t DROP COLUMN twice, ALTER total TYPE numeric`)
	found := map[Kind]Verdict{}
	for _, d := range compare() {
		found[d.Kind] = found[d.Kind].Worse(d.Verdict)
	}
	if found[IdentityNotCopied] != StopTable || found[TypeDeclared] != Warn {
		t.Errorf("found %v", found)
	}
}

// TestEncoding shows that a character the destination lacks is refused.
func TestEncoding(t *testing.T) {
	t.Parallel()
	source := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	destination := open(t, pgtest.Shared(t, 0).CreateDatabase(t, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"))
	for _, conn := range []*pgx.Conn{source, destination} {
		exec(t, conn, `CREATE TABLE public.t (v text)`)
	}
	differences := CompareTables(describeOne(t, source, "public", "t"), describeOne(t, destination, "public", "t"), nil)
	if !slices.ContainsFunc(differences, func(d TableDifference) bool { return d.Kind == EncodingOfDatabase && d.Verdict == StopTable }) {
		t.Errorf("found %v", differences)
	}
	if _, err := destination.Exec(t.Context(), `INSERT INTO public.t VALUES ($1)`, "€"); err == nil {
		t.Error("LATIN1 took a euro")
	}
	for _, d := range CompareTables(describeOne(t, destination, "public", "t"), describeOne(t, source, "public", "t"), nil) {
		if d.Kind == EncodingOfDatabase {
			t.Error("UTF8 has every character")
		}
	}
}

// TestInvalidIndex has an index that was not built to its end built again.
func TestInvalidIndex(t *testing.T) {
	t.Parallel()
	source := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	destination := open(t, pgtest.Shared(t, 0).CreateDatabase(t))
	for _, conn := range []*pgx.Conn{source, destination} {
		exec(t, conn, `CREATE TABLE public.t (id int PRIMARY KEY, v int); INSERT INTO public.t VALUES (1, 0), (2, 0)`)
	}
	exec(t, source, `UPDATE public.t SET v = id`)
	exec(t, source, `CREATE UNIQUE INDEX u ON public.t (v)`)
	if _, err := destination.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY u ON public.t (v)`); err == nil {
		t.Fatal("a unique index over equal values")
	}
	exec(t, destination, `UPDATE public.t SET v = id + 10 WHERE id = 2`)
	compare := func() []TableDifference {
		return CompareTables(describeOne(t, source, "public", "t"), describeOne(t, destination, "public", "t"), nil)
	}
	differences := compare()
	if len(differences) != 1 || differences[0].Kind != IndexInvalid {
		t.Fatalf("found %v", differences)
	}
	for _, s := range Migrate(differences, Policy{}) {
		exec(t, destination, s.SQL)
	}
	if left := compare(); len(left) > 0 {
		t.Errorf("there is still %v", left)
	}
}
