package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/pgcluster"
)

// measure is what one piece of work took.
type measure struct {
	elapsed        time.Duration
	clientCPU      time.Duration // the programs that have run, and this process where it does the work
	sourceCPU      time.Duration // all processes of the cluster; 0 where the system does not tell
	destinationCPU time.Duration
}

// timed measures work of this process and of programs that it runs.
func (s *servers) timed(work func() error) (measure, error) {
	begin := s.reading(clientCPU)
	err := work()
	return s.reading(clientCPU).since(begin), err
}

// timedPrograms measures work that programs do. The time ends when done is
// called, if it is, else with work: the processor time of a program counts from
// its end on.
func (s *servers) timedPrograms(work func(done func()) error) (measure, error) {
	begin := s.reading(programCPU)
	var end time.Time
	err := work(func() { end = time.Now() })
	m := s.reading(programCPU).since(begin)
	if !end.IsZero() {
		m.elapsed = end.Sub(begin.at)
	}
	return m, err
}

// reading is what the clocks show at a moment.
type reading struct {
	at                          time.Time
	client, source, destination time.Duration
}

func (s *servers) reading(client func() time.Duration) reading {
	return reading{client: client(), source: clusterCPU(s.source), destination: clusterCPU(s.destination), at: time.Now()}
}

func (r reading) since(begin reading) measure {
	return measure{r.at.Sub(begin.at), r.client - begin.client, r.source - begin.source, r.destination - begin.destination}
}

func (m measure) add(other measure) measure {
	return measure{m.elapsed + other.elapsed, m.clientCPU + other.clientCPU, m.sourceCPU + other.sourceCPU, m.destinationCPU + other.destinationCPU}
}

// clientCPU is what this process and the programs that it has run have used.
func clientCPU() time.Duration { return processCPU(syscall.RUSAGE_SELF) + programCPU() }

// programCPU is what the programs have used that have ended, and those that
// they have waited for.
func programCPU() time.Duration { return processCPU(syscall.RUSAGE_CHILDREN) }

func processCPU(who int) time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(who, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// clusterCPU is what the processes of a cluster have used so far, by /proc. The
// postmaster waits for its children, so its own line holds those that ended.
func clusterCPU(c *pgcluster.Cluster) time.Duration {
	lines, err := os.ReadFile(filepath.Join(c.DataDir(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(lines), "\n")
	postmaster := strings.TrimSpace(first)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	var ticks int64
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (comm) state ppid …; comm may hold anything (proc(5)).
		_, after, _ := strings.Cut(string(text[max(0, strings.LastIndex(string(text), ")")):]), " ")
		fields := strings.Fields(after)
		if len(fields) < 15 {
			continue
		}
		if filepath.Base(filepath.Dir(path)) != postmaster && fields[1] != postmaster {
			continue
		}
		for _, field := range fields[11:15] { // utime stime cutime cstime
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	const ticksPerSecond = 100 // USER_HZ of Linux
	return time.Duration(ticks) * time.Second / ticksPerSecond
}

// series are the runs of one side.
type series struct {
	name string
	runs []measure
}

// middle is the run in the middle by its elapsed time.
func (s *series) middle() measure {
	sorted := slices.SortedFunc(slices.Values(s.runs), func(a, b measure) int { return int(a.elapsed - b.elapsed) })
	return sorted[len(sorted)/2]
}

// print prints the runs of a side and the one in the middle.
func (s *series) print(out io.Writer) {
	m := s.middle()
	all := make([]string, len(s.runs))
	for i, r := range s.runs {
		all[i] = fmt.Sprintf("%.2f", r.elapsed.Seconds())
	}
	fmt.Fprintf(out, "%-52s median %7.2f s  (%s)  CPU: client %.2f s, source %.2f s, destination %.2f s\n", s.name, m.elapsed.Seconds(),
		strings.Join(all, " "), m.clientCPU.Seconds(), m.sourceCPU.Seconds(), m.destinationCPU.Seconds())
}

// ratio prints how long ours takes in terms of theirs: of the medians, and run
// by run, which tells how far the machine was quiet.
func ratio(out io.Writer, what string, ours, theirs *series) {
	pairs := make([]string, min(len(ours.runs), len(theirs.runs)))
	for i := range pairs {
		pairs[i] = fmt.Sprintf("%.2f", ours.runs[i].elapsed.Seconds()/theirs.runs[i].elapsed.Seconds())
	}
	fmt.Fprintf(out, "ratio %-46s %.2f  (run by run %s)\n", what, ours.middle().elapsed.Seconds()/theirs.middle().elapsed.Seconds(), strings.Join(pairs, " "))
}

// seconds, or another figure, of every run.
func (s *series) seconds(of func(measure) float64) []float64 {
	all := make([]float64, len(s.runs))
	for i, m := range s.runs {
		all[i] = of(m)
	}
	return all
}

// median is the value in the middle, of an even number the greater of two.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
