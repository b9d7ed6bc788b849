package dump

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestRun(t *testing.T) {
	s := startServer(t)
	s.create(t, `postgres://Weird "Database" $1?x=y`, "", everything(t))
	archive, err := s.binary.Run(t.Context(), Options{
		Server:         s.server(`postgres://Weird "Database" $1?x=y`),
		ExcludeSchemas: []string{"pgdrover", "a.b*?[c]$", `"`, "app*"},
		LockTimeout:    time.Minute,
	})
	if err != nil {
		t.Fatal(err, pgerror.From(err).Detail)
	}
	checkEntries(t, archive)
	if archive.Database != `postgres://Weird "Database" $1?x=y` || len(archive.Warnings) != 0 {
		t.Errorf("%q, warnings %q", archive.Database, archive.Warnings)
	}
	schemas := make(map[string]bool)
	tags := make(map[string]Entry)
	for _, e := range archive.Entries {
		if e.Kind == KindSchema {
			schemas[e.Tag] = true
		}
		tags[e.Tag] = e
		if e.Namespace == "pgdrover" || e.Namespace == "a.b*?[c]$" {
			t.Errorf("%s %s is of an excluded schema", e.Kind, e.Tag)
		}
	}
	for schema, want := range map[string]bool{"pgdrover": false, "a.b*?[c]$": false, "PgDrover": true, "app": true, `Weird "Schema" $1`: true} {
		if schemas[schema] != want {
			t.Errorf("schema %q: %t, want %t", schema, schemas[schema], want)
		}
	}
	// What excluding a schema does to the rest of the dump.
	for tag, want := range map[string]bool{
		`Weird "Pub" $1 customers`: true,  // a publication keeps its other tables
		`Weird "Pub" $1 progress`:  false, // but not those of the schema
		"whole_schema app":         true,
		"whole_schema pgdrover":    false,
		"fdw":                      true, // objects outside schemas stay
		"pgdrover_ddl":             true, // even those that call into the schema,
		"a uses_pgdrover":          true, // and triggers do
	} {
		if _, got := tags[tag]; got != want {
			t.Errorf("%q: %t, want %t", tag, got, want)
		}
	}
}

// Settings of the server do not reach the definitions.
func TestRunPinsSettings(t *testing.T) {
	s := startServer(t)
	sql := `CREATE SCHEMA app;
		CREATE TABLE app.t (at timestamptz, b bytea DEFAULT '\x00ff', c text DEFAULT E'a\\b''c') PARTITION BY RANGE (at);
		CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM ('2024-06-01 00:00:00+00') TO ('2024-07-01 00:00:00+00');
		CREATE VIEW app.v AS SELECT '\x00ff'::bytea AS b, '2024-06-01 00:00:00+00'::timestamptz AS at, E'a\\b''c'::text AS c;`
	s.create(t, "pinned_a", "", sql)
	s.create(t, "pinned_b", "TEMPLATE template0 ENCODING LATIN1", sql)
	s.exec(t, s.connect(t, "postgres"), `ALTER DATABASE pinned_b SET TimeZone = 'Asia/Tokyo';
		ALTER DATABASE pinned_b SET bytea_output = 'escape'; ALTER DATABASE pinned_b SET standard_conforming_strings = off;
		ALTER DATABASE pinned_b SET DateStyle = 'German'; ALTER DATABASE pinned_b SET search_path = app`)
	t.Setenv("PGOPTIONS", "-c TimeZone=America/New_York")
	t.Setenv("PGTZ", "America/New_York")
	t.Setenv("PGSERVICE", "nowhere")
	t.Setenv("PGHOSTADDR", "192.0.2.1")
	t.Setenv("PGDATABASE", "elsewhere")
	definitions := func(database string) map[Key]string {
		archive, err := s.binary.Run(t.Context(), Options{Server: s.server(database)})
		if err != nil {
			t.Fatal(err, pgerror.From(err).Detail)
		}
		found := make(map[Key]string)
		for i, key := range archive.Keys() {
			if key.Kind != KindDatabase && key.Kind != KindDatabaseProperties {
				found[key] = archive.Entries[i].Definition
			}
		}
		return found
	}
	if diff := cmp.Diff(definitions("pinned_a"), definitions("pinned_b")); diff != "" {
		t.Error(diff)
	}
}

// Names of a database in another encoding are UTF-8 in the archive.
func TestRunTranslatesEncoding(t *testing.T) {
	s := startServer(t)
	s.create(t, "latin1", "TEMPLATE template0 ENCODING LATIN1", `CREATE TABLE "größe" (id int); COMMENT ON TABLE "größe" IS 'für ½'`)
	archive, err := s.binary.Run(t.Context(), Options{Server: s.server("latin1")})
	if err != nil {
		t.Fatal(err)
	}
	if all := joinDefinitions(archive); !strings.Contains(all, `"größe"`) || !strings.Contains(all, "für ½") {
		t.Error(all)
	}
}

