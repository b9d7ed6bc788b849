package admin

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorEngine keeps one mirror and what it is asked for.
func mirrorEngine(s *adminServer, kept *config.Mirror, asked *[]string) {
	note := func(what string) (mirror.Started, error) {
		*asked = append(*asked, what)
		switch {
		case strings.HasSuffix(what, " refused"):
			return mirror.Started{Warnings: []*pgerror.Error{pgerror.New("01000", "odd")}}, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "not now")
		case strings.HasSuffix(what, " idle"):
			return mirror.Started{}, nil
		}
		return mirror.Started{Task: 7, Warnings: []*pgerror.Error{pgerror.New("01000", "odd")}}, nil
	}
	s.engine.createMirror = func(m config.Mirror) error {
		*kept = m
		_, err := note("create " + m.Name)
		if m.Name != "there" {
			return nil
		}
		return pgerror.New(pgerror.DuplicateObject, "it exists: %w", err)
	}
	s.engine.alterMirror = func(_ context.Context, name string, change func(*config.Mirror) error) (mirror.Started, error) {
		if err := change(kept); err != nil {
			return mirror.Started{}, err
		}
		return note("alter " + name)
	}
	s.engine.pause = func(_ context.Context, name string) error {
		_, err := note("pause " + name)
		return err
	}
	s.engine.resume = func(name string) (mirror.Started, error) { return note("resume " + name) }
	s.engine.retry = func(name string) (mirror.Started, error) { return note("retry " + name) }
}

// TestMirrorCommands is what the engine is asked for, and what is answered.
func TestMirrorCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var kept config.Mirror
	var asked []string
	mirrorEngine(s, &kept, &asked)
	c := s.connect("admin", nil).ready()
	for _, test := range []struct{ statement, asked, want string }{
		{`CREATE MIRROR m FROM prod TO prod_sharded PUBLICATION p`, "create m|resume m", "WARNING:01000 T:mirror,task_id D:m,7 C:CREATE MIRROR Z:I"},
		{`create mirror "Weird ""Name"" $1" from 'a' to "b c" publication p no start`, `create Weird "Name" $1`, `T:mirror,task_id D:Weird "Name" $1,NULL C:CREATE MIRROR Z:I`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (workers = 4) -- later`, "create m|resume m", "WARNING:01000 T:mirror,task_id D:m,7 C:CREATE MIRROR Z:I"},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p NO START WITH (workers = 4)`, "create m", "T:mirror,task_id D:m,NULL C:CREATE MIRROR Z:I"},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (autostart = off)`, "create m", "T:mirror,task_id D:m,NULL C:CREATE MIRROR Z:I"},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (autostart = off) NO START`, "create m", "T:mirror,task_id D:m,NULL C:CREATE MIRROR Z:I"},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (autostart = on) NO START`, "", "ERROR:22023 Z:I"},
		{`CREATE MIRROR there FROM a TO b PUBLICATION p`, "create there", "ERROR:42710 Z:I"},
		{`CREATE MIRROR refused FROM a TO b PUBLICATION p`, "create refused|resume refused", "WARNING:01000 NOTICE:00000 ERROR:55000 Z:I"},
		{`CREATE MIRROR '' FROM a TO b PUBLICATION p`, "", "ERROR:22023 Z:I"},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (TABLE t (EXCLUDE (x), RENAME (x TO y)))`, "", "ERROR:22023 Z:I"},
		{`ALTER MIRROR m SET (workers = 5)`, "alter m", "WARNING:01000 T:task_id D:7 C:ALTER MIRROR Z:I"},
		{`ALTER MIRROR idle RESET (workers, TABLE a)`, "alter idle", "T:task_id D:NULL C:ALTER MIRROR Z:I"},
		{`ALTER MIRROR refused SET (workers = 5)`, "alter refused", "WARNING:01000 ERROR:55000 Z:I"},
		{`ALTER MIRROR m SET (workers = 0)`, "", "ERROR:22023 Z:I"},
		{`PAUSE MIRROR "Weird ""Name"" $1"`, `pause Weird "Name" $1`, "T:pause_mirror D:OK C:PAUSE MIRROR Z:I"},
		{`PAUSE MIRROR refused`, "pause refused", "ERROR:55000 Z:I"},
		{`RESUME /* it */ MIRROR m`, "resume m", "WARNING:01000 T:task_id D:7 C:RESUME MIRROR Z:I"},
		{`RESUME MIRROR refused`, "resume refused", "WARNING:01000 ERROR:55000 Z:I"},
		{`RETRY MIRROR m`, "retry m", "WARNING:01000 T:task_id D:7 C:RETRY MIRROR Z:I"},
		{`RETRY MIRROR refused`, "retry refused", "WARNING:01000 ERROR:55000 Z:I"},
	} {
		asked = nil
		got := c.query(test.statement)
		if got != test.want || strings.Join(asked, "|") != test.asked {
			t.Errorf("%s:\n got %s, asks %v\nwant %s, asks %s", test.statement, got, asked, test.want, test.asked)
		}
	}
}

