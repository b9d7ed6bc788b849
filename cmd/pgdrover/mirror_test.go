package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// stubMirrors keeps one mirror.
type stubMirrors struct {
	kept   config.Mirror
	refuse error // of every method
	asked  mirror.Asked
	fails  error // instead of being taken up
	nobody bool  // takes it up
	report mirror.DropMirrorReport
	filter mirror.LogFilter
}

func (s *stubMirrors) CreateMirror(_ context.Context, definition config.Mirror) error {
	s.kept = definition
	return s.refuse
}

func (s *stubMirrors) AskAlter(_ context.Context, _ string, change func(*config.Mirror) error) (mirror.Asked, error) {
	if err := change(&s.kept); err != nil {
		return mirror.Asked{}, err
	}
	return s.asked, s.refuse
}

func (s *stubMirrors) AskResume(context.Context, string) (mirror.Asked, error) {
	return mirror.Asked{Mirror: "resume"}, s.refuse
}

func (s *stubMirrors) AskRetry(context.Context, string) (mirror.Asked, error) {
	return mirror.Asked{Mirror: "retry"}, s.refuse
}

func (s *stubMirrors) AwaitStart(ctx context.Context, asked mirror.Asked) (mirror.TaskID, error) {
	s.asked = asked
	if s.nobody {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	return 7, s.fails
}

func (s *stubMirrors) Pause(context.Context, string) error { return s.refuse }

func (s *stubMirrors) DropMirror(context.Context, string) (mirror.DropMirrorReport, error) {
	return s.report, s.refuse
}

func (s *stubMirrors) MirrorLog(_ context.Context, _ string, filter mirror.LogFilter) ([]mirror.MirrorEvent, error) {
	s.filter = filter
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	return []mirror.MirrorEvent{
		{
			ID: 12, At: at, Level: "error", Kind: "table", Task: 7, Schema: "public", Table: `Weird "Table" $1`, LSN: "16/80", Message: "stopped",
			Error: pgerror.New("23505", "duplicate key").WithDetail("key (id)=(7)").WithHint("RESYNC m"),
		},
		{ID: 11, At: at, Level: "info", Kind: "mirror", Shard: -1, Message: "created"},
	}, s.refuse
}

// TestMirrorCommands is how each command ends, for every way that it can, and
// what it prints.
func TestMirrorCommands(t *testing.T) {
	t.Parallel()
	target := mirrorTarget{Mirror: "m"}
	create := func(set string) func(*stubMirrors, *streams) error {
		return func(s *stubMirrors, io *streams) error {
			settings, err := admin.ParseMirrorSettings(set)
			if err != nil {
				return err
			}
			return mirrorCreateCommand{mirrorTarget: target, FromDatabase: "a", ToDatabase: "b", Publication: "p"}.create(t.Context(), s, config.Default(), settings, io)
		}
	}
	alter := func(s *stubMirrors, io *streams) error {
		settings, err := admin.ParseMirrorSettings("workers = 5")
		if err != nil {
			return err
		}
		return mirrorAlterCommand{mirrorTarget: target, awaited: awaited{time.Minute}}.alter(t.Context(), s, config.Default(), settings, io)
	}
	resume := func(wait time.Duration) func(*stubMirrors, *streams) error {
		return func(s *stubMirrors, io *streams) error {
			return mirrorResumeCommand{target, awaited{wait}}.start(t.Context(), s, s.AskResume, io)
		}
	}
	retry := func(s *stubMirrors, io *streams) error {
		return mirrorResumeCommand{target, awaited{time.Minute}}.start(t.Context(), s, s.AskRetry, io)
	}
	pause := func(s *stubMirrors, io *streams) error { return mirrorPauseCommand{target}.pause(t.Context(), s, io) }
	drop := func(s *stubMirrors, io *streams) error { return mirrorDropCommand{target}.drop(t.Context(), s, io) }
	no := pgerror.New("55000", "not now")
	for _, test := range []struct {
		name    string
		do      func(*stubMirrors, *streams) error
		engine  stubMirrors
		code    int
		message string // of the error
		out     string // a part of it
	}{
		{"create", create("workers = 4"), stubMirrors{}, 0, "", "mirror \"m\" is created; pgdrover mirror resume, or in the admin database RESUME MIRROR \"m\"; starts it\n"},
		{"create, refused", create("workers = 4"), stubMirrors{refuse: no}, 1, "not now", ""},
		{"create, contradiction", create("TABLE a AS c, TABLE b AS c"), stubMirrors{}, 1, `the mapping contradicts itself: "public.a" and "public.b" both become "public.c"`, ""},
		{"alter", alter, stubMirrors{}, 0, "", "mirror \"m\" is altered\n"},
		{"alter, running", alter, stubMirrors{asked: mirror.Asked{Restarts: true}}, 0, "", "mirror \"m\" is altered: task 7 works on it\n"},
		{"alter, fails then", alter, stubMirrors{asked: mirror.Asked{Restarts: true}, fails: no}, 1, "not now", ""},
		{"resume", resume(time.Minute), stubMirrors{}, 0, "", "mirror \"m\" runs: task 7 works on it\n"},
		{"resume, refused", resume(time.Minute), stubMirrors{refuse: no}, 1, "not now", ""},
		{"resume, fails", resume(time.Minute), stubMirrors{fails: no}, 1, "not now", ""},
		{"resume, nobody there", resume(time.Nanosecond), stubMirrors{nobody: true}, 3, "", ""},
		{"resume, without waiting", resume(0), stubMirrors{nobody: true}, 0, "", "mirror \"m\" is to run; a pgdrover that serves takes it up\n"},
		{"retry", retry, stubMirrors{}, 0, "", "mirror \"m\" runs: task 7 works on it\n"},
		{"retry, refused", retry, stubMirrors{refuse: no}, 1, "not now", ""},
		{"alter, refused", alter, stubMirrors{refuse: no}, 1, "not now", ""},
		{"pause", pause, stubMirrors{}, 0, "", "mirror \"m\" is paused\n"},
		{"pause, refused", pause, stubMirrors{refuse: no}, 1, "not now", ""},
		{"drop", drop, stubMirrors{report: mirror.DropMirrorReport{Slots: []string{"s"}, Warnings: []*pgerror.Error{pgerror.New("00000", "by the way")}}}, 0, "", "mirror \"m\" is dropped, with 1 slot: s\n"},
		{"drop, something left", drop, stubMirrors{report: mirror.DropMirrorReport{Warnings: []*pgerror.Error{pgerror.New("55000", "left")}}}, 1, "", "mirror \"m\" is dropped; the warnings tell what is left\n"},
		{"drop, refused", drop, stubMirrors{refuse: no}, 1, "not now", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			err := test.do(&test.engine, &streams{out: &out, err: &errs})
			message := ""
			if told := exit(0); err != nil && !errors.As(err, &told) {
				message = err.Error()
			}
			if code(err) != test.code || message != test.message || out.String() != test.out {
				t.Errorf("exit code %d, %q, %q; want %d, %q, %q\n%s", code(err), message, out.String(), test.code, test.message, test.out, errs.String())
			}
			if verb, _, _ := strings.Cut(test.name, ","); test.code == 0 && (verb == "resume" || verb == "retry") && test.engine.asked.Mirror != verb && !test.engine.nobody {
				t.Errorf("asked is %q", test.engine.asked.Mirror)
			}
		})
	}
}