func TestRunOnSnapshot(t *testing.T) {
	s := startServer(t)
	s.create(t, "snapshots", "", "CREATE TABLE before (id int)")
	holder := s.connect(t, "snapshots")
	tx, err := holder.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	var snapshot string
	if err := tx.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot); err != nil {
		t.Fatal(err)
	}
	s.exec(t, s.connect(t, "snapshots"), "CREATE TABLE after (id int)")
	options := Options{Server: s.server("snapshots"), Snapshot: snapshot}
	archive, err := s.binary.Run(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if all := joinDefinitions(archive); !strings.Contains(all, "before") || strings.Contains(all, "after") {
		t.Error(all)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.binary.Run(t.Context(), options)
	if e := pgerror.From(err); e == nil || e.Code != pgerror.ObjectNotInPrerequisiteState || !strings.Contains(e.Hint, "run the command again") {
		t.Errorf("%+v", e)
	}
}

func TestRunWarns(t *testing.T) {
	s := startServer(t)
	s.create(t, "warned", "", `SET client_min_messages = error;
		CREATE SUBSCRIPTION sub CONNECTION 'host=h' PUBLICATION p WITH (connect = false, slot_name = NONE);
		CREATE TABLE t (id int);`+role("reader", "x")+"GRANT SELECT ON t TO reader")
	server := s.server("warned")
	server.User, server.Password = "reader", "x"
	archive, err := s.binary.Run(t.Context(), Options{Server: server})
	if err != nil {
		t.Fatal(err, pgerror.From(err).Detail)
	}
	want := []string{"subscriptions not dumped because current user is not a superuser"}
	if !slices.Equal(archive.Warnings, want) {
		t.Errorf("%q", archive.Warnings)
	}
}

func TestRunFails(t *testing.T) {
	s := startServer(t)
	s.create(t, "failing", "", `CREATE TABLE locked (id int); CREATE TABLE secret (id int);`+role("nobody", "n0b0dy"))
	blocker := s.connect(t, "failing")
	s.exec(t, blocker, "BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
	closed, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*Options)
		code   string
		words  string // of pg_dump
		hint   string
	}{
		{"password", func(o *Options) { o.Server.Password = "wr0ng-password" }, pgerror.InvalidPassword, "password authentication failed", "users.toml"},
		{"no password", func(o *Options) { o.Server.Password = "" }, pgerror.InvalidPassword, "no password supplied", "users.toml"},
		{"refused", func(o *Options) { o.Server.Port = closed }, pgerror.UnableToConnect, "Connection refused", "host and port"},
		{"no such host", func(o *Options) { o.Server.Host = "no-such-host.invalid" }, pgerror.UnableToConnect, "no-such-host.invalid", "host and port"},
		{"no such socket", func(o *Options) { o.Server.Host = "/nonexistent" }, pgerror.UnableToConnect, "No such file", "host and port"},
		{"no such database", func(o *Options) { o.Server.Database = `no "such"` }, pgerror.InvalidCatalogName, "does not exist", "database_name"},
		{"TLS", func(o *Options) { o.Server.TLSVerify = config.TLSVerifyFull }, pgerror.UnableToConnect, "SSL", "tls_verify"},
		{"permission", func(o *Options) { o.Server.User, o.Server.Password = "nobody", "n0b0dy" }, pgerror.InsufficientPrivilege, "permission denied for table", "pg_read_all_data"},
		{"lock", func(o *Options) { o.LockTimeout = 100 * time.Millisecond }, pgerror.LockNotAvailable, "canceling statement", "pg_blocking_pids"},
		{"snapshot", func(o *Options) { o.Snapshot = "bad" }, pgerror.ObjectNotInPrerequisiteState, "invalid snapshot identifier", "run the command again"},
		{"limits", func(o *Options) { o.Server.Database, o.Limits = "postgres", Limits{MaxTotal: 100} }, programLimitExceeded, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Server: s.server("failing"), LockTimeout: time.Minute}
			tt.change(&o)
			_, err := s.binary.Run(t.Context(), o)
			if err == nil {
				t.Fatal("no error")
			}
			e := pgerror.From(err)
			if e.Code != tt.code || !strings.Contains(e.Detail, tt.words) || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("code %s\nmessage %s\ndetail %s\nhint %s", e.Code, e.Message, e.Detail, e.Hint)
			}
			if !strings.Contains(e.Message, `dump schema of "prod" shard 1`) {
				t.Errorf("message %q lacks the place", e.Message)
			}
			for _, secret := range []string{password, "wr0ng-password", "n0b0dy"} {
				if strings.Contains(e.Message+e.Detail+e.Hint, secret) {
					t.Errorf("the error has the password: %+v", e)
				}
			}
		})
	}
}

