package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/relay"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/systemd"
)

// Options are what a Daemon is made of.
type Options struct {
	Config  *config.Config // as it was loaded
	Paths   config.Paths   // from where it is loaded again
	Version string
	Logger  *slog.Logger
	Level   *slog.LevelVar // follows log_level; may be nil
	// Signals ask the daemon to stop (SIGTERM, SIGINT; a second one at once) or
	// to reload (SIGHUP). nil leaves signals to the caller, who ends Run's ctx.
	Signals <-chan os.Signal
	// LookupEnv overrides keys of the files at a reload; nil is none, as in
	// config.Load.
	LookupEnv func(string) (string, bool)
	// Listener is the port, if the process was started with one; else it is opened.
	Listener net.Listener
	// Notify tells the service manager how the process is; may be nil.
	Notify *systemd.Notifier
	// Ready is called once clients can connect. It may be nil.
	Ready func(net.Addr)
}

// Daemon is a pgdrover that serves. Run owns all its goroutines.
type Daemon struct {
	options Options
	live    *Live
	engine  *mirror.Manager
	server  *proxy.Server
	pools   *pool.Pools
	relay   *relay.Relay
	metrics *metrics.Metrics        // nil without general.openmetrics_port
	phase   atomic.Int32            // phaseStarting and so on
	asked   chan admin.ShutdownMode // by SHUTDOWN
}

// What phase may be, in this order.
const (
	phaseStarting int32 = iota
	phaseServing
	phaseStopping
)

// New makes a Daemon; nothing runs yet.
func New(o Options) (*Daemon, error) {
	d := &Daemon{options: o, asked: make(chan admin.ShutdownMode, 8), live: NewLive(o.Config, o.Paths, o.LookupEnv, o.Logger)}
	if o.Config.General.OpenMetricsPort != nil {
		d.metrics = metrics.New(o.Config.General.OpenMetricsNamespace, o.Version)
	}
	d.engine = mirror.NewManager(mirror.Options{Config: d.live.Config, Version: o.Version, Logger: o.Logger, Metrics: d.metrics})
	d.pools = pool.New(pool.Options{Config: d.live.Config, Logger: o.Logger})
	d.metrics.Pools(func() []metrics.Pool { return each(d.pools.Stats(), poolMetrics) })
	d.metrics.Healthy(d.health)
	d.relay = relay.New(relay.Options{Config: d.live.Config, Pools: d.pools, Logger: o.Logger})
	handler := adminSessions{admin.NewServer(admin.Options{
		Engine: d.engine, Configuration: d.live, Pools: pools{d.pools, d.relay, d.preparedStatements}, Version: o.Version, Logger: o.Logger,
		Shutdown: d.shutdown,
	})}
	var err error
	d.server, err = proxy.New(proxy.Options{Config: d.live.Config, Admin: handler, Relay: d.relay, Observer: d.metrics, Listener: o.Listener, Logger: o.Logger})
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
	d.live.OnChange(func(*config.Config) error { return d.pools.Reload() })
	return d, nil
}

// Run serves until ctx ends, SHUTDOWN or a signal asks it to stop. It returns
// when everything has ended: nil after an orderly stop.
func (d *Daemon) Run(ctx context.Context) error {
	closeMetrics, err := d.serveMetrics(ctx)
	if err != nil {
		return err
	}
	defer closeMetrics() // after the tasks, so that how they have ended can be scraped
	pooling, endPools := context.WithCancel(context.WithoutCancel(ctx))
	var pools sync.WaitGroup
	pools.Go(func() {
		if err := d.pools.Run(pooling); err != nil {
			d.options.Logger.Error("pools", "error", err)
		}
	})
	pools.Go(func() { d.relay.Run(pooling) })
	defer pools.Wait()
	defer endPools() // after the clients
	address, err := d.server.Listen(ctx)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	// Serve's context would end sessions without grace: Shutdown, in end, ends it.
	serving.Go(func() { served <- d.server.Serve(context.WithoutCancel(ctx)) })
	defer serving.Wait()
	supervised, endSupervision := context.WithCancel(ctx)
	var supervising sync.WaitGroup
	supervising.Go(func() { d.engine.Supervise(supervised) })
	end := func(mode admin.ShutdownMode) error {
		endSupervision() // or it would take up what is being ended
		supervising.Wait()
		return d.end(mode)
	}
	defer d.watch(ctx)()
	d.phase.Store(phaseServing)
	d.options.Logger.Info("pgdrover is ready", "address", address.String(), "admin_database", d.live.Config().Admin.Name, "version", d.options.Version)
	if d.options.Ready != nil {
		d.options.Ready(address)
	}
	d.options.Notify.Ready("serving at " + address.String())
	for {
		select {
		case s := <-d.options.Signals:
			if s == syscall.SIGHUP {
				d.reload(ctx)
				continue
			}
			mode := d.signalMode(s)
			d.options.Logger.Info("stopping", "signal", s.String(), "mode", string(mode))
			return end(mode)
		case mode := <-d.asked:
			d.options.Logger.Info("stopping", "command", "SHUTDOWN", "mode", string(mode))
			return end(mode)
		case <-ctx.Done():
			d.options.Logger.Info("stopping", "cause", context.Cause(ctx))
			return end(admin.ShutdownServers)
		case err := <-served:
			return errors.Join(fmt.Errorf("serve clients: %w", err), end(admin.ShutdownServers))
		}
	}
}

// reload is RELOAD asked for by SIGHUP: what it finds is logged.
func (d *Daemon) reload(ctx context.Context) {
	d.options.Notify.Reloading()
	defer d.options.Notify.Ready("")
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

// adminSessions hands the proxy's sessions to the admin database.
type adminSessions struct{ admin *admin.Server }

// ServeSession is proxy.SessionHandler's.
func (a adminSessions) ServeSession(ctx context.Context, s proxy.Session) error {
	return a.admin.ServeSession(ctx, admin.Session{
		Backend: s.Backend, User: s.User, Database: s.Database, ApplicationName: s.ApplicationName, ProcessID: s.ProcessID,
		Parameters: s.Parameters, ReadOnly: s.ReadOnly, TLS: s.TLSVersion != "", SetReadDeadline: s.Conn.SetReadDeadline, OnCancel: s.OnCancel,
	})
}
