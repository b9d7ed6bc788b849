package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// Options are what a Daemon is made of.
type Options struct {
	Config  *config.Config // as it was loaded
	Paths   config.Paths   // from where it is loaded again
	Version string
	Logger  *slog.Logger
	Level   *slog.LevelVar // follows log_level; may be nil
	// Ready is called once clients can connect. It may be nil.
	Ready func(net.Addr)
}

// Daemon is a pgdrover that serves. Run owns all its goroutines.
type Daemon struct {
	options Options
	live    *Live
	engine  *mirror.Manager
	server  *proxy.Server
	stop    context.CancelCauseFunc
}

// errShutdown is why a daemon ends that was told to by SHUTDOWN or a signal.
var errShutdown = errors.New("shutdown was asked for")

// New makes a Daemon; nothing runs yet.
func New(o Options) (*Daemon, error) {
	d := &Daemon{options: o, live: NewLive(o.Config, o.Paths, o.Logger)}
	d.engine = mirror.NewManager(mirror.Options{Config: d.live.Config, Version: o.Version, Logger: o.Logger})
	handler := adminSessions{admin.NewServer(admin.Options{
		Engine: d.engine, Configuration: d.live, Version: o.Version, Logger: o.Logger,
		Shutdown: func() { d.stop(errShutdown) },
	})}
	var err error
	d.server, err = proxy.New(proxy.Options{Config: d.live.Config, Admin: handler, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	d.live.OnChange(func(cfg *config.Config) error {
		if o.Level != nil {
			return SetLevel(o.Level, cfg)
		}
		return nil
	})
	d.live.OnChange(func(*config.Config) error { return d.server.Reload() })
	return d, nil
}

// Run serves until ctx ends, SHUTDOWN or a signal asks it to stop: SIGTERM and
// SIGINT stop it gracefully, a second one at once, SIGHUP reloads. It returns
// when everything has ended: nil after an orderly stop.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, d.stop = context.WithCancelCause(ctx)
	defer d.stop(nil)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	address, err := d.server.Listen(ctx)
	if err != nil {
		cfg := d.live.Config().General
		return pgerror.New(pgerror.ObjectInUse, "listen on %s port %d: %w", cfg.Host, cfg.Port, err).
			WithHint("is another process using that port? Set [general] host and port, or PGDOG_PORT")
	}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- d.server.Serve(ctx) }) // ends with Shutdown, in end
	defer serving.Wait()
	d.options.Logger.Info("pgdrover is ready", "address", address.String(), "admin_database", d.live.Config().Admin.Name, "version", d.options.Version)
	if d.options.Ready != nil {
		d.options.Ready(address)
	}
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				d.reload(ctx)
				continue
			}
			d.options.Logger.Info("stopping", "signal", s.String())
			return d.end(signals)
		case <-ctx.Done():
			d.options.Logger.Info("stopping", "cause", context.Cause(ctx))
			return d.end(signals)
		case err := <-served:
			return errors.Join(fmt.Errorf("serve clients: %w", err), d.end(signals))
		}
	}
}

// reload is RELOAD asked for by SIGHUP: what it finds is logged.
func (d *Daemon) reload(ctx context.Context) {
	_, warnings, err := d.live.Reload(ctx)
	for _, w := range warnings {
		d.options.Logger.Warn("configuration", "warning", w.String())
	}
	var problems *config.Error
	if errors.As(err, &problems) {
		for _, p := range problems.Problems {
			d.options.Logger.Error("configuration", "problem", p.String())
		}
	}
}

// end stops tasks, then clients, and waits for both. Another signal cuts the
// wait short.
func (d *Daemon) end(signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), d.graceTime(), errors.New("shutdown_timeout has passed"))
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() { // ends with over
		select {
		case <-signals:
			cancel()
		case <-over:
		}
	}()
	err := errors.Join(d.engine.Close(ctx), d.server.Shutdown(ctx))
	if err == nil {
		d.options.Logger.Info("stopped")
	}
	return err
}

func (d *Daemon) graceTime() time.Duration {
	return max(d.live.Config().General.ShutdownTimeout, time.Second)
}

// adminSessions hands the proxy's sessions to the admin database.
type adminSessions struct{ admin *admin.Server }

// ServeSession is proxy.SessionHandler's.
func (a adminSessions) ServeSession(ctx context.Context, s proxy.Session) error {
	return a.admin.ServeSession(ctx, admin.Session{
		Backend: s.Backend, User: s.User, Database: s.Database, ApplicationName: s.ApplicationName, ProcessID: s.ProcessID,
		Parameters: s.Parameters, ReadOnly: s.ReadOnly, TLS: s.TLSVersion != "", SetReadDeadline: s.Conn.SetReadDeadline, OnCancel: s.OnCancel,
	})
}
