package pgcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childrenOf lists the processes whose parent is pid: from /proc where there is
// one, else from ps.
func childrenOf(pid int) ([]int, error) {
	stats := glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output()
		if err != nil {
			return nil, fmt.Errorf("list the server's processes: %w", err)
		}
		return childrenIn(string(out), pid), nil
	}
	var table strings.Builder
	for _, path := range stats {
		if child, _, parent, ok := readStat(path); ok {
			fmt.Fprintln(&table, child, parent)
		}
	}
	return childrenIn(table.String(), pid), nil
}

// childrenIn reads lines of "pid ppid".
func childrenIn(table string, pid int) []int {
	var children []int
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(fields[0]); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// readStat reads process number, state and parent of a /proc/…/stat. The
// program's name, in parentheses, may itself contain spaces and parentheses.
func readStat(path string) (pid int, state string, parent int, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, "", 0, false
	}
	before, _, _ := strings.Cut(string(text), " ")
	after := string(text)[strings.LastIndexByte(string(text), ')')+1:]
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return 0, "", 0, false
	}
	pid, err = strconv.Atoi(before)
	parent, parentErr := strconv.Atoi(fields[1])
	return pid, fields[0], parent, err == nil && parentErr == nil
}

// processGone reports whether a process has ended. An orphan whose new parent
// does not wait for it (process 1 of some containers) stays a zombie for good.
func processGone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	_, state, _, ok := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return ok && state == "Z"
}
