// Package pgcluster runs throw-away PostgreSQL clusters: for pgdrover demo and
// for tests. A cluster is a data directory in a temporary directory and a
// postmaster that is a child of this process; both go away with this process,
// however it ends (package tempdir says how).
//
// It runs on Linux and macOS, as an ordinary user and as root; as root the
// server is run by the user postgres.
package pgcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	superuser = "postgres"
	dirPrefix = "pgdrover-"
	// startTimeout limits one start when the caller's context has no deadline.
	startTimeout = 2 * time.Minute
)

// State says what a cluster is doing: Start and Restart lead to Running; Stop,
// Kill and a crash to Stopped; Close, from either, to Closed, which is final.
type State int

// The states.
const (
	Stopped State = iota
	Running
	Closed
)

func (s State) String() string { return [...]string{"stopped", "running", "closed"}[s] }

// StopMode is how a server is asked to stop.
type StopMode int

// The modes of pg_ctl.
const (
	Fast      StopMode = iota // ends sessions, writes a checkpoint (SIGINT)
	Smart                     // waits until clients have gone (SIGTERM)
	Immediate                 // no checkpoint, recovery at the next start (SIGQUIT)
)

func (m StopMode) signal() syscall.Signal {
	return [...]syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT}[m]
}

// Cluster is a PostgreSQL cluster. Its methods may be called concurrently;
// those that start and stop it run one after the other.
type Cluster struct {
	options Options
	account account
	dir     *tempdir.Dir
	port    int // constant after Start

	mu     sync.Mutex // held while the server is started or stopped
	server *server    // the latest run, nil before the first
	closed bool
}

// Start makes a cluster and starts it. It takes connections when Start returns;
// the caller calls Close. ctx limits the start alone.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	who, err := serverAccount(options.Installation)
	if err != nil {
		return nil, err
	}
	parent, err := options.parent(who)
	if err != nil {
		return nil, err
	}
	dir, err := tempdir.New(parent, dirPrefix)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: options, account: who, dir: dir}
	if err = c.create(ctx); err == nil {
		err = c.firstStart(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a cluster of %s: %w", options.Installation, err), c.Close())
	}
	return c, nil
}

// create makes and configures the data directory.
func (c *Cluster) create(ctx context.Context) error {
	o, data := c.options, c.dataDir()
	if err := c.account.chown(c.dir.Path()); err != nil {
		return err
	}
	if err := o.fillDataDir(ctx, c.account, data); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(o.configuration(inside(o.Installation.Root, c.dir.Path())))
	err = errors.Join(err, conf.Close(), os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(o.hba()), 0o600))
	if err == nil && o.SSL {
		err = writeCertificates(data, c.dir.Path(), c.account)
	}
	if err == nil && o.SuperuserPassword != "" {
		err = o.setPassword(ctx, c.account, data)
	}
	return err
}

// firstStart starts the server, on another port as long as the one found free
// was taken in the meantime.
func (c *Cluster) firstStart(ctx context.Context) error {
	c.port = c.options.Port
	for attempt := 1; ; attempt++ {
		if c.options.Port == 0 {
			port, err := freePort()
			if err != nil {
				return err
			}
			c.port = port
		}
		err := c.Start(ctx)
		if err == nil || c.options.Port != 0 || attempt == 10 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

var errPortTaken = errors.New("another process listens on it")

// Start starts a stopped or crashed server again, on the same port.
func (c *Cluster) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.start(ctx)
}

func (c *Cluster) start(ctx context.Context) error {
	if state := c.state(); state != Stopped {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the cluster is %s: only a stopped one can be started", state)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	logged := c.logSize()
	server, err := c.launch(c.port)
	if err != nil {
		return err
	}
	c.server = server
	err = server.awaitReady(ctx, c.dataDir())
	if err == nil {
		return nil
	}
	err = errors.Join(err, server.kill())
	log := c.logFrom(logged)
	if strings.Contains(log, "Address already in use") {
		return pgerror.New(pgerror.ObjectInUse, "port %d is in use: %w", c.port, errPortTaken).
			WithDetail("PostgreSQL's log:\n%s", log).WithHint("Find the process: ss -ltnp 'sport = :%d'", c.port)
	}
	return pgerror.New(pgerror.CannotConnectNow, "PostgreSQL did not start: %w", err).WithDetail("PostgreSQL's log:\n%s", log)
}

// Stop stops the server and waits for it. The directory stays; Start starts it
// again. Stopping a stopped server is no error. When ctx ends first, its error
// is returned and the server goes on stopping.
func (c *Cluster) Stop(ctx context.Context, mode StopMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop(ctx, mode)
}

func (c *Cluster) stop(ctx context.Context, mode StopMode) error {
	switch c.state() {
	case Stopped:
		return nil
	case Closed:
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the cluster is closed")
	}
	if err := syscall.Kill(c.server.cmd.Process.Pid, mode.signal()); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	if err := c.server.await(ctx); err != nil {
		return fmt.Errorf("wait for PostgreSQL to stop: %w", err)
	}
	return nil
}

// Restart stops the server and starts it again on the same port.
func (c *Cluster) Restart(ctx context.Context, mode StopMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stop(ctx, mode); err != nil {
		return err
	}
	return c.start(ctx)
}

// Kill ends every process of the server with SIGKILL, as a crash of the machine
// would (files already written stay: only the kernel's memory is not lost), and
// waits until they are gone. Start recovers.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state() != Running {
		return nil
	}
	return c.server.kill()
}

