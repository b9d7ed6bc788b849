package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// smallSchema is a source that is synced in no time. Its domain is what a gate
// stops at.
const smallSchema = `
CREATE DOMAIN price AS numeric(12,2) CHECK (VALUE >= 0);
CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, price price);
CREATE INDEX items_name ON items (name);
CREATE VIEW cheap AS SELECT name FROM items WHERE price < 10;`

// weirdName is a name in [[databases]].
const weirdName = `Weird "Name"`

// shop is a pgdrover between a small source and an empty destination, which is
// known as weirdName too.
type shop struct {
	*running
	source, destination *pgtest.Database
}

func openShop(tb testing.TB) shop {
	tb.Helper()
	s := shop{}
	s.source, s.destination = fresh(tb, smallSchema)
	s.running = serve(tb, withSecrets(s.source, s.destination, ""))
	return s
}

// withSecrets is a configuration with a reader, a second name for the
// destination, and a password for servers that ask for none.
func withSecrets(source, destination *pgtest.Database, general string) setup {
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = "source-secret", "destination-secret"
	s.general = general
	s.extra = fmt.Sprintf("[[databases]]\nname = %q\nhost = %q\nport = %d\ndatabase_name = %q\n",
		weirdName, destination.Cluster.Host(), destination.Cluster.Port(), destination.Name)
	s.users = fmt.Sprintf("[[users]]\nname = %q\ndatabase = %q\npassword = \"weird-secret\"\nschema_admin = true\n\n"+
		"[[users]]\nname = \"looker\"\ndatabase = \"admin\"\npassword = \"reader-secret\"\n", destination.Cluster.Superuser(), weirdName)
	return s
}

var reader = account{"looker", "reader-secret"}

const gateLock = 4711

// gate stops every CREATE DOMAIN in a database until the function that it gives
// is called. Such a statement can be cancelled.
func gate(tb testing.TB, d *pgtest.Database) (open func()) {
	tb.Helper()
	conn := d.Connect(tb)
	for _, sql := range []string{
		fmt.Sprintf("SELECT pg_advisory_lock(%d)", gateLock),
		fmt.Sprintf(`CREATE FUNCTION public.gate() RETURNS event_trigger LANGUAGE plpgsql AS $$
			BEGIN WHILE NOT pg_try_advisory_xact_lock_shared(%d) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$`, gateLock),
		"CREATE EVENT TRIGGER gate ON ddl_command_start WHEN TAG IN ('CREATE DOMAIN') EXECUTE FUNCTION public.gate()",
	} {
		if _, err := conn.Exec(tb.Context(), sql); err != nil {
			tb.Fatalf("%s: %v", sql, err)
		}
	}
	return func() {
		d.Exec(tb, "DROP EVENT TRIGGER gate")
		d.Exec(tb, "DROP FUNCTION public.gate()")
		if _, err := conn.Exec(tb.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
			tb.Errorf("open the gate: %v", err)
		}
	}
}

