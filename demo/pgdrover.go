package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/daemon"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Names in [[databases]].
const (
	source      = "prod"
	unsharded   = "prod_new"
	sharded     = "prod_sharded"
	publication = "all_tables" // shop.sql makes it
)

const (
	usualPort = 6432
	logFile   = "pgdrover.log"
)

// makeDirectory makes the directory of the configuration and of the log.
func (d *demo) makeDirectory(context.Context) error {
	var err error
	if d.dir, err = tempdir.New(d.options.Dir, "pgdrover-demo-"); err != nil {
		return err
	}
	d.removeLater(d.dir.Remove)
	return nil
}

// configure writes pgdog.toml and users.toml, as a user would.
func (d *demo) configure() error {
	main := d.mainFile() + d.spreadTables() + fmt.Sprintf("\n[data_sync]\nspill_directory = %q\n", filepath.Join(d.dir.Path(), "spill"))
	// The tools of a PostgreSQL that was unpacked beside the machine's own are in
	// none of the usual places.
	if installation := d.source.Installation(); installation.Root != "" {
		path, err := installation.Tool("pg_dump")
		if err != nil {
			return err
		}
		main += fmt.Sprintf("\n[replication]\npg_dump_path = %q\n", path)
	}
	for path, text := range map[string]string{d.paths().Config: main, d.paths().Users: d.usersFile()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return pgerror.New(pgerror.SystemError, "write the configuration: %w", err)
		}
	}
	return nil
}

func (d *demo) paths() config.Paths {
	return config.Paths{Config: filepath.Join(d.dir.Path(), "pgdog.toml"), Users: filepath.Join(d.dir.Path(), "users.toml")}
}

func (d *demo) mainFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[general]\nhost = \"127.0.0.1\"\nport = %d\nlog_format = \"text\"\nresharding_parallel_copies = 2\n", d.port)
	entry := func(name string, shard int, cluster *pgcluster.Cluster, database string) {
		fmt.Fprintf(&b, "\n[[databases]]\nname = %q\nshard = %d\nhost = %q\nport = %d\ndatabase_name = %q\n",
			name, shard, cluster.Host(), cluster.Port(), database)
	}
	entry(source, 0, d.source, sourceDatabase)
	entry(unsharded, 0, d.destination, unshardedDatabase)
	for shard := range shardCount {
		entry(sharded, shard, d.destination, shardDatabase(shard))
	}
	return b.String()
}

// spread are the tables whose rows are spread over the shards, with their keys;
// the others are whole on each. What refers to an order is where the order is.
var spread = []struct{ table, key string }{{"orders", "id"}, {"order_items", "order_id"}, {"payments", "order_id"}, {"page_views", "id"}}

// isSpread tells whether a table, named with its schema, is among them.
func isSpread(name string) bool {
	for _, s := range spread {
		if name == "shop."+s.table {
			return true
		}
	}
	return false
}

func (d *demo) spreadTables() string {
	var b strings.Builder
	for _, s := range spread {
		fmt.Fprintf(&b, "\n[[sharded_tables]]\ndatabase = %q\nschema = \"shop\"\nname = %q\ncolumn = %q\ndata_type = \"bigint\"\n", sharded, s.table, s.key)
	}
	return b.String()
}

func (d *demo) usersFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[admin]\npassword = %q\n", d.adminPassword)
	for _, name := range []string{source, unsharded, sharded} {
		fmt.Fprintf(&b, "\n[[users]]\nname = %q\ndatabase = %q\npassword = %q\nschema_admin = true\n", d.source.Superuser(), name, d.serverPassword)
	}
	return b.String()
}

// checkPort refuses a port that was asked for and cannot be had, before anything
// is started.
func (d *demo) checkPort(context.Context) error {
	if d.options.Port == 0 {
		return nil
	}
	if _, err := tryPort(d.options.Port); err != nil {
		return pgerror.New(pgerror.ObjectInUse, "listen on 127.0.0.1 port %d: %w", d.options.Port, err).
			WithHint("pgdrover demo --port <number> takes another one; without --port a free one is found")
	}
	return nil
}

// choosePort gives the port that was asked for, or the usual one, or a free one
// if that is taken.
func choosePort(asked int) (int, error) {
	if asked != 0 {
		return asked, nil
	}
	if port, err := tryPort(usualPort); err == nil || !errors.Is(err, syscall.EADDRINUSE) {
		return port, err
	}
	return tryPort(0)
}

// tryPort listens on a port for a moment, 0 being any free one, and gives its number.
func tryPort(port int) (int, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// startPgdrover configures and starts the daemon, on another port as long as the
// one found free was taken in the meantime.
func (d *demo) startPgdrover(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(d.dir.Path(), logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return pgerror.New(pgerror.SystemError, "make pgdrover's log: %w", err)
	}
	d.removeLater(log.Close)
	for attempt := 1; ; attempt++ {
		if d.port, err = choosePort(d.options.Port); err != nil {
			return err
		}
		if err = d.configure(); err == nil {
			err = d.serve(ctx, log)
		}
		taken := errors.Is(err, syscall.EADDRINUSE)
		switch {
		case err == nil:
			d.screen.say("pgdrover %s is ready on 127.0.0.1 port %d. Its files:\n  %s\n  %s\n  %s\n",
				d.options.Version, d.port, d.paths().Config, d.paths().Users, log.Name())
			return nil
		case !taken || d.options.Port != 0 || attempt == 5:
			return err
		}
	}
}

// serve starts the daemon in this process and waits until clients can connect.
// stopPgdrover waits for its goroutine.
func (d *demo) serve(ctx context.Context, log io.Writer) error {
	// The environment is left out: PGDOG_PORT and its like are of another pgdrover.
	cfg, _, err := config.Load(d.paths(), nil)
	if err != nil {
		return err
	}
	logger, level, err := daemon.NewLogger(cfg, log)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	drover, err := daemon.New(daemon.Options{
		Config: cfg, Paths: d.paths(), Version: d.options.Version, Logger: logger, Level: level,
		Ready: func(net.Addr) { close(ready) },
	})
	if err != nil {
		return err
	}
	// Not ended by ctx, so that the job's own connection goes before the server.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.ended = make(chan error, 1)
	go func() { d.ended <- drover.Run(running) }() // ends with stop
	select {
	case <-ready:
		d.removeLater(func() error { return d.stopPgdrover(ctx, stop) })
		return nil
	case err := <-d.ended:
		stop()
		return err
	}
}

// stopPgdrover stops the daemon and waits for it. After a signal its error does
// not count: it got the signal too, and says at most that a wait was cut short
// for what is now thrown away.
func (d *demo) stopPgdrover(ctx context.Context, stop context.CancelFunc) error {
	stop()
	if err := <-d.ended; err != nil && ctx.Err() == nil {
		return fmt.Errorf("stop pgdrover: %w", err)
	}
	return nil
}