// A dump that waits is ended with its context, and so is its query.
func TestRunEndsWithContext(t *testing.T) {
	s := startServer(t)
	s.create(t, "cancelled", "", "CREATE TABLE locked (id int)")
	blocker, watcher := s.connect(t, "cancelled"), s.connect(t, "postgres")
	s.exec(t, blocker, "BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := s.binary.Run(ctx, Options{Server: s.server("cancelled")})
		failed <- err
	}()
	const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = 'cancelled' AND application_name = 'pgdrover' AND wait_event_type = 'Lock'`
	waitFor(t, watcher, waiting, 1)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || pgerror.Code(err) != pgerror.QueryCanceled {
		t.Errorf("%v", err)
	}
	waitFor(t, watcher, `SELECT count(*) FROM pg_stat_activity WHERE datname = 'cancelled' AND application_name = 'pgdrover'`, 0)
}

// waitFor polls, for the server has no event to tell of another session.
func waitFor(t *testing.T, conn *pgx.Conn, query string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var got int
		if err := conn.QueryRow(ctx, query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("still %d, want %d: %s", got, want, query)
		}
	}
}

// What a program does that only pretends to be pg_dump.
func TestRunStrangePrograms(t *testing.T) {
	server := config.Server{Cluster: "prod", Host: "127.0.0.1", Port: 1, Password: password}
	tests := []struct {
		name, script string
		code         string
		contains     string
	}{
		{"writes text", "echo hello world", dataCorrupted, `begins with "hello"`},
		{"writes nothing", "exit 0", dataCorrupted, "ends too early"},
		{"says nothing", "exit 7", pgerror.SystemError, "exit status 7"},
		{"dies", "kill -9 $$", pgerror.SystemError, "signal: killed"},
		{"tells the password", `echo "pg_dump: error: it is $PGPASSWORD" >&2; exit 1`, pgerror.SystemError, "it is ********"},
		{"talks too much", "yes x | head -c 100000 >&2; echo 'pg_dump: error: at last' >&2; exit 1", pgerror.SystemError, "pg_dump failed: at last"},
		{"writes without end", "exec yes", dataCorrupted, "instead of"},
		{"version", "echo 'pg_dump: error: aborting because of server version mismatch' >&2; exit 1", pgerror.FeatureNotSupported, "version mismatch"},
	}
	// All are written before the first is run: a fork at the wrong moment would
	// keep one open for writing ("text file busy").
	root := t.TempDir()
	for _, tt := range tests {
		program(t, filepath.Join(root, tt.name), tt.script)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := Binary{Path: filepath.Join(root, tt.name), Major: 17, Version: "17.0"}
			_, err := b.Run(t.Context(), Options{Server: server})
			e := pgerror.From(err)
			if e == nil || e.Code != tt.code || !strings.Contains(e.Message+e.Detail, tt.contains) {
				t.Fatalf("%+v", e)
			}
			if strings.Contains(e.Message+e.Detail, password) || len(e.Detail) > tailSize+500 {
				t.Errorf("detail of %d bytes: %.200s", len(e.Detail), e.Detail)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (Binary{Path: filepath.Join(root, "dies")}).Run(ctx, Options{Server: server}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_, err := Binary{Path: "/nonexistent/pg_dump"}.Run(t.Context(), Options{Server: server})
	if pgerror.Code(err) != pgerror.UndefinedFile {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	got := warnings(strings.Join([]string{
		"pg_dump: warning: there are circular foreign-key constraints on this table:",
		"pg_dump: detail: node", "pg_dump: hint: Consider something.", "", "pg_dump: NOTICE: old style", "pg_dump: older", "loader's words",
	}, "\n"))
	want := []string{"there are circular foreign-key constraints on this table: node Consider something.", "old style", "older", "loader's words"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := warnings(""); got != nil {
		t.Errorf("%q", got)
	}
}

func TestTail(t *testing.T) {
	var words tail
	for range 3 {
		if n, err := words.Write(bytes.Repeat([]byte("ab"), tailSize/2-1)); n != tailSize-2 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = words.Write([]byte("END"))
	if got := words.String(); len(got) != tailSize+3 || !strings.HasPrefix(got, "...") || !strings.HasSuffix(got, "abEND") {
		t.Errorf("%d bytes: %.20s", len(got), got)
	}
	_, _ = words.Write(bytes.Repeat([]byte("x"), 3*tailSize))
	if got := words.String(); got != "..."+strings.Repeat("x", tailSize) {
		t.Errorf("%d bytes", len(got))
	}
}