// stopped waits until somebody stands before the gate.
func stopped(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	d.WaitUntil(tb, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')")
}

// free waits until nobody does.
func free(tb testing.TB, d *pgtest.Database) {
	tb.Helper()
	d.WaitUntil(tb, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')")
}

func tool(tb testing.TB, i pgcluster.Installation, name string) string {
	tb.Helper()
	path, err := i.Tool(name)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// psqls are the versions that are tested.
var psqls = map[string]func(testing.TB) string{
	"oldest": func(tb testing.TB) string { return tool(tb, pgtest.Base(tb), "psql") },
	"newest": func(tb testing.TB) string { return tool(tb, pgtest.Newer(tb), "psql") },
}

// TestPsql drives psql of both ends of the supported range.
func TestPsql(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	s.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "SCHEMA_SYNC PRE prod prod_new all_tables; WAIT 1").expect(t, 0, "finished", "NOTICE:  task 1: ")
	script := filepath.Join(t.TempDir(), "commands.sql")
	text := "-- a comment\nSHOW /* a /* nested */ one */ VERSION;\nSHOW NONSENSE_;\nSHOW VERSION; SHOW SERVER_VERSION\n;\n"
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		args  []string
		code  int
		words []string
	}{
		{"several statements", []string{"-c", "SHOW VERSION; SHOW SERVER_VERSION;; show\nversion"}, 0, []string{"pgdrover", "14.0 (pgdrover", "(1 row)"}},
		{"several commands", []string{"-c", "SHOW VERSION", "-c", "SHOW TASKS"}, 0, []string{"pgdrover", "schema_sync(pre) prod -> prod_new"}},
		{"an error skips the rest of a string", []string{"-At", "-c", "SHOW port; NO SUCH; SHOW host"}, 1, []string{"unknown command"}},
		{"file", []string{"-f", script}, 0, []string{"pgdrover", `unknown SHOW topic or setting "NONSENSE_"`, "14.0 (pgdrover"}},
		{"file that stops", []string{"-v", "ON_ERROR_STOP=1", "-f", script}, 3, []string{script + ":3: ERROR:"}},
		{"caret", []string{"-c", "SHOW VERSION; SCHEMA_SYNC PREE prod b c"}, 1, []string{
			"ERROR:  syntax error at or near \"PREE\"\nLINE 1: SHOW VERSION; SCHEMA_SYNC PREE prod b c\n                                  ^\n", "HINT:  Perhaps you meant PRE."}},
		{"caret behind wide characters", []string{"-c", `STOP_TASK "ключ"`}, 1, []string{"LINE 1: STOP_TASK \"ключ\"\n                  ^\n"}},
		{"nearest command", []string{"-c", "SHEMA_SYNC PRE a b c"}, 1, []string{"unknown command \"SHEMA_SYNC\"", "Perhaps you meant SCHEMA_SYNC"}},
		{"expanded", []string{"-c", `\x`, "-c", "SHOW TASKS"}, 0, []string{"-[ RECORD 1 ]", padded("status") + "| finished"}},
		{"quoted names", []string{"-At", "-c", `PROBE "Weird ""Name"""`}, 0, nil},
		{"case of names", []string{"-c", `PROBE "weird ""name"""`}, 1, []string{"neither a database of pgdog.toml"}},
		{"names as literals", []string{"-At", "-c", `SHOW SCHEMA_DIFF prod 'prod_new'`}, 0, []string{"items_name"}},
		{"transaction block", []string{"-1", "-c", "SHOW VERSION"}, 0, []string{"pgdrover"}},
		{"empty", []string{"-c", "", "-c", ";", "-c", "-- nothing"}, 0, nil},
		{"psql's own queries", []string{"-c", `\d`, "-c", "SHOW VERSION"}, 0, []string{"not supported", "SHOW HELP", "pgdrover"}},
		{"SQL", []string{"-c", "CREATE TABLE t (a int)"}, 1, []string{"CREATE is not supported: this is the admin database"}},
	}
	for version, path := range psqls {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			path := path(t)
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					s.psqlOf(t, path, administrator, nil, test.args...).expect(t, test.code, test.words...)
				})
			}
			t.Run("commands of psql", func(t *testing.T) {
				input := "SHOW TASKS \\gdesc\nSHOW VERSION\\g\n\\set name 1\nWAIT :name;\nSHOW VERSION \\gset\n\\echo got :version\n"
				words := []string{" " + padded("id") + "| bigint", padded("elapsed_ms") + "| bigint", padded("percent") + "| double precision", "finished", "got pgdrover"}
				if version == "newest" {
					input += "SHOW VERSION \\watch c=2 i=0.1\nWAIT $1 \\bind 1 \\g\nSHOW HELP $1 \\bind SHUTDOWN \\g\n"
					words = append(words, "stop the process gracefully")
				}
				cmd := exec.CommandContext(t.Context(), path, "-X", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-")
				cmd.Env, cmd.Stdin = s.environment(administrator), strings.NewReader(input)
				o := outcomeOf(t, cmd).expect(t, 0, words...)
				if n := strings.Count(o.out, "(every 0.1s)"); version == "newest" && n != 2 {
					t.Errorf("\\watch showed %d results, want 2:\n%s%s", n, o.out, o.err)
				}
			})
			t.Run("Tab", func(t *testing.T) { completes(t, s, path) })
		})
	}
}

