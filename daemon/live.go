package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/config"
)

// Live is the configuration in force. It is replaced whole, never changed, so
// that everybody who asked for it keeps what they got. It is safe for
// concurrent use.
type Live struct {
	paths    config.Paths
	env      func(string) (string, bool)
	log      *slog.Logger
	current  atomic.Pointer[config.Config]
	mu       sync.Mutex // one change at a time
	onChange []func(*config.Config) error
}

// NewLive makes the configuration in force from one that was loaded from paths
// with the overrides of env, which may be nil.
func NewLive(cfg *config.Config, paths config.Paths, env func(string) (string, bool), log *slog.Logger) *Live {
	l := &Live{paths: paths, env: env, log: log}
	l.current.Store(cfg)
	return l
}

// OnChange adds what is to be told a new configuration. It is called before the
// configuration is used, and before anything is served.
func (l *Live) OnChange(tell func(*config.Config) error) { l.onChange = append(l.onChange, tell) }

// Config gives the configuration in force; it is not changed any more.
func (l *Live) Config() *config.Config { return l.current.Load() }

// Set changes one setting until the files are read again.
func (l *Live) Set(name, value string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh, err := l.Config().Set(name, value)
	if err != nil {
		return err
	}
	l.log.Info("setting changed", "name", name)
	return l.use(fresh)
}

// Reload reads the files again and applies what can be applied without a
// restart. Files with a mistake are refused whole: the old configuration stays
// in force.
func (l *Live) Reload(context.Context) (config.Changes, []config.Problem, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh, warnings, err := config.Load(l.paths, l.env)
	if err != nil {
		l.log.Error("configuration was not reloaded: the one in force stays", "error", err)
		return config.Changes{}, warnings, err
	}
	old := l.Config()
	if fresh.Admin.PasswordGenerated && old.Admin.PasswordGenerated {
		fresh.Admin.Password = old.Admin.Password
	}
	changes := config.Diff(old, fresh)
	if err := l.use(fresh); err != nil {
		return config.Changes{}, warnings, err
	}
	l.log.Info("configuration reloaded", "applied", len(changes.Applied), "needs_restart", len(changes.NeedsRestart))
	for _, c := range changes.NeedsRestart {
		l.log.Warn("this change needs a restart", "key", c.Key, "old", c.Old, "new", c.New)
	}
	return changes, warnings, nil
}

// use puts a configuration in force, and the old one back when somebody cannot
// work with it.
func (l *Live) use(fresh *config.Config) error {
	old := l.current.Swap(fresh)
	var errs []error
	for _, tell := range l.onChange {
		errs = append(errs, tell(fresh))
	}
	if err := errors.Join(errs...); err != nil {
		l.current.Store(old)
		for _, tell := range l.onChange {
			if back := tell(old); back != nil {
				l.log.Error("the old configuration cannot be put back", "error", back)
			}
		}
		return err
	}
	return nil
}
