package catalog_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// weird is a name that needs all quoting there is.
const weird = `Weird "Name" $1`

// q is weird, quoted.
var q = pgtest.Quote(weird)

// sample makes a database in which everything has the weird name, and gives it
// with a connection as the engine opens them.
func sample(t *testing.T, sql ...string) (*pgtest.Database, *pgx.Conn) {
	t.Helper()
	d := pgtest.Shared(t, 0).CreateNamedDatabase(t, fmt.Sprintf("%.40s %s", t.Name(), weird))
	d.Exec(t, "CREATE SCHEMA "+q)
	d.Exec(t, "CREATE SCHEMA pgdrover")
	for _, s := range sql {
		d.Exec(t, strings.ReplaceAll(s, "@", q))
	}
	return d, asRole(t, d, d.Cluster.Superuser())
}

func asRole(t *testing.T, d *pgtest.Database, role string) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), config.Server{Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: role, TLSVerify: config.TLSDisabled}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// role makes a role that is dropped at the end of the test.
func role(t *testing.T, d *pgtest.Database, name, attributes string) string {
	t.Helper()
	quoted := pgtest.Quote(name)
	d.Exec(t, "CREATE ROLE "+quoted+" "+attributes)
	t.Cleanup(func() {
		_ = d.TryExec(context.Background(), "DROP OWNED BY "+quoted)
		if err := d.Cluster.Database("postgres").TryExec(context.Background(), "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted); err != nil {
			t.Errorf("drop the role: %v", err)
		}
	})
	return quoted
}

// must gives a look's answer; a failed look ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func name(relation string) catalog.Name { return catalog.Name{Schema: weird, Name: relation} }

func oid(t *testing.T, d *pgtest.Database, sql string) uint32 {
	t.Helper()
	return pgtest.Value[uint32](t, d, strings.ReplaceAll(sql, "@", strings.ReplaceAll(q, "'", "''")))
}

func TestName(t *testing.T) {
	t.Parallel()
	if got := name("t").String(); got != weird+".t" {
		t.Error(got)
	}
	if got := (catalog.Name{Name: "t"}).String(); got != "t" {
		t.Error(got)
	}
}

