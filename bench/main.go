// Command bench measures pgdrover against the tools that do the same work
// otherwise, side by side on one machine: what counts is the ratio.
//
//	go run ./bench                     everything, as make bench does
//	go run ./bench -run schema10k      one benchmark
//	go run ./bench -tables 500 -runs 1 a quick trial
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
	set.StringVar(&f.run, "run", "", "run only the benchmark of this `name`")
	set.IntVar(&f.runs, "runs", 3, "measure each side so many times; the median counts")
	set.IntVar(&f.tables, "tables", 0, "so many tables instead of the benchmark's own number")
	set.IntVar(&f.rows, "rows", 20_000, "rows of each table of index200")
	set.StringVar(&f.cpuProfile, "cpuprofile", "", "write this process's CPU profile to a `file`")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return pgerror.New(pgerror.InvalidParameterValue, "%w", err)
	}
	chosen := slices.DeleteFunc(slices.Clone(benchmarks), func(b benchmark) bool { return f.run != "" && b.name != f.run })
	if len(chosen) == 0 || f.runs < 1 || f.rows < 1 || f.tables < 0 {
		return pgerror.New(pgerror.InvalidParameterValue, "there is no benchmark %q, or a number is too small", f.run).
			WithHint("benchmarks: %s", names())
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

func names() string {
	var all []string
	for _, b := range benchmarks {
		all = append(all, b.name)
	}
	return strings.Join(all, ", ")
}