// TestMirrorDefinition is what CREATE and ALTER make of a mirror.
func TestMirrorDefinition(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var kept config.Mirror
	var asked []string
	mirrorEngine(s, &kept, &asked)
	c := s.connect("admin", nil).ready()
	c.query(`CREATE MIRROR M FROM Prod TO "New" PUBLICATION P WITH (workers = 4, drift.validation = permissive, TABLE a.b AS c)`)
	want := config.NewMirror("Prod", "New", "P")
	want.Name, want.Autostart, want.Workers, want.Drift.Validation = "M", true, pointer(4), "permissive"
	want.Tables = []config.MirrorTable{{Schema: "a", Name: "b", DestinationName: "c"}}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("CREATE MIRROR (-want +got):\n%s", diff)
	}
	c.query(`ALTER MIRROR M SET (group_rows = 10, drift.validation = default, TABLE a.b AS d)`)
	c.query(`ALTER MIRROR M RESET (workers)`)
	want.Workers, want.GroupRows, want.Drift.Validation, want.Tables[0].DestinationName = nil, pointer(10), "", "d"
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("ALTER MIRROR (-want +got):\n%s", diff)
	}
	c.query(`CREATE MIRROR m FROM a TO b PUBLICATION p NO START`)
	want = config.NewMirror("a", "b", "p")
	want.Name = "m"
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("NO START (-want +got):\n%s", diff)
	}
}

// TestMirrorRefusals: position, message and hint reach the client.
func TestMirrorRefusals(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var kept config.Mirror
	var asked []string
	mirrorEngine(s, &kept, &asked)
	c := s.connect("admin", nil).ready()
	for text, want := range map[string]string{
		"CREATE MIRROR größe FROM a TO b PUBLICATION p WITH (worker = 1)": "42704 at 53: Perhaps you meant workers.",
		"CREATE MIRROR m FROM a TO b PUBLICATION p WITH (workers = many)": "22023 at 59: ",
		"CREATE MIRROR m FROM a TO b PUBLICATION p WITH (workers 1)":      "42601 at 57: Elements of the list",
		"CREATE MIRROR '' FROM a TO b PUBLICATION p":                      "22023 at 15: ",
		"ALTER MIRROR m SET (drift.intervall = 1)":                        "42704 at 21: Perhaps you meant drift.interval.",
		"ALTER MIRROR m RESET (drift.intervall)":                          "42704 at 23: Perhaps you meant drift.interval.",
		"ALTER MIRROR m RESET (workers = 1)":                              "42601 at 31: Elements of the list",
		"ALTER MIRROR m SET (TABLE t (EXCLUDE (x), CAST (x AS text)))":    "22023 at 0: do one of the two",
		"SHOW MIRROR_LOG m LEVEL warnin":                                  "22023 at 25: Perhaps you meant warning. Levels are info, warning, error.",
		"SHOW MIRROR_LOG m LIMIT 0":                                       "22023 at 25: ",
		"SHOW MIRROR_LOG m LIMIT 3000000000":                              "22023 at 25: ",
		"SHOW MIRROR_LOG m LIMIT ten":                                     "22P02 at 25: ",
	} {
		e := c.refusal(text)
		if got := e.Code + " at " + itoa(e.Position) + ": " + e.Hint; !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n got %s (%s)\nwant %s", text, got, e.Message, want)
		}
	}
	if asked != nil {
		t.Errorf("the engine was asked: %v", asked)
	}
}

// TestMirrorCommandsPrepared: whatever is a name or a value may be a parameter.
func TestMirrorCommandsPrepared(t *testing.T) {
	t.Parallel()
	const weird = `Weird "Name" $1`
	for _, mode := range execModes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var kept config.Mirror
			var asked []string
			mirrorEngine(s, &kept, &asked)
			conn := connectPgx(t, s, mode, &[]string{})
			var name, task string
			if err := conn.QueryRow(t.Context(), "CREATE MIRROR $1 FROM $2 TO $3 PUBLICATION $4 WITH (workers = $5, SCHEMA $6 AS app, TABLE $7 (EXCLUDE ($1), WHERE $8))",
				weird, "a", "b", "p", "4", weird, "s.t", "x > 1").Scan(&name, &task); err != nil || name != weird || task != "7" {
				t.Fatalf("%q, %q, %v", name, task, err)
			}
			want := config.NewMirror("a", "b", "p")
			want.Name, want.Autostart, want.Workers, want.Schemas = weird, true, pointer(4), map[string]string{weird: "app"}
			want.Tables = []config.MirrorTable{{Schema: "s", Name: "t", ExcludeColumns: []string{weird}, RowFilter: "x > 1"}}
			if diff := cmp.Diff(want, kept); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, test := range []struct {
				statement string
				argument  any
				code      string
			}{
				{"ALTER MIRROR m SET (workers = $1)", "0", "22023"},
				{"ALTER MIRROR m SET (worker = $1)", "4", "42704"},
				{"ALTER MIRROR m RESET ($1)", "workers", "42601"},
				{"PAUSE MIRROR $1", "refused", "55000"},
			} {
				if err := conn.QueryRow(t.Context(), test.statement, test.argument).Scan(&task); pgerror.Code(err) != test.code {
					t.Errorf("%s with %v: %v", test.statement, test.argument, err)
				}
			}
			if mode == pgx.QueryExecModeSimpleProtocol {
				return // NULL is a word there
			}
			if err := conn.QueryRow(t.Context(), "ALTER MIRROR m SET (workers = $1)", nil).Scan(&task); pgerror.Code(err) != nullValueNotAllowed {
				t.Errorf("NULL: %v", err)
			}
		})
	}
}

