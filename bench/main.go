// Command bench measures pgdrover against the tools that do the same work
// otherwise, side by side on one machine: what counts is the ratio.
//
//	go run ./bench                     everything, as make bench does
//	go run ./bench -run schema10k      one benchmark
//	go run ./bench -tables 500 -scale 0.01 -runs 1
//	                                   a quick trial
//	go run ./bench -run clone,catchup -without pgcopydb
//
// It starts throw-away clusters of its own and removes them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
)

// flags are the command line.
type flags struct {
	run        string
	runs       int
	tables     int
	rows       int
	scale      float64
	without    string
	pgdrover   string
	pgcopydb   string
	pgbouncer  string
	cpuProfile string
}

// benchmark is one comparison.
type benchmark struct {
	name string
	what string
	run  func(ctx context.Context, f flags, out io.Writer) error
}

var benchmarks = []benchmark{
	{"schema10k", "a schema of 10,000 tables, empty", schema10k},
	{"index200", "the indexes and foreign keys of 200 tables with rows", index200},
	{"clone", "the whole standard data set: schema, rows, indexes, constraints", clone},
	{"rows", "the rows alone of the standard data set", rowsAlone},
	{"catchup", "a backlog of changes", catchup},
	{"latency", "a steady stream of changes: from commit to visible", latency},
	{"proxy", "applications through the proxy: pgbench -S, against PgBouncer and direct", proxyTraffic},
	{"memory", "the peak of memory: one large table, one large transaction", memory},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		progress.Print(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}

// command runs what the arguments ask for.
func command(ctx context.Context, args []string, out io.Writer) error {
	var f flags
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.StringVar(&f.run, "run", "", "run only the benchmarks of these `names`, separated by commas")
	set.IntVar(&f.runs, "runs", 3, "measure each side so many times; the median counts")
	set.IntVar(&f.tables, "tables", 0, "so many tables instead of the benchmark's own number")
	set.IntVar(&f.rows, "rows", 20_000, "rows of each table of index200")
	set.Float64Var(&f.scale, "scale", 1, "size of the data of clone, rows, catchup, latency and memory, up to 10; below 0.1 the figures mean nothing")
	set.StringVar(&f.without, "without", "", "leave out the contestants of these `names` there, separated by commas: pgdrover, pgcopydb, psql, native, pg_recvlogical")
	set.StringVar(&f.pgdrover, "pgdrover", "bin/pgdrover", "the pgdrover to measure there")
	set.StringVar(&f.pgcopydb, "pgcopydb", "", "the pgcopydb to measure there; otherwise what scripts/bench-peers.sh has unpacked, or the one in PATH")
	set.StringVar(&f.pgbouncer, "pgbouncer", "", "the PgBouncer to measure there; likewise")
	set.StringVar(&f.cpuProfile, "cpuprofile", "", "write this process's CPU profile to a `file`")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return pgerror.New(pgerror.InvalidParameterValue, "%w", err)
	}
	chosen, err := f.check()
	if err != nil {
		return err
	}
	if f.cpuProfile != "" {
		file, err := os.Create(f.cpuProfile)
		if err != nil {
			return fmt.Errorf("write the CPU profile: %w", err)
		}
		defer func() { _ = file.Close() }() // the profile is a convenience
		if err := pprof.StartCPUProfile(file); err != nil {
			return fmt.Errorf("write the CPU profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintf(out, "%s on %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, b := range chosen {
		fmt.Fprintf(out, "\n== %s: %s\n", b.name, b.what)
		if err := b.run(ctx, f, out); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// check gives the benchmarks that are asked for.
func (f flags) check() ([]benchmark, error) {
	chosen := benchmarks
	if f.run != "" {
		chosen = nil
		for name := range strings.SplitSeq(f.run, ",") {
			i := slices.IndexFunc(benchmarks, func(b benchmark) bool { return b.name == name })
			if i < 0 {
				return nil, pgerror.New(pgerror.InvalidParameterValue, "there is no benchmark %q", name).WithHint("benchmarks: %s", names())
			}
			chosen = append(chosen, benchmarks[i])
		}
	}
	if f.without != "" {
		for name := range strings.SplitSeq(f.without, ",") {
			if !slices.Contains(contestantNames, name) {
				return nil, pgerror.New(pgerror.InvalidParameterValue, "there is no contestant %q", name).WithHint("contestants: %s", strings.Join(contestantNames, ", "))
			}
		}
	}
	if f.runs < 1 || f.rows < 1 || f.tables < 0 || !(f.scale > 0 && f.scale <= 10) {
		return nil, pgerror.New(pgerror.InvalidParameterValue, "a number is too small or too large").WithHint("go run ./bench -help")
	}
	return chosen, nil
}

func names() string {
	var all []string
	for _, b := range benchmarks {
		all = append(all, b.name)
	}
	return strings.Join(all, ", ")
}
