package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func (e *engineStub) ValidateSchema(_ context.Context, name string, tables []string) ([]mirror.TableReport, error) {
	return e.validateSchema(name, tables)
}
func (e *engineStub) SyncSchema(_ context.Context, r mirror.SyncSchemaRequest) (mirror.SyncSchemaReport, error) {
	return e.syncSchema(r)
}
func (e *engineStub) DropTable(_ context.Context, name, table string) error {
	return e.dropTable(name, table)
}

// TestDriftCommands is what the commands about drift ask of the engine, and what
// they answer.
func TestDriftCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var asked []string
	var kept config.Mirror
	mirrorEngine(s, &kept, &asked)
	judged := drift.Judge([]drift.TableDifference{{
		Table: catalog.Name{Schema: "public", Name: "a"}, Destination: catalog.Name{Schema: "public", Name: "a"}, Kind: drift.AddedNull, Column: "note", SourceHas: "text",
		Verdict: drift.StopTable, Reason: "no place",
	}}, drift.Policy{Mirror: "m"})
	judged.Table = catalog.Name{Schema: "public", Name: "a"}
	s.engine.validateSchema = func(name string, tables []string) ([]mirror.TableReport, error) {
		asked = append(asked, "validate "+name+" "+strings.Join(tables, "+"))
		if name == "none" {
			return nil, pgerror.New(pgerror.UndefinedObject, "there is no mirror")
		}
		return []mirror.TableReport{{Mirror: name, Shard: 1, Judgement: judged, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), StoppedLSN: 0x1000}}, nil
	}
	s.engine.syncSchema = func(r mirror.SyncSchemaRequest) (mirror.SyncSchemaReport, error) {
		asked = append(asked, fmt.Sprintf("sync %s %s %t %t %t", r.Mirror, strings.Join(r.Tables, "+"), r.DryRun, r.Force, r.Approve))
		return mirror.SyncSchemaReport{
			Steps:   []mirror.SchemaStep{{Source: judged.Table, Shard: 1, Step: drift.Step{SQL: "ALTER", Lock: drift.AccessExclusive, Lossy: true, Why: "why"}, Estimate: 1500 * time.Microsecond, State: "done"}},
			Copying: []catalog.Name{judged.Table},
		}, nil
	}
	s.engine.dropTable = func(name, table string) error {
		asked = append(asked, "drop "+name+" "+table)
		return nil
	}
	const steps = "T:shard,schema,table,state,sql,lock,rewrites,scans,lossy,estimate_ms,why D:1,public,a,done,ALTER,ACCESS EXCLUSIVE,f,f,t,1.5,why"
	c := s.connect("admin", nil).ready()
	for _, test := range []struct{ statement, asked, want string }{
		{`SYNC_SCHEMA m`, "sync m  false false false", "NOTICE:00000 " + steps + " C:SYNC_SCHEMA Z:I"},
		{`SYNC_SCHEMA m public.a DRY RUN`, "sync m public.a true false false", "NOTICE:00000 " + steps + " C:SYNC_SCHEMA Z:I"},
		{`SYNC_SCHEMA m force`, "sync m  false true false", "NOTICE:00000 " + steps + " C:SYNC_SCHEMA Z:I"},
		{`SYNC_SCHEMA "M x" "S"."T ""q""" FORCE DRY RUN`, `sync M x S.T "q" true true false`, "NOTICE:00000 " + steps + " C:SYNC_SCHEMA Z:I"},
		{`SYNC_SCHEMA m "FORCE"`, "sync m FORCE false false false", "NOTICE:00000 " + steps + " C:SYNC_SCHEMA Z:I"},
		{`SYNC_SCHEMA`, "", "ERROR:42601 Z:I"},
		{`APPROVE m public.a`, "sync m public.a false false true", "NOTICE:00000 " + steps + " C:APPROVE Z:I"},
		{`APPROVE m`, "", "ERROR:42601 Z:I"},
		{`VALIDATE_SCHEMA none`, "validate none ", "ERROR:42704 Z:I"},
		{`ALTER MIRROR m DROP TABLE public.a`, "drop m public.a", "T:task_id D:NULL C:ALTER MIRROR Z:I"},
		{`ALTER MIRROR m WITH (skip_columns = 'public.a.note')`, "alter m", "WARNING:01000 T:task_id D:7 C:ALTER MIRROR Z:I"},
		{`ALTER MIRROR m WITH (skip_columns = 'note')`, "", "ERROR:22023 Z:I"},
	} {
		asked = nil
		if got := c.query(test.statement); got != test.want || strings.Join(asked, "|") != test.asked {
			t.Errorf("%s:\n got %s, asks %v\nwant %s, asks %s", test.statement, got, asked, test.want, test.asked)
		}
	}
	for statement, want := range map[string]string{
		`VALIDATE_SCHEMA m`:                        "validate m ",
		`VALIDATE_SCHEMA m a`:                      "validate m a",
		`SHOW SCHEMA_DIFF m`:                       "validate m ",
		`SHOW SCHEMA_DIFF m public.a`:              "validate m public.a",
		`SHOW SCHEMA_DIFF "M" "public"."a"`:        "validate M public.a",
		`show schema_diff "Weird ""Name"" $1" 'a'`: `validate Weird "Name" $1 a`,
	} {
		asked = nil
		got := c.query(statement)
		if strings.Join(asked, "|") != want || !strings.Contains(got, "stop_table") || !strings.Contains(got, "skip_columns") {
			t.Errorf("%s: %s, asks %v", statement, got, asked)
		}
	}
}

