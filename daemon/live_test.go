package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files are the configuration of a test.
type files struct {
	t     *testing.T
	paths config.Paths
}

const users = "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npassword = \"hidden-1\"\n"

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	f := files{t, config.Paths{Config: filepath.Join(dir, "pgdog.toml"), Users: filepath.Join(dir, "users.toml")}}
	f.write("port = 6000\nlog_level = \"info\"\n", users)
	return f
}

// write writes both files; general is the body of [general].
func (f files) write(general, users string) {
	f.t.Helper()
	main := "[general]\n" + general + "\n[[databases]]\nname = \"prod\"\nhost = \"127.0.0.1\"\n"
	for path, text := range map[string]string{f.paths.Config: main, f.paths.Users: users} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// live loads the files.
func (f files) live(log *slog.Logger) *Live {
	f.t.Helper()
	cfg, _, err := config.Load(f.paths, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return NewLive(cfg, f.paths, nil, log)
}

func keys(changes []config.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.Key)
	}
	return strings.Join(out, " ")
}

func TestReloadAppliesWhatChanged(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	var log bytes.Buffer
	l := f.live(slog.New(slog.NewTextHandler(&log, nil)))
	var told []*config.Config
	l.OnChange(func(cfg *config.Config) error { told = append(told, cfg); return nil })
	before := l.Config()

	changes, _, err := l.Reload(t.Context())
	if err != nil || len(changes.Applied)+len(changes.NeedsRestart) != 0 {
		t.Errorf("unchanged files change %+v, %v", changes, err)
	}
	f.write("port = 6001\nlog_level = \"warn\"\n", strings.Replace(users, "hidden-1", "hidden-2", 1))
	changes, _, err = l.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if applied, restart := keys(changes.Applied), keys(changes.NeedsRestart); !strings.Contains(applied, "log_level") || !strings.Contains(applied, "password") || restart != "general.port" {
		t.Errorf("applied: %s; needs a restart: %s", applied, restart)
	}
	if l.Config().General.LogLevel != "warn" || before.General.LogLevel != "info" {
		t.Errorf("log_level in force is %q, what somebody got before has %q", l.Config().General.LogLevel, before.General.LogLevel)
	}
	if len(told) != 2 || told[1] != l.Config() {
		t.Errorf("%d changes were told", len(told))
	}
	if !strings.Contains(log.String(), "general.port") || strings.Contains(log.String(), "hidden") {
		t.Errorf("the log does not tell what needs a restart, or tells a password:\n%s", log.String())
	}
}

func TestReloadRefusesABrokenFileWhole(t *testing.T) {
	t.Parallel()
	for name, break_ := range map[string]func(files){
		"unknown key":     func(f files) { f.write("log_level = \"warn\"\nprot = 1\n", users) },
		"no TOML":         func(f files) { f.write("log_level = \"warn\"\n[[[", users) },
		"unknown setting": func(f files) { f.write("log_level = \"loud\"\n", users) },
		"users alone":     func(f files) { f.write("log_level = \"warn\"\n", "[[users]]\nname = 1\n") },
		"a file is gone": func(f files) {
			f.write("log_level = \"warn\"\n", users)
			_ = os.Remove(f.paths.Users)
		},
	} {
		f := newFiles(t)
		l := f.live(slog.New(slog.DiscardHandler))
		l.OnChange(func(*config.Config) error { t.Errorf("%s: a change is told", name); return nil })
		before := l.Config()
		break_(f)
		changes, _, err := l.Reload(t.Context())
		var broken *config.Error
		if !errors.As(err, &broken) || len(broken.Problems) == 0 {
			t.Errorf("%s: the error is %v", name, err)
		}
		if l.Config() != before || len(changes.Applied)+len(changes.NeedsRestart) != 0 {
			t.Errorf("%s: something was applied: %+v", name, changes)
		}
	}
}