// TestMirrorDefinition is what create and alter make of a mirror.
func TestMirrorDefinition(t *testing.T) {
	t.Parallel()
	var io streams
	var out, errs bytes.Buffer
	io.out, io.err = &out, &errs
	target := mirrorTarget{Mirror: "M m", JSON: true}
	engine := &stubMirrors{}
	settings, err := target.settings(&io, admin.ParseMirrorSettings, []string{"workers=4", "drift.auto_migrate = (add_column, widen_type)"})
	if err != nil {
		t.Fatal(err)
	}
	if err := (mirrorCreateCommand{mirrorTarget: target, FromDatabase: "a", ToDatabase: "b", Publication: "p"}).create(t.Context(), engine, config.Default(), settings, &io); err != nil {
		t.Fatal(err)
	}
	workers := 4
	want := config.NewMirror("a", "b", "p")
	want.Name, want.Workers, want.Drift.AutoMigrate = "M m", &workers, []string{"add_column", "widen_type"}
	if diff := cmp.Diff(want, engine.kept); diff != "" {
		t.Error(diff)
	}
	reset, err := target.settings(&io, admin.ParseMirrorReset, []string{"workers", "drift.auto_migrate"})
	if err != nil {
		t.Fatal(err)
	}
	if err := (mirrorAlterCommand{mirrorTarget: target}).alter(t.Context(), engine, config.Default(), reset, &io); err != nil {
		t.Fatal(err)
	}
	want.Workers, want.Drift.AutoMigrate = nil, nil
	if diff := cmp.Diff(want, engine.kept); diff != "" {
		t.Error(diff)
	}
	if want := `{"mirror":"M m","status":"created"}` + "\n" + `{"mirror":"M m","status":"altered"}` + "\n"; out.String() != want {
		t.Errorf("prints %s", out.String())
	}
}