// Reload makes the server read its configuration files again (SIGHUP).
func (c *Cluster) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state := c.state(); state != Running {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the cluster is %s", state)
	}
	return syscall.Kill(c.server.cmd.Process.Pid, syscall.SIGHUP)
}

// Close stops the server and removes everything. Calling it again does nothing.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state() == Closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if stopErr := c.stop(ctx, Immediate); stopErr != nil {
		err = c.server.kill()
	}
	// postmaster.pid is still there: it was killed, and its System V segment
	// (some dozen bytes, the interlock) is left. A server that ends removes it.
	if lines := pidFile(c.dataDir()); len(lines) > pidFileSharedMem {
		if _, id, ok := strings.Cut(lines[pidFileSharedMem], " "); ok {
			_ = exec.Command("ipcrm", "-m", strings.TrimSpace(id)).Run() // best effort, see above
		}
	}
	c.closed = true
	return errors.Join(err, c.dir.Remove())
}

// State tells what the cluster is doing now.
func (c *Cluster) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state()
}

func (c *Cluster) state() State {
	switch {
	case c.closed:
		return Closed
	case c.server == nil || c.server.ended():
		return Stopped
	default:
		return Running
	}
}

// Installation is what the cluster runs.
func (c *Cluster) Installation() Installation { return c.options.Installation }

// Host is the address the server listens on.
func (c *Cluster) Host() string { return "127.0.0.1" }

// Port is its TCP port.
func (c *Cluster) Port() int { return c.port }

// SocketDir is the directory of the Unix socket. Only the server's account and root may enter it.
func (c *Cluster) SocketDir() string { return c.dir.Path() }

// DataDir is the data directory, as this process sees it.
func (c *Cluster) DataDir() string { return c.dataDir() }

// Superuser is the name of the bootstrap superuser.
func (c *Cluster) Superuser() string { return superuser }

// Password is the superuser's, "" without one.
func (c *Cluster) Password() string { return c.options.SuperuserPassword }

// CACertificate is the file that verifies the server's certificate, "" without SSL.
func (c *Cluster) CACertificate() string {
	if !c.options.SSL {
		return ""
	}
	return filepath.Join(c.dir.Path(), caCertFile)
}

// DSN is the connection URI of a database for the superuser, over TCP; with the
// password, and with sslmode=verify-full if the server has TLS.
func (c *Cluster) DSN(database string) string {
	user := url.User(superuser)
	if c.options.SuperuserPassword != "" {
		user = url.UserPassword(superuser, c.options.SuperuserPassword)
	}
	query := url.Values{"sslmode": {"disable"}}
	if c.options.SSL {
		query = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {c.CACertificate()}}
	}
	u := url.URL{Scheme: "postgres", User: user, Host: fmt.Sprintf("%s:%d", c.Host(), c.port), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

// Log is the end of the server's log, at most 64 KiB, in whole lines.
func (c *Cluster) Log() string { return c.logFrom(0) }

func (c *Cluster) dataDir() string { return filepath.Join(c.dir.Path(), "data") }
func (c *Cluster) logPath() string { return filepath.Join(c.dir.Path(), "log") }

func (c *Cluster) logSize() int64 {
	info, err := os.Stat(c.logPath())
	if err != nil {
		return 0
	}
	return info.Size()
}

// logFrom is the log after an offset, its last 64 KiB if it is longer.
func (c *Cluster) logFrom(offset int64) string {
	const most = 64 << 10
	file, err := os.Open(c.logPath())
	if err != nil {
		return ""
	}
	defer file.Close()
	start := max(offset, c.logSize()-most)
	text, err := io.ReadAll(io.NewSectionReader(file, start, most))
	if err != nil {
		return fmt.Sprintf("(the log cannot be read: %v)", err)
	}
	if start > offset {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return string(text)
}

// inside gives a path as a process in the root sees it.
func inside(root, path string) string {
	if root == "" {
		return path
	}
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
}