// TestColumnSettings is what settings that name columns make of a mirror.
func TestColumnSettings(t *testing.T) {
	t.Parallel()
	m := config.NewMirror("a", "b", "p")
	m.Tables = []config.MirrorTable{{Schema: "public", Name: "t", ExcludeColumns: []string{"x"}}}
	apply := func(parse func(string) (MirrorSettings, error), text string) {
		t.Helper()
		settings, err := parse(text)
		if err == nil {
			err = settings.Apply(&config.Config{}, &m)
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	apply(ParseMirrorSettings, `skip_columns = 'public.t.note, t."a,b""c"', Null_Removed_Columns = ('"S"."T".c'), allow_type_casts = 'shop.u.price:numeric(10,2), shop.u.n'`)
	apply(ParseMirrorSettings, `skip_columns = 'public.t.note', preserve_columns = 't.old', allow_all_type_casts = true, drift.target_added_columns = stop, allow_schema_drift = (source_superset), force = true`)
	want := config.NewMirror("a", "b", "p")
	want.Drift.TypeMismatches, want.Drift.TargetAddedColumns = "cast_always", "stop"
	want.Drift.AllowSchemaDrift, want.Drift.Force = []string{"source_superset"}, pointer(true)
	want.Tables = []config.MirrorTable{
		{Schema: "public", Name: "t", ExcludeColumns: []string{"x"}, Drift: config.TableDrift{ColumnDrift: config.ColumnDrift{SkipColumns: []string{"note", `a,b"c`}, PreserveColumns: []string{"old"}}}},
		{Schema: "S", Name: "T", Drift: config.TableDrift{ColumnDrift: config.ColumnDrift{NullColumns: []string{"c"}}}},
		{Schema: "shop", Name: "u", Drift: config.TableDrift{ColumnDrift: config.ColumnDrift{AllowTypeCasts: []string{"price:numeric(10,2)", "n"}}}},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	apply(ParseMirrorReset, "skip_columns, allow_all_type_casts")
	if m.Tables[0].Drift.SkipColumns != nil || m.Drift.TypeMismatches != "" || m.Tables[0].Drift.PreserveColumns == nil {
		t.Errorf("after RESET: %+v", m)
	}
	for _, wrong := range []string{`skip_columns = 'note'`, `skip_columns = ''`, `skip_columns = 'a.b.c.d'`, `skip_columns = 'a.b,'`, `skip_columns = 'a."b'`, `allow_type_casts = 'a.b:'`, `allow_all_type_casts = perhaps`, `skip_columns`} {
		if _, err := ParseMirrorSettings(wrong); err == nil {
			t.Errorf("%s is taken", wrong)
		} else if e := pgerror.From(err); e.Position == 0 {
			t.Errorf("%s: no position in %v", wrong, err)
		}
	}
}

// TestWaysParse reads every command that a way out of a stop has by the grammar,
// for every kind of difference and for names that are not plain.
func TestWaysParse(t *testing.T) {
	t.Parallel()
	g := testGrammar(t)
	c := &console{}
	names := []catalog.Name{{Schema: "public", Name: "orders"}, {Schema: `Weird "S"`, Name: `a.b, "c" $1`}}
	verbs := map[string]bool{}
	for _, mirrorName := range []string{"m", `Weird "Mirror" $1`} {
		for _, table := range names {
			for _, column := range []string{"note", `Weird, "Col".x`} {
				for _, kind := range drift.Cases {
					for _, approval := range []bool{false, true} {
						judgeWays(t, g, c, mirrorName, table, column, kind, approval, verbs)
					}
				}
			}
		}
	}
	for _, verb := range []string{"SYNC_SCHEMA", "RESYNC", "RETRY", "APPROVE", "SHOW", "ALTER"} {
		if !verbs[verb] {
			t.Errorf("no way has %s: %v", verb, verbs)
		}
	}
}

func judgeWays(t *testing.T, g *grammar, c *console, mirrorName string, table catalog.Name, column string, kind drift.Case, approval bool, verbs map[string]bool) {
	t.Helper()
	policy := drift.Policy{Mirror: mirrorName}
	policy.TargetAddedColumns, policy.RequireApproval, policy.AutoMigrate = "stop", approval, config.AutoMigrateKinds
	difference := drift.TableDifference{Table: table, Destination: table, Kind: kind.Kind, Column: column, Object: "o", SourceHas: "text", TargetHas: "numeric(10,2)", Verdict: drift.StopTable, Reason: kind.Reason}
	source := &catalog.TableDescription{Server: 150000, OID: 1, Table: table, Relkind: "r", Persistence: "p", ReplicaIdentity: "d", Columns: []catalog.ColumnDescription{
		{Number: 1, Name: "id", Type: catalog.Name{Schema: "pg_catalog", Name: "int4"}, TypeText: "integer"}, {Number: 2, Name: column, Type: catalog.Name{Schema: "pg_catalog", Name: "text"}, TypeText: "text"}}}
	there := *source
	there.Columns = source.Columns[:1]
	real := drift.CompareTables(source, &there, nil)
	for _, differences := range [][]drift.TableDifference{{difference}, real} {
		j := drift.Judge(differences, policy)
		for _, w := range append(j.Ways, j.CopyAgain()...) {
			if w.String() == "" || w.Text == "" {
				t.Errorf("%s: a way says nothing", kind.Kind)
			}
			for _, command := range w.Commands {
				s, err := parsed(g, command)
				if err == nil {
					err = describeSettings(c, s)
				}
				if err != nil {
					t.Errorf("%s: %s: %v", kind.Kind, command, err)
					continue
				}
				verbs[strings.Fields(command)[0]] = true
				for _, argument := range []string{"table", "change", "tables"} {
					if v, there := s.arguments[argument]; there && len(v.list) == 1 && v.list[0].text != table.String() {
						t.Errorf("%s is read as %q, not %q", command, v.list[0].text, table.String())
					}
				}
				if m := s.arguments["mirror"]; m.text != mirrorName && s.arguments["source"].text != mirrorName {
					t.Errorf("%s is of mirror %q", command, m.text)
				}
			}
		}
	}
}