// TestMirrorLog prints events for people and for programs.
func TestMirrorLog(t *testing.T) {
	t.Parallel()
	engine := &stubMirrors{}
	command := mirrorLogCommand{mirrorTarget: mirrorTarget{Mirror: "m"}, Level: "warning", Search: "x", Limit: 5}
	var out bytes.Buffer
	if err := command.log(t.Context(), engine, &streams{out: &out}); err != nil {
		t.Fatal(err)
	}
	want := `2026-03-04 05:06:07.089 UTC  error    table public.Weird "Table" $1 shard 0 at 16/80: stopped (task 7)
    duplicate key (SQLSTATE 23505)
    DETAIL:  key (id)=(7)
    HINT:  RESYNC m
2026-03-04 05:06:07.089 UTC  info     mirror: created
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mirror.LogFilter{Levels: []string{"warning", "error"}, Search: "x", Limit: 5}, engine.filter); diff != "" {
		t.Error(diff)
	}
	out.Reset()
	command.JSON = true
	if err := command.log(t.Context(), engine, &streams{out: &out}); err != nil {
		t.Fatal(err)
	}
	var first, second map[string]any
	lines := strings.SplitN(out.String(), "\n", 2)
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &second)); err != nil {
		t.Fatal(err)
	}
	if first["shard"] != 0.0 || first["sqlstate"] != "23505" || second["shard"] != nil || second["message"] != "created" {
		t.Errorf("%v\n%v", first, second)
	}
}

// TestMirrorUsage: a command line that is wrong is exit code 2, a log that
// cannot be read is 3, and a mirror that cannot be made is 1.
func TestMirrorUsage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"pgdog.toml": "[[databases]]\nname = \"a\"\nhost = \"127.0.0.1\"\nport = 1\n[[databases]]\nname = \"b\"\nhost = \"127.0.0.1\"\nport = 1\n", "users.toml": "[[users]]\nname = \"u\"\ndatabases = [\"a\", \"b\"]\nschema_admin = true\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"-c", filepath.Join(dir, "pgdog.toml"), "-u", filepath.Join(dir, "users.toml")}
	for _, test := range []struct {
		code      int
		arguments []string
		errs      string // a part of standard error
	}{
		{2, []string{"mirror"}, "expected one of"},
		{2, []string{"mirror", "create", "m", "--from-database", "a", "--to-database", "b"}, "--publication"},
		{2, []string{"mirror", "create", "m", "--from-database", "a", "--to-database", "b", "--publication", "p", "--set", "worker = 1"}, "Perhaps you meant workers."},
		{2, []string{"mirror", "alter", "m"}, "--set"},
		{2, []string{"mirror", "alter", "m", "--set", "workers = 1", "--reset", "workers"}, "--set"},
		{2, []string{"mirror", "alter", "m", "--reset", "workers = 1"}, "syntax error"},
		{2, []string{"mirror", "pause"}, "mirror"},
		{2, []string{"mirror", "resume"}, "mirror"},
		{2, []string{"mirror", "retry", "m", "--timeout", "-1s"}, "--timeout"},
		{1, []string{"mirror", "resume", "m"}, "m"},
		{2, []string{"mirror", "resync", "m", "t", "--stopped"}, "--stopped"},
		{2, []string{"mirror", "resync", "m", "--strategy", "quickly"}, "--strategy"},
		{1, []string{"mirror", "resync", "m"}, "m"},
		{1, []string{"mirror", "retry", "m", "--json"}, "m"},
		{2, []string{"mirror", "log", "m", "--level", "debug"}, "--level"},
		{2, []string{"mirror", "log", "m", "--limit", "0"}, "--limit"},
		{3, []string{"mirror", "log", "m"}, "m"},
		{1, []string{"mirror", "create", "m", "--from-database", "a", "--to-database", "nowhere", "--publication", "p"}, "nowhere"},
		{1, []string{"mirror", "create", "m", "--json", "--from-database", "a", "--to-database", "b", "--publication", "p"}, "SQLSTATE 08"},
		{1, []string{"mirror", "pause", "m"}, "m"},
		{1, []string{"mirror", "drop", "m"}, "m"},
		{1, []string{"mirror", "alter", "m", "--set", "workers = 1", "--set", "autostart = on"}, "m"},
	} {
		var out, errs bytes.Buffer
		if got := run(t.Context(), append(test.arguments, files...), streams{out: &out, err: &errs}); got != test.code || !strings.Contains(errs.String(), test.errs) {
			t.Errorf("%v: exit code %d\n%s%s", test.arguments, got, out.String(), errs.String())
		}
	}
}