// padded is a column of SHOW TASKS as psql shows it: as wide as the longest.
func padded(column string) string { return fmt.Sprintf("%-*s ", len("transactions_per_sec"), column) }

// terminal runs psql on a terminal and goes through steps: "see X" waits until X
// is shown, "type X" types it. The test is skipped where there is no Python.
func (r *running) terminal(t *testing.T, path string, steps ...string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: it drives psql on a terminal")
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/clients/terminal.py", path, "-X", "-w")
	cmd.Env, cmd.Stdin = append(r.environment(administrator), "TERM=dumb", "INPUTRC=/dev/null"), strings.NewReader(strings.Join(steps, "\x00"))
	outcomeOf(t, cmd).expect(t, 0)
}

// completes checks what psql makes of Tab.
func completes(t *testing.T, s shop, path string) {
	var steps []string
	for typed, want := range map[string]string{ // what is typed does nothing of the kind when it is not completed
		"SHOW SERVER_V\t;\n": "14.0 (pgdrover", "SHOW listener\t;\n": "(0 rows)", "show tas\t;\n": "row", "SHOW client_login_t\t;\n": "60000",
		"SHOW schema_sync.index_j\t;\n": "(1 row)", "SET schema_sync.index_j\t= 2;\n": "\nSET\r",
	} {
		steps = append(steps, "see =# ", "type "+typed, "see "+want)
	}
	s.terminal(t, path, steps...)
}

// TestInterrupt presses Ctrl-C while psql waits for a task: the session and the
// task go on.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for version, path := range psqls {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			path := path(t)
			s := openShop(t)
			open := gate(t, s.destination)
			task := s.rows(t, "SCHEMA_SYNC PRE prod prod_new all_tables")[0]
			stopped(t, s.destination)
			s.terminal(t, path, "see =# ", "type WAIT "+task+";\n", "see NOTICE:  task "+task, "type \x03",
				"see ERROR:  canceling statement due to user request", "see only the waiting was ended", "see =# ",
				"type SHOW VERSION;\n", "see pgdrover ", "type SHOW TASKS \\gx\n", "see "+padded("status")+"| running")
			open()
			if got := s.rows(t, "WAIT "+task)[0]; !strings.HasPrefix(got, task+"|finished|") {
				t.Errorf("WAIT: %s", got)
			}
		})
	}
}

// TestReader logs in as a user who may SHOW and nothing else.
func TestReader(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	admin := s.connect(t, administrator, "")
	conn := s.connect(t, reader, "")
	rows, err := admin.Query(t.Context(), "SHOW HELP")
	if err != nil {
		t.Fatal(err)
	}
	type command struct{ Name, Syntax, Description, Role string }
	commands, err := pgx.CollectRows(rows, pgx.RowToStructByPos[command])
	if err != nil || len(commands) < 15 {
		t.Fatalf("SHOW HELP: %d commands, %v", len(commands), err)
	}
	for _, c := range commands {
		var example string
		rows, err := admin.Query(t.Context(), "SHOW HELP $1", c.Name)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			if values := rows.RawValues(); string(values[0]) == "example" {
				example = string(values[1])
			}
		}
		if err := rows.Err(); err != nil || example == "" {
			t.Fatalf("SHOW HELP %s has no example: %v", c.Name, err)
		}
		_, err = conn.Exec(t.Context(), example)
		refused := pgerror.Code(err) == pgerror.InsufficientPrivilege
		if show := strings.HasPrefix(c.Name, "SHOW"); refused == show {
			t.Errorf("a reader's %s: %v", example, err)
		}
	}
	s.psqlAs(t, reader, nil, "-c", "SET log_level TO debug").expect(t, 1, "permission denied for SET", "Connect as the user of [admin]")
	s.psqlAs(t, reader, nil, "-c", "SET application_name TO me; BEGIN; SHOW application_name; COMMIT; SHOW VERSION").expect(t, 0, "COMMIT", "pgdrover")
	s.psqlAs(t, reader, []string{"PGDATABASE=prod"}, "-c", "SHOW VERSION").expect(t, 2, "password authentication failed")
	if got := s.setting(t, "log_level"); got != "info" {
		t.Errorf("a reader changed log_level to %s", got)
	}
}