// TestCancelMirrorCommands: the waiting of PAUSE and ALTER can be ended, and
// what becomes of the mirror then is told.
func TestCancelMirrorCommands(t *testing.T) {
	t.Parallel()
	for statement, hint := range map[string]string{
		`PAUSE MIRROR "M m"`:                   `PAUSE MIRROR "M m"; asks again`,
		`ALTER MIRROR "M m" SET (workers = 2)`: `RESUME MIRROR "M m"; lets it go on`,
	} {
		s := startServer(t)
		waiting := make(chan struct{}, 1)
		s.engine.pause = func(ctx context.Context, _ string) error {
			waiting <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		s.engine.alterMirror = func(ctx context.Context, name string, _ func(*config.Mirror) error) (mirror.Started, error) {
			return mirror.Started{}, s.engine.pause(ctx, name)
		}
		c := s.connect("admin", nil).ready()
		c.send(&pgproto3.Query{String: statement})
		within(t, waiting, statement)
		s.mu.Lock()
		cancel := s.cancels[c.pid]
		s.mu.Unlock()
		cancel()
		m, err := c.Receive()
		if e, ok := m.(*pgproto3.ErrorResponse); err != nil || !ok || e.Code != "57014" || e.Detail == "" || !strings.Contains(e.Hint, hint) {
			t.Errorf("%s: %+v, %v", statement, m, err)
		}
		c.until("Z:I")
	}
}

// TestMirrorLog is what the engine is asked for, and what is answered.
func TestMirrorLog(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var name string
	var filter mirror.LogFilter
	s.engine.mirrorLog = func(n string, f mirror.LogFilter) ([]mirror.MirrorEvent, error) {
		name, filter = n, f
		if n == "none" {
			return nil, pgerror.New(pgerror.UndefinedObject, "there is no mirror")
		}
		return []mirror.MirrorEvent{
			{
				ID: 12, At: ended, Level: "error", Kind: "table", Task: 7, Shard: 0, Schema: "public", Table: `Weird "Table" $1`, LSN: "16/80", Message: "stopped",
				Error: pgerror.New("23505", "duplicate key").WithDetail("key (id)=(7)").WithHint("RESYNC m"),
			},
			{ID: 11, At: began, Level: "info", Kind: "mirror", Shard: -1, Message: "created"},
		}, nil
	}
	c := s.connect("monitoring", nil).ready() // a reader may
	for _, test := range []struct {
		statement string
		filter    mirror.LogFilter
	}{
		{`SHOW MIRROR_LOG "A b"`, mirror.LogFilter{}},
		{`SHOW MIRROR_LOG 'A b' LEVEL info`, mirror.LogFilter{Levels: []string{"info", "warning", "error"}}},
		{`show mirror_log "A b" limit 5 like '100% "x"' level Warning`, mirror.LogFilter{Levels: []string{"warning", "error"}, Search: `100% "x"`, Limit: 5}},
		{`SHOW MIRROR_LOG "A b" LIKE orders LEVEL 'error'`, mirror.LogFilter{Levels: []string{"error"}, Search: "orders"}},
	} {
		got := c.query(test.statement)
		if !strings.HasSuffix(got, "C:SHOW Z:I") || name != "A b" {
			t.Errorf("%s: %s, of %q", test.statement, got, name)
		}
		if diff := cmp.Diff(test.filter, filter); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.statement, diff)
		}
	}
	if got := c.query("SHOW MIRROR_LOG none"); got != "ERROR:42704 Z:I" {
		t.Errorf("a mirror that is not there: %s", got)
	}
	out, exit := psql(t, s, "-x", "-c", `SHOW MIRROR_LOG "A b"`)
	if exit != 0 {
		t.Errorf("exit code %d", exit)
	}
	golden(t, "psql_mirror_log.golden", out)
	conn := connectPgx(t, s, pgx.QueryExecModeCacheStatement, &[]string{})
	rows, err := conn.Query(t.Context(), "SHOW MIRROR_LOG $1 LEVEL $2 LIKE $3 LIMIT $4", "A b", "error", "x", 5)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := pgx.CollectRows(rows, pgx.RowToMap); err != nil || len(found) != 2 || filter.Limit != 5 || filter.Search != "x" {
		t.Errorf("%d rows, %v, %+v", len(found), err, filter)
	}
}
