package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

// forProxy is a server that answers from memory: what is measured lies before it.
var forProxy = map[string]string{"max_connections": "400", "shared_buffers": "512MB", "autovacuum": "off"}

const (
	proxyPool    = 20 // server connections of each proxy
	proxyScale   = 10 // of pgbench's tables
	proxySeconds = 8  // of each run, at -scale 1
	proxyWarmUp  = "1"
)

var (
	proxyProtocols = []string{"simple", "extended", "prepared"}
	proxyClients   = []int{1, 16, 200}
)

// proxySide is one way to the server.
type proxySide struct {
	name     string
	port     int
	database string
	program  *program // nil for the direct way
	runs     map[proxyCase][]proxyFigures
}

// proxyCase is what all sides do in turns.
type proxyCase struct {
	protocol string
	clients  int
}

// proxyFigures are of one run.
type proxyFigures struct {
	tps           float64
	p50, p95, p99 time.Duration // of a transaction
	cpu           time.Duration // of the proxy, for a transaction
}

// proxyTraffic measures `pgbench -S` directly, through pgdrover and through
// PgBouncer, in transaction mode.
func proxyTraffic(ctx context.Context, f flags, out io.Writer) (err error) {
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{Settings: forProxy})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	pgbench, err := cluster.Installation().Tool("pgbench")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-proxy-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // PgBouncer runs as another user
		return err
	}
	fmt.Fprintf(out, "%s; pgbench -S, scale %d, transaction mode, %d server connections\n", cluster.Installation(), proxyScale, proxyPool)
	direct := &proxySide{name: "direct", port: cluster.Port(), database: "postgres"}
	if err := direct.pgbench(ctx, pgbench, cluster, "-i", "-q", "-s", strconv.Itoa(proxyScale)); err != nil {
		return err
	}
	sides := []*proxySide{direct}
	for _, start := range []func(context.Context, flags, *pgcluster.Cluster, string) (*proxySide, error){startPgdrover, startPgBouncer} {
		side, err := start(ctx, f, cluster, dir)
		if err != nil {
			return err
		}
		if side == nil {
			fmt.Fprintln(out, "PgBouncer is left out: it is not there; scripts/bench-peers.sh unpacks it")
			continue
		}
		defer func() { err = errors.Join(err, side.program.stop()) }()
		if err := awaitPort(ctx, side.port); err != nil {
			return fmt.Errorf("%s: %w: %s", side.name, err, side.program.said)
		}
		sides = append(sides, side)
	}
	seconds := max(1, int(proxySeconds*f.scale))
	for round := range f.runs {
		for _, protocol := range proxyProtocols {
			for _, clients := range proxyClients {
				for i := range sides {
					side := sides[(i+round)%len(sides)]
					if err := side.measure(ctx, pgbench, cluster, dir, proxyCase{protocol, clients}, seconds); err != nil {
						return fmt.Errorf("%s: %w", side.name, err)
					}
				}
			}
		}
	}
	printProxy(out, sides)
	return nil
}

// startPgdrover starts the pgdrover to measure.
func startPgdrover(ctx context.Context, f flags, c *pgcluster.Cluster, dir string) (*proxySide, error) {
	if _, err := os.Stat(f.pgdrover); err != nil {
		return nil, pgerror.New(pgerror.UndefinedFile, "there is no pgdrover to measure: %w", err).WithHint("make build, or -pgdrover PATH")
	}
	port, err := unusedPort()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("[general]\nhost = \"127.0.0.1\"\nport = %d\nauth_type = \"trust\"\ndefault_pool_size = %d\nlog_connections = false\nlog_disconnections = false\n"+
		"[admin]\npassword = \"bench\"\n[[databases]]\nname = \"bench\"\nhost = \"127.0.0.1\"\nport = %d\ndatabase_name = \"postgres\"\n", port, proxyPool, c.Port())
	users := fmt.Sprintf("[[users]]\nname = %q\ndatabase = \"bench\"\npassword = %q\n", c.Superuser(), c.Password())
	paths := []string{filepath.Join(dir, "pgdog.toml"), filepath.Join(dir, "users.toml")}
	for i, text := range []string{config, users} {
		if err := os.WriteFile(paths[i], []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	p, err := launch(ctx, nil, f.pgdrover, "-c", paths[0], "-u", paths[1], "run")
	return &proxySide{name: "pgdrover", port: port, database: "bench", program: p}, err
}

// startPgBouncer starts PgBouncer, nil if there is none.
func startPgBouncer(ctx context.Context, f flags, c *pgcluster.Cluster, dir string) (*proxySide, error) {
	path := f.pgbouncerPath()
	if path == "" {
		return nil, nil //nolint:nilnil // it is left out
	}
	port, err := unusedPort()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\nbench = host=127.0.0.1 port=%d dbname=postgres user=%s\n"+
		"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = %d\n"+
		"max_client_conn = 1000\nmax_prepared_statements = 200\nlog_connections = 0\nlog_disconnections = 0\n",
		c.Port(), c.Superuser(), port, proxyPool)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil { //nolint:gosec // another user reads it; the server is thrown away
		return nil, err
	}
	args := []string{config}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		args = []string{"-u", nobody.Username, config}
	}
	p, err := launch(ctx, nil, path, args...)
	return &proxySide{name: "PgBouncer", port: port, database: "bench", program: p}, err
}

// pgbouncerPath finds PgBouncer, "" if there is none.
func (f flags) pgbouncerPath() string {
	if f.pgbouncer != "" {
		return f.pgbouncer
	}
	if unpacked, _ := filepath.Glob(".cache/bench-peers/bin/pgbouncer-*"); len(unpacked) > 0 { // the pattern is right
		if path, err := filepath.Abs(unpacked[len(unpacked)-1]); err == nil {
			return path
		}
	}
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		return ""
	}
	return path
}