func TestReloadKeepsAGeneratedPassword(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	l := f.live(slog.New(slog.DiscardHandler))
	if !l.Config().Admin.PasswordGenerated {
		t.Fatal("nobody chose the admin's password, and it is not generated")
	}
	before := l.Config().Admin.Password.Reveal()
	f.write("log_level = \"warn\"\n", users)
	if _, _, err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.Config().Admin.Password.Reveal() != before {
		t.Error("the admin's password is another one after a reload")
	}
}

// TestChangeIsTakenBack lets one of those who are told refuse a change.
func TestChangeIsTakenBack(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	l := f.live(slog.New(slog.DiscardHandler))
	refusal := errors.New("cannot work with it")
	var levels []string
	l.OnChange(func(cfg *config.Config) error { levels = append(levels, string(cfg.General.LogLevel)); return nil })
	l.OnChange(func(cfg *config.Config) error {
		if cfg.General.LogLevel == "warn" {
			return refusal
		}
		return nil
	})
	before := l.Config()
	f.write("log_level = \"warn\"\n", users)
	changes, _, err := l.Reload(t.Context())
	if !errors.Is(err, refusal) || l.Config() != before || len(changes.Applied) != 0 {
		t.Errorf("RELOAD: %v, applied %v", err, changes.Applied)
	}
	if err := l.Set("log_level", "warn"); !errors.Is(err, refusal) || l.Config() != before {
		t.Errorf("SET: %v", err)
	}
	if got := strings.Join(levels, " "); got != "warn info warn info" {
		t.Errorf("told: %s; everybody has to hear of the old one again", got)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	l := f.live(slog.New(slog.DiscardHandler))
	before := l.Config()
	if err := l.Set("schema_sync.index_jobs", "7"); err != nil || l.Config().SchemaSync.IndexJobs != 7 || before.SchemaSync.IndexJobs == 7 {
		t.Errorf("index_jobs is %d (%v)", l.Config().SchemaSync.IndexJobs, err)
	}
	for name, code := range map[string]string{"no_such": pgerror.UndefinedObject, "port": pgerror.InvalidParameterValue, "schema_sync.index_jobs": pgerror.InvalidParameterValue} {
		if err := l.Set(name, "x"); pgerror.Code(err) != code {
			t.Errorf("SET %s gives %v, want %s", name, err, code)
		}
	}
	if l.Config().SchemaSync.IndexJobs != 7 {
		t.Error("a refused SET changed something")
	}
	if _, _, err := l.Reload(t.Context()); err != nil || l.Config().SchemaSync.IndexJobs != before.SchemaSync.IndexJobs {
		t.Errorf("after RELOAD index_jobs is %d (%v): SET holds until the files are read again", l.Config().SchemaSync.IndexJobs, err)
	}
}

func TestChangesAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	l := f.live(slog.New(slog.DiscardHandler))
	var telling sync.Mutex
	l.OnChange(func(*config.Config) error {
		if !telling.TryLock() {
			t.Error("two changes are told at the same time")
			return nil
		}
		defer telling.Unlock()
		return nil
	})
	var changing sync.WaitGroup
	for range 4 {
		changing.Go(func() { _ = l.Set("schema_sync.index_jobs", "3") })
		changing.Go(func() { _, _, _ = l.Reload(t.Context()) })
		changing.Go(func() { _ = l.Config().General.LogLevel })
	}
	changing.Wait()
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]slog.Level{
		"trace": slog.LevelDebug, "DEBUG": slog.LevelDebug, "info": slog.LevelInfo, "": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn,
		"error": slog.LevelError, "off": slog.LevelError + 100,
	} {
		cfg := config.Default()
		cfg.General.LogLevel = config.LogLevel(name)
		_, level, err := NewLogger(cfg, &bytes.Buffer{})
		if err != nil || level.Level() != want {
			t.Errorf("%q is %v, %v", name, level, err)
		}
	}
	cfg := config.Default()
	cfg.General.LogLevel = "loud"
	if _, _, err := NewLogger(cfg, &bytes.Buffer{}); pgerror.Code(err) != pgerror.InvalidParameterValue {
		t.Errorf("an unknown level gives %v", err)
	}
}
