package main

import (
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
	elapsed   time.Duration
	clientCPU time.Duration // this process and the programs it has run
	serverCPU time.Duration // both clusters; 0 where the system does not tell
}

// timed measures work.
func (s *servers) timed(work func() error) (measure, error) {
	client, server, begin := clientCPU(), s.cpu(), time.Now()
	err := work()
	return measure{time.Since(begin), clientCPU() - client, s.cpu() - server}, err
}

func (m measure) add(other measure) measure {
	return measure{m.elapsed + other.elapsed, m.clientCPU + other.clientCPU, m.serverCPU + other.serverCPU}
}

func clientCPU() time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if syscall.Getrusage(who, &usage) == nil {
			sum += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		}
	}
	return sum
}

// cpu is what the processes of both clusters have used so far, by /proc. The
// postmaster waits for its children, so its own line holds those that ended.
func (s *servers) cpu() time.Duration {
	postmasters := map[string]bool{}
	for _, c := range []*pgcluster.Cluster{s.source, s.destination} {
		lines, err := os.ReadFile(filepath.Join(c.DataDir(), "postmaster.pid"))
		if err != nil {
			return 0
		}
		pid, _, _ := strings.Cut(string(lines), "\n")
		postmasters[strings.TrimSpace(pid)] = true
	}
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
		own := postmasters[filepath.Base(filepath.Dir(path))]
		if !own && !postmasters[fields[1]] {
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
	fmt.Fprintf(out, "%-52s median %7.2f s  (%s)  CPU: client %.2f s, servers %.2f s\n",
		s.name, m.elapsed.Seconds(), strings.Join(all, " "), m.clientCPU.Seconds(), m.serverCPU.Seconds())
}

// ratio prints how long ours takes in terms of theirs.
func ratio(out io.Writer, what string, ours, theirs *series) {
	fmt.Fprintf(out, "ratio %-46s %.2f\n", what, ours.middle().elapsed.Seconds()/theirs.middle().elapsed.Seconds())
}