func unusedPort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }() // nobody has connected
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// awaitPort waits until somebody listens.
func awaitPort(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", err)
		}
	}
}

// pgbench runs pgbench on this side.
func (s *proxySide) pgbench(ctx context.Context, path string, c *pgcluster.Cluster, args ...string) error {
	env := []string{"PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(s.port), "PGUSER=" + c.Superuser(), "PGPASSWORD=" + c.Password(), "PGDATABASE=" + s.database, "LC_ALL=C"}
	p, err := launch(ctx, env, path, args...)
	if err != nil {
		return err
	}
	return p.wait()
}

// measure runs one case.
func (s *proxySide) measure(ctx context.Context, pgbench string, c *pgcluster.Cluster, dir string, what proxyCase, seconds int) error {
	args := []string{"-n", "-S", "-M", what.protocol, "-c", strconv.Itoa(what.clients), "-j", strconv.Itoa(min(what.clients, 2))}
	if err := s.pgbench(ctx, pgbench, c, append(args, "-T", proxyWarmUp)...); err != nil {
		return err
	}
	logs := filepath.Join(dir, "log")
	before := s.cpu()
	if err := s.pgbench(ctx, pgbench, c, append(args, "-T", strconv.Itoa(seconds+what.clients/100), "-l", "--log-prefix="+logs)...); err != nil {
		return err
	}
	used := s.cpu() - before
	latencies, took, err := readLatencies(logs)
	if err != nil {
		return err
	}
	if len(latencies) == 0 {
		return fmt.Errorf("pgbench has logged no transaction of %d clients, %s", what.clients, what.protocol)
	}
	slices.Sort(latencies)
	at := func(part float64) time.Duration {
		return latencies[min(len(latencies)-1, int(part*float64(len(latencies))))]
	}
	if s.runs == nil {
		s.runs = make(map[proxyCase][]proxyFigures)
	}
	s.runs[what] = append(s.runs[what], proxyFigures{
		tps: float64(len(latencies)) / took.Seconds(),
		p50: at(.5), p95: at(.95), p99: at(.99), cpu: used / time.Duration(len(latencies)),
	})
	return nil
}

// readLatencies reads pgbench's logs of transactions, and removes them: client,
// number, latency in microseconds, script, and the time of the end in seconds and
// microseconds. took is from the first end to the last: connecting is not in it.
func readLatencies(prefix string) (out []time.Duration, took time.Duration, err error) {
	paths, err := filepath.Glob(prefix + ".*")
	if err != nil {
		return nil, 0, err
	}
	var first, last time.Time
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, 0, err
		}
		for line := range strings.Lines(string(text)) {
			var n [6]int64
			fields := strings.Fields(line)
			for i := range min(len(n), len(fields)) {
				n[i], _ = strconv.ParseInt(fields[i], 10, 64) // pgbench writes numbers
			}
			if len(fields) < len(n) {
				continue
			}
			at := time.Unix(n[4], n[5]*1000)
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if at.After(last) {
				last = at
			}
			out = append(out, time.Duration(n[2])*time.Microsecond)
		}
		if err := os.Remove(path); err != nil {
			return nil, 0, err
		}
	}
	return out, max(last.Sub(first), time.Millisecond), nil
}

// cpu is what the proxy's process has used so far.
func (s *proxySide) cpu() time.Duration {
	if s.program == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.program.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text[max(0, strings.LastIndex(string(text), ")")):]), " ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime stime (proc(5))
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	const ticksPerSecond = 100 // USER_HZ of Linux
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// middle is the median of one figure over the runs of a case.
func middleOf[T float64 | time.Duration](runs []proxyFigures, figure func(proxyFigures) T) T {
	all := make([]T, len(runs))
	for i, r := range runs {
		all[i] = figure(r)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func printProxy(out io.Writer, sides []*proxySide) {
	fmt.Fprintf(out, "\n%-9s %7s  %-9s %9s %9s %9s %9s %12s\n", "protocol", "clients", "way", "tps", "p50 us", "p95 us", "p99 us", "CPU us/query")
	for _, protocol := range proxyProtocols {
		for _, clients := range proxyClients {
			what := proxyCase{protocol, clients}
			var tps, cpu []string
			ours := -1.0
			oursCPU := time.Duration(0)
			for _, s := range sides {
				runs := s.runs[what]
				t := middleOf(runs, func(f proxyFigures) float64 { return f.tps })
				c := middleOf(runs, func(f proxyFigures) time.Duration { return f.cpu })
				us := func(figure func(proxyFigures) time.Duration) int64 { return middleOf(runs, figure).Microseconds() }
				fmt.Fprintf(out, "%-9s %7d  %-9s %9.0f %9d %9d %9d %12.1f\n", protocol, clients, s.name, t,
					us(func(f proxyFigures) time.Duration { return f.p50 }), us(func(f proxyFigures) time.Duration { return f.p95 }),
					us(func(f proxyFigures) time.Duration { return f.p99 }), float64(c.Nanoseconds())/1000)
				switch {
				case s.name == "pgdrover":
					ours, oursCPU = t, c
				case ours > 0 && c > 0:
					tps = append(tps, fmt.Sprintf("%.2f", ours/t))
					cpu = append(cpu, fmt.Sprintf("%.2f", float64(oursCPU)/float64(c)))
				}
			}
			if len(tps) > 0 {
				fmt.Fprintf(out, "%19s pgdrover / PgBouncer: %s of its tps, %s of its CPU per query\n", "", strings.Join(tps, " "), strings.Join(cpu, " "))
			}
		}
	}
}