// TestMainJob moves the demo's shop to two shards, as an operator does.
func TestMainJob(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	source := c.CreateDatabase(t)
	source.LoadFile(t, "../demo/shop.sql")
	destinations := shards(t, c, 2)
	r := serve(t, between(source, destinations...))

	dry := r.dryRun(t, "PRE")
	if !slices.ContainsFunc(dry, func(p planned) bool {
		return p.Shard == 1 && p.Phase == "pre_data" && p.Kind == "TABLE" && p.Object == "shop.customers" && strings.HasPrefix(p.SQL, "CREATE TABLE shop.customers")
	}) {
		t.Errorf("DRY RUN has no table shop.customers on shard 1")
	}
	if n := pgtest.Value[int](t, destinations[0], "SELECT count(*) FROM pg_namespace WHERE nspname = 'shop'"); n != 0 {
		t.Error("DRY RUN changed a destination")
	}
	for i, phase := range []string{"PRE", "POST", "CUTOVER"} {
		r.phase(t, phase, i+1)
	}
	if got := r.rows(t, "SHOW SCHEMA_DIFF prod prod_new"); got[0] != "" {
		t.Errorf("the schemas differ:\n%s", strings.Join(got, "\n"))
	}
	states := map[string]int{}
	for _, row := range r.table(t, "SHOW SCHEMA_SYNC") {
		states[row["state"]]++
		if row["database"] != "prod_new" || row["sql"] == "" {
			t.Fatalf("SHOW SCHEMA_SYNC: %v", row)
		}
	}
	if len(states) != 1 || states["done"] == 0 {
		t.Errorf("statements by state: %v", states)
	}
	r.phase(t, "POST_CUTOVER", 4)
	tasks := r.table(t, "SHOW TASKS")
	if len(tasks) < 4+3*2 {
		t.Errorf("SHOW TASKS has %d rows", len(tasks))
	}
	for _, row := range tasks {
		if row["status"] != "finished" || row["failed"] != "0" || row["percent"] != "100" {
			t.Errorf("SHOW TASKS: %v", row)
		}
	}
	for _, phase := range []string{"PRE", "POST"} { // nothing but what is done every time is left
		for _, p := range r.dryRun(t, phase) {
			if p.Kind != "ANALYZE" && p.Kind != "REFRESH" {
				t.Errorf("%s would run again: %+v", phase, p)
			}
		}
	}
}

// phase runs a phase and waits for it, in one string.
func (r *running) phase(tb testing.TB, phase string, task int) {
	tb.Helper()
	r.psql(tb, "-v", "ON_ERROR_STOP=1", "-c", fmt.Sprintf("SCHEMA_SYNC %s prod prod_new all_tables; WAIT %d", phase, task)).
		expect(tb, 0, "finished", fmt.Sprintf("NOTICE:  task %d: ", task))
}

// planned is a row of DRY RUN.
type planned struct {
	Shard, Order        int64
	Phase, Kind, Object string
	Lock                *string
	SQL                 string
}

func (r *running) dryRun(tb testing.TB, phase string) []planned {
	tb.Helper()
	rows, err := r.connect(tb, administrator, "").Query(tb.Context(), "SCHEMA_SYNC "+phase+" prod prod_new all_tables DRY RUN")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByName[planned])
	if err != nil {
		tb.Fatalf("DRY RUN: %v", err)
	}
	return out
}

// table runs one command and gives its rows by column; NULL is "".
func (r *running) table(tb testing.TB, command string) []map[string]string {
	tb.Helper()
	results, err := r.connect(tb, administrator, "").PgConn().Exec(tb.Context(), command).ReadAll()
	if err != nil {
		tb.Fatalf("%s: %v", command, err)
	}
	var out []map[string]string
	for _, values := range results[0].Rows {
		row := map[string]string{}
		for i, field := range results[0].FieldDescriptions {
			row[field.Name] = string(values[i])
		}
		out = append(out, row)
	}
	return out
}