func TestConstraints(t *testing.T) {
	t.Parallel()
	d, conn := sample(t,
		`CREATE TABLE @.@ (id int CONSTRAINT "key ""x"" $2" PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, x int CONSTRAINT u UNIQUE, EXCLUDE USING gist (int4range(id, x) WITH &&))`,
		`CREATE TABLE @.child (id int CONSTRAINT fk REFERENCES @.@ (x))`, `ALTER TABLE @.child ADD CONSTRAINT c CHECK (id > 0) NOT VALID`,
		`CREATE TABLE @.root (id int REFERENCES @.@ (x)) PARTITION BY LIST (id)`,
		`CREATE TABLE @.part PARTITION OF @.root DEFAULT`,
		`CREATE TABLE pgdrover.ours (id int PRIMARY KEY)`)
	all := must[map[uint32]catalog.Constraint](t)(catalog.ReadConstraints(t.Context(), conn))
	byName := map[string]catalog.Constraint{}
	for id, k := range all {
		if id != k.OID || k.Table.Schema != weird {
			t.Errorf("%d is %+v", id, k)
		}
		byName[k.Table.Name+"/"+k.Name] = k
	}
	ignore := cmpopts.IgnoreFields(catalog.Constraint{}, "OID", "Index")
	for key, want := range map[string]catalog.Constraint{
		weird + `/key "x" $2`: {Type: 'p', Table: name(weird), Relkind: 'r', Name: `key "x" $2`, Deferrable: true, Deferred: true, Validated: true},
		weird + "/u":          {Type: 'u', Table: name(weird), Relkind: 'r', Name: "u", Validated: true},
		"child/fk":            {Type: 'f', Table: name("child"), Relkind: 'r', Name: "fk", Validated: true, References: name(weird)},
		"child/c":             {Type: 'c', Table: name("child"), Relkind: 'r', Name: "c"},
		"root/root_id_fkey":   {Type: 'f', Table: name("root"), Relkind: 'p', Name: "root_id_fkey", Validated: true, References: name(weird)},
		"part/root_id_fkey":   {Type: 'f', Table: name("part"), Relkind: 'r', Name: "root_id_fkey", Validated: true, References: name(weird), Inherited: true},
	} {
		got, ok := byName[key]
		if diff := cmp.Diff(want, got, ignore); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	if got := byName[weird+`/key "x" $2`].Index; got != oid(t, d, `SELECT conindid FROM pg_constraint WHERE contype = 'p' AND connamespace = to_regnamespace('@')`) {
		t.Errorf("the primary key's index is %d", got)
	}
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	d, conn := sample(t,
		`CREATE TABLE @.@ (id int NOT NULL, x int)`,
		`CREATE UNIQUE INDEX "key ""x"" $2" ON @.@ (id)`,
		`CREATE INDEX plain ON @.@ (x, "id")`,
		`ALTER TABLE @.@ REPLICA IDENTITY USING INDEX "key ""x"" $2"`, `ALTER TABLE @.@ CLUSTER ON plain`,
		`INSERT INTO @.@ VALUES (1, 2), (2, 2)`,
		`CREATE TABLE pgdrover.ours (id int PRIMARY KEY)`)
	// A build that fails leaves an invalid index.
	if err := d.TryExec(t.Context(), strings.ReplaceAll(`CREATE UNIQUE INDEX CONCURRENTLY broken ON @.@ (x)`, "@", q)); err == nil {
		t.Fatal("a unique index is built on rows that are not")
	}
	all := must[map[uint32]catalog.Index](t)(catalog.ReadIndexes(t.Context(), conn))
	byName := map[string]catalog.Index{}
	var oids []uint32
	for id, x := range all {
		if id != x.OID {
			t.Errorf("%d is %+v", id, x)
		}
		byName[x.Index.Name] = x
		oids = append(oids, id)
	}
	want := map[string]catalog.Index{
		`key "x" $2`: {Index: name(`key "x" $2`), Table: name(weird), Relkind: 'r', Valid: true, ReplicaIdentity: true, Unique: true, Effort: 1},
		"plain":      {Index: name("plain"), Table: name(weird), Relkind: 'r', Valid: true, Clustered: true, Effort: 1},
		"broken":     {Index: name("broken"), Table: name(weird), Relkind: 'r', Unique: true, Effort: 1},
	}
	if diff := cmp.Diff(want, byName, cmpopts.IgnoreFields(catalog.Index{}, "OID")); diff != "" {
		t.Errorf("indexes (-want +got):\n%s", diff)
	}
	if got, want := must[[]string](t)(catalog.InvalidIndexes(t.Context(), conn)), []string{q + ".broken"}; !slices.Equal(got, want) {
		t.Errorf("invalid indexes are %v, want %v", got, want)
	}
	definitions := must[map[uint32]string](t)(catalog.IndexDefinitions(t.Context(), conn, append(oids, 1)))
	if got, want := definitions[byName["plain"].OID], `CREATE INDEX plain ON `+q+`.`+q+` USING btree (x, id)`; got != want || len(definitions) != 3 {
		t.Errorf("the definition is %s, want %s; there are %d", got, want, len(definitions))
	}
	if none := must[map[uint32]string](t)(catalog.IndexDefinitions(t.Context(), conn, nil)); len(none) != 0 {
		t.Errorf("nothing has the definitions %v", none)
	}
	if running := must[map[int64]float64](t)(catalog.IndexProgress(t.Context(), conn)); len(running) != 0 {
		t.Errorf("no index is being built, and their progress is %v", running)
	}
}

func TestFiring(t *testing.T) {
	t.Parallel()
	d, conn := sample(t,
		`CREATE TABLE @.@ (id int)`,
		`CREATE FUNCTION @.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER ordinary AFTER INSERT ON @.@ EXECUTE FUNCTION @.f()`,
		`CREATE TRIGGER @ AFTER INSERT ON @.@ EXECUTE FUNCTION @.f()`, `ALTER TABLE @.@ ENABLE ALWAYS TRIGGER @`,
		`CREATE TRIGGER off AFTER INSERT ON @.@ EXECUTE FUNCTION @.f()`, `ALTER TABLE @.@ DISABLE TRIGGER off`,
		`CREATE RULE @ AS ON INSERT TO @.@ DO NOTHING`, `ALTER TABLE @.@ ENABLE REPLICA RULE @`)
	got := must[map[uint32]catalog.Fires](t)(catalog.ReadFiring(t.Context(), conn))
	want := map[uint32]catalog.Fires{
		oid(t, d, `SELECT oid FROM pg_trigger WHERE tgname = 'Weird "Name" $1'`):   catalog.FiresAlways,
		oid(t, d, `SELECT oid FROM pg_trigger WHERE tgname = 'off'`):               catalog.FiresDisabled,
		oid(t, d, `SELECT oid FROM pg_rewrite WHERE rulename = 'Weird "Name" $1'`): catalog.FiresReplica,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("firing (-want +got):\n%s", diff)
	}
	for fires, replica := range map[catalog.Fires]bool{catalog.FiresOrigin: false, catalog.FiresDisabled: false, catalog.FiresReplica: true, catalog.FiresAlways: true} {
		if fires.OnReplica() != replica {
			t.Errorf("%c fires on a replica: %t", fires, fires.OnReplica())
		}
	}
}

func TestPublication(t *testing.T) {
	t.Parallel()
	_, conn := sample(t,
		`CREATE TABLE @.@ (id int PRIMARY KEY)`,
		`CREATE TABLE @.whole (id int)`, `ALTER TABLE @.whole REPLICA IDENTITY FULL`,
		`CREATE TABLE @.none (id int)`,
		`CREATE TABLE @.key (id int NOT NULL)`, `CREATE UNIQUE INDEX key_i ON @.key (id)`, `ALTER TABLE @.key REPLICA IDENTITY USING INDEX key_i`,
		`CREATE TABLE @.root (id int PRIMARY KEY) PARTITION BY LIST (id)`, `CREATE TABLE @.part PARTITION OF @.root DEFAULT`,
		`CREATE TABLE @.nothing (id int PRIMARY KEY)`, `ALTER TABLE @.nothing REPLICA IDENTITY NOTHING`,
		`CREATE TABLE pgdrover.ours (id int)`,
		`CREATE PUBLICATION @ FOR ALL TABLES WITH (publish_via_partition_root = true)`,
		`CREATE PUBLICATION leaves FOR TABLE @.root`, `CREATE PUBLICATION empty`)
	p, ok, err := catalog.ReadPublication(t.Context(), conn, weird)
	if err != nil || !ok || p.Name != weird || !p.AllTables || !p.ViaRoot {
		t.Fatalf("the publication is %+v, %t, %v", p, ok, err)
	}
	identity := map[string]bool{}
	for _, table := range p.Tables {
		identity[table.Table.Name] = table.HasIdentity()
	}
	if diff := cmp.Diff(map[string]bool{weird: true, "whole": true, "none": false, "key": true, "root": true, "nothing": false}, identity); diff != "" {
		t.Errorf("tables with an identity (-want +got):\n%s", diff)
	}
	if p, _, err := catalog.ReadPublication(t.Context(), conn, "leaves"); err != nil || len(p.Tables) != 1 || p.Tables[0].Table.Name != "part" || p.Tables[0].Relkind != 'r' {
		t.Errorf("without the root a publication lists %+v, %v", p.Tables, err)
	}
	if p, ok, err := catalog.ReadPublication(t.Context(), conn, "empty"); err != nil || !ok || len(p.Tables) != 0 {
		t.Errorf("the empty publication: %+v, %t, %v", p, ok, err)
	}
	if _, ok, err := catalog.ReadPublication(t.Context(), conn, `no such "one"`); ok || err != nil {
		t.Errorf("no such publication: %t, %v", ok, err)
	}
	if got, want := must[[]string](t)(catalog.Publications(t.Context(), conn)), []string{weird, "empty", "leaves"}; !slices.Equal(got, want) {
		t.Errorf("publications are %q, want %q", got, want)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	d, super := sample(t, `CREATE TABLE @.@ (id int)`, `CREATE SEQUENCE @.s`, `CREATE TABLE @.open (id int)`, `CREATE TABLE pgdrover.ours (id int)`,
		`CREATE FUNCTION @.c() RETURNS int LANGUAGE internal AS 'pg_backend_pid'`,
		`CREATE FUNCTION @.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'`,
		`CREATE EVENT TRIGGER @ ON ddl_command_end EXECUTE FUNCTION @.e()`, `CREATE PUBLICATION @ FOR ALL TABLES`,
		`CREATE FOREIGN DATA WRAPPER @`, `CREATE SCHEMA shut`, `CREATE TABLE shut.t (id int)`)
	plain := role(t, d, "rights "+weird, "LOGIN")
	d.Exec(t, "GRANT USAGE ON SCHEMA "+q+" TO "+plain+"; GRANT ALL ON "+q+".open TO "+plain+"; GRANT ALL ON shut.t TO "+plain)
	conn := asRole(t, d, "rights "+weird)
	if got, want := must[[]string](t)(catalog.Unreadable(t.Context(), conn)), []string{q + "." + q, q + ".s", "shut.t"}; !slices.Equal(got, want) {
		t.Errorf("unreadable are %q, want %q", got, want)
	}
	if got := must[[]string](t)(catalog.Unreadable(t.Context(), super)); len(got) != 0 {
		t.Errorf("a superuser cannot read %q", got)
	}
	tables := []catalog.Name{name(weird), name("open"), name("no such")}
	if got, want := must[[]string](t)(catalog.Unwritable(t.Context(), conn, tables)), []string{q + "." + q}; !slices.Equal(got, want) {
		t.Errorf("unwritable are %q, want %q", got, want)
	}
	want := []string{"event trigger " + q, "foreign data wrapper " + q, "function " + q + ".c()", "publication " + q + " FOR ALL TABLES"}
	if got := must[[]string](t)(catalog.SuperuserOnly(t.Context(), super, d.Cluster.Installation().Major)); !slices.Equal(got, want) {
		t.Errorf("a superuser is needed for %q, want %q", got, want)
	}
	for c, want := range map[*pgx.Conn]bool{super: true, conn: false} {
		if got := must[bool](t)(catalog.CanReplicate(t.Context(), c)); got != want {
			t.Errorf("can replicate: %t, want %t", got, want)
		}
	}
	d.Exec(t, "GRANT SET ON PARAMETER session_replication_role TO "+plain)
	if !must[bool](t)(catalog.CanReplicate(t.Context(), conn)) {
		t.Error("a role that may set session_replication_role cannot replicate")
	}
	if got := must[[]string](t)(catalog.UsedTablespaces(t.Context(), super)); len(got) != 0 {
		t.Errorf("tablespaces %q are used", got)
	}
}

func TestSequences(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 501 { // more than one query reads
		many = append(many, fmt.Sprintf(`CREATE SEQUENCE @."z%04d" START %d`, i, i+1))
	}
	d, conn := sample(t,
		`CREATE SEQUENCE @.@ AS smallint INCREMENT -3 MINVALUE -100 MAXVALUE 50 START 20 CYCLE`,
		`CREATE TABLE @.t (id bigint GENERATED ALWAYS AS IDENTITY)`,
		`CREATE SEQUENCE pgdrover.ours`, strings.Join(many, "; "))
	d.Exec(t, strings.ReplaceAll(`SELECT nextval('@.@'), nextval('@.@')`, "@", q))
	all := must[[]catalog.Sequence](t)(catalog.ReadSequences(t.Context(), conn))
	if len(all) != 503 {
		t.Fatalf("%d sequences", len(all))
	}
	byName := map[string]catalog.Sequence{}
	for _, s := range all {
		byName[s.Sequence.Name] = s
	}
	for _, want := range []catalog.Sequence{
		{Sequence: name(weird), Type: "smallint", Start: 20, Min: -100, Max: 50, Increment: -3, Cycle: true, Last: 17, Called: true},
		{Sequence: name("t_id_seq"), Type: "bigint", Start: 1, Min: 1, Max: math.MaxInt64, Increment: 1, Last: 1},
		{Sequence: name("z0500"), Type: "bigint", Start: 501, Min: 1, Max: math.MaxInt64, Increment: 1, Last: 501},
	} {
		if diff := cmp.Diff(want, byName[want.Sequence.Name]); diff != "" {
			t.Errorf("sequence (-want +got):\n%s", diff)
		}
	}
	for _, test := range []struct {
		s    catalog.Sequence
		next int64
		ok   bool
	}{
		{catalog.Sequence{Last: 5, Increment: 2}, 5, true}, {catalog.Sequence{Last: 5, Increment: 2, Called: true}, 7, true},
		{catalog.Sequence{Last: math.MaxInt64, Increment: 1}, math.MaxInt64, true}, {catalog.Sequence{Last: math.MinInt64, Increment: -1, Called: true}, 0, false},
		{catalog.Sequence{Last: math.MaxInt64, Increment: 1, Called: true}, 0, false},
	} {
		if next, ok := test.s.Next(); ok != test.ok || ok && next != test.next {
			t.Errorf("after %+v comes %d, %t", test.s, next, ok)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	d, conn := sample(t, `CREATE TABLE @.@ (id int)`, `INSERT INTO @.@ SELECT generate_series(1, 1000)`, `CREATE TABLE @.empty (id int)`,
		`CREATE MATERIALIZED VIEW @.full_view AS SELECT 1`, `CREATE MATERIALIZED VIEW @.no_data AS SELECT 1 WITH NO DATA`,
		`CREATE TABLE pgdrover.ours AS SELECT 1`)
	read := func() map[catalog.Name]catalog.Size {
		t.Helper()
		return must[map[catalog.Name]catalog.Size](t)(catalog.ReadSizes(t.Context(), conn))
	}
	sizes := read()
	var names []string
	for n := range sizes {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	if want := []string{weird, "full_view", "no_data"}; !slices.Equal(names, want) {
		t.Fatalf("there are sizes of %q, want %q", names, want)
	}
	if s := sizes[name(weird)]; s.Bytes < 8192 || s.Locked || !s.Populated {
		t.Errorf("the table is %+v", s)
	}
	if !sizes[name("full_view")].Populated || sizes[name("no_data")].Populated {
		t.Errorf("views: %+v", sizes)
	}
	writer := d.Connect(t)
	tx, err := writer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), strings.ReplaceAll(`INSERT INTO @.@ VALUES (0)`, "@", q)); err != nil {
		t.Fatal(err)
	}
	if s := read()[name(weird)]; !s.Locked {
		t.Errorf("while somebody writes the table is %+v", s)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(t.Context()); err != nil { // its counters are reported now
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the write is counted", func(context.Context) (bool, error) {
		s := read()[name(weird)]
		return s.Writes == sizes[name(weird)].Writes+1 && !s.Locked || s.Writes == 1001 && !s.Locked, nil
	})
}

func TestIntegerKeys(t *testing.T) {
	t.Parallel()
	_, conn := sample(t,
		`CREATE TABLE @.@ (@ serial PRIMARY KEY, n int)`,
		`CREATE TABLE @.child (id bigint PRIMARY KEY, parent int REFERENCES @.@, small smallint)`,
		`CREATE TABLE @.pair (a smallint, b text, PRIMARY KEY (a, b))`,
		`CREATE TABLE @.grandchild (a smallint, b text, FOREIGN KEY (b, a) REFERENCES @.pair (b, a))`)
	got := must[[]catalog.IntegerKey](t)(catalog.ReadIntegerKeys(t.Context(), conn))
	want := []catalog.IntegerKey{
		{Table: name(weird), Column: weird, Type: "integer", Sequence: name(weird + "_" + weird + "_seq")},
		{Table: name("child"), Column: "parent", Type: "integer"},
		{Table: name("grandchild"), Column: "a", Type: "smallint"},
		{Table: name("pair"), Column: "a", Type: "smallint"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("integer keys (-want +got):\n%s", diff)
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	d, super := sample(t)
	s := must[catalog.Server](t)(catalog.ReadServer(t.Context(), super))
	if s.Major() != d.Cluster.Installation().Major || s.Database != d.Name || s.User != d.Cluster.Superuser() || !s.Superuser || !s.CreateDB || !s.CreateRole || !s.Replication || !s.BypassRLS || !s.CanCreate ||
		s.InRecovery || s.WALLevel != "logical" || s.Encoding != "UTF8" || s.MaxConnections < 1 || s.FreeConnections < 1 || s.FreeConnections >= s.MaxConnections || s.FreeSlots > s.MaxSlots {
		t.Errorf("the server says %+v", s)
	}
	role(t, d, "plain "+weird, "LOGIN")
	plain := asRole(t, d, "plain "+weird)
	p := must[catalog.Server](t)(catalog.ReadServer(t.Context(), plain))
	if p.User != "plain "+weird || p.Superuser || p.CreateDB || p.CreateRole || p.Replication || p.BypassRLS || p.CanCreate || p.FreeConnections >= p.MaxConnections {
		t.Errorf("to a plain role the server says %+v", p)
	}
	id := must[string](t)(catalog.SystemIdentifier(t.Context(), super))
	if id == "" || id != pgtest.Value[string](t, d, `SELECT system_identifier::text FROM pg_control_system()`) {
		t.Errorf("the system identifier is %q", id)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	d, conn := sample(t)
	owner, member := role(t, d, "owner "+weird, "CREATEDB LOGIN NOINHERIT CONNECTION LIMIT 3 PASSWORD 'hidden'"), role(t, d, "grantee "+weird, "")
	extra, stranger := role(t, d, "extra "+weird, ""), role(t, d, "stranger "+weird, "")
	d.Exec(t, "GRANT "+extra+" TO "+owner)
	d.Exec(t, "CREATE TABLE "+q+".t (); ALTER TABLE "+q+".t OWNER TO "+owner+"; GRANT SELECT ON "+q+".t TO "+member)
	d.Exec(t, "CREATE TABLE pgdrover.ours (); ALTER TABLE pgdrover.ours OWNER TO "+stranger)
	got := must[[]catalog.Role](t)(catalog.ReadRoles(t.Context(), conn, []string{"extra " + weird, "no such role"}))
	want := []catalog.Role{
		{Name: "extra " + weird, MemberOf: []string{}},
		{Name: "grantee " + weird, MemberOf: []string{}},
		{Name: "owner " + weird, Attributes: "NOINHERIT CREATEDB LOGIN CONNECTION LIMIT 3", MemberOf: []string{"extra " + weird}},
	}
	slices.SortFunc(got, func(a, b catalog.Role) int { return strings.Compare(a.Name, b.Name) })
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if sql, want := got[2].CreateSQL(), "CREATE ROLE "+owner+" WITH NOINHERIT CREATEDB LOGIN CONNECTION LIMIT 3;"; sql != want {
		t.Errorf("it is made by %s, want %s", sql, want)
	}
	if sql, want := got[0].CreateSQL(), "CREATE ROLE "+extra+";"; sql != want {
		t.Errorf("it is made by %s, want %s", sql, want)
	}
	for what, names := range map[catalog.Kind][]string{
		catalog.Roles: {"owner " + weird, "b " + weird, "a"}, catalog.Tablespaces: {"pg_default", "b " + weird, "a"}, catalog.Extensions: {"plpgsql", "b " + weird, "a"},
	} {
		if got := must[[]string](t)(catalog.Missing(t.Context(), conn, what, names)); !slices.Equal(got, []string{"a", "b " + weird}) {
			t.Errorf("missing %s are %q", what, got)
		}
	}
	if got := must[[]string](t)(catalog.Missing(t.Context(), conn, catalog.Roles, nil)); len(got) != 0 {
		t.Errorf("nothing is missing %q", got)
	}
	asOwner := asRole(t, d, "owner "+weird)
	names := []string{"extra " + weird, "grantee " + weird, "owner " + weird, "no such role"}
	if got := must[[]string](t)(catalog.NotMemberOf(t.Context(), asOwner, names)); !slices.Equal(got, []string{"grantee " + weird}) {
		t.Errorf("the owner is no member of %q", got)
	}
	if got := must[[]string](t)(catalog.NotMemberOf(t.Context(), conn, names)); len(got) != 0 {
		t.Errorf("a superuser is no member of %q", got)
	}
}

func TestNameList(t *testing.T) {
	t.Parallel()
	for want, limit := range map[string]int{"a, b, c": 3, "a, b and 1 more": 2} {
		if got := catalog.NameList([]string{"a", "b", "c"}, limit); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestExtensions(t *testing.T) {
	t.Parallel()
	_, conn := sample(t, `CREATE EXTENSION pgcrypto`, `CREATE EXTENSION pg_stat_statements`)
	var got []string
	for _, e := range must[[]catalog.Extension](t)(catalog.ReadExtensions(t.Context(), conn)) {
		if e.Version == "" {
			t.Errorf("%s has no version", e.Name)
		}
		got = append(got, fmt.Sprint(e.Name, e.Trusted))
	}
	if want := []string{"pg_stat_statementsfalse", "pgcryptotrue"}; !slices.Equal(got, want) {
		t.Errorf("extensions are %q, want %q", got, want)
	}
}
