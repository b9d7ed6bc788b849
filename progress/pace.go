package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

// How often a line is told although the task does the same and is in the same
// tenth. A stream goes on for months: its line tells that it is alive.
const (
	copyInterval   = 5 * time.Second
	streamInterval = 30 * time.Second
)

// Streams tells whether a task has nothing left to do but to follow its
// source, until it is stopped.
func Streams(t mirror.Task) bool { return t.State == mirror.Running && t.LagBytes != nil }

// Line tells what a task is doing and how far it is.
func Line(t mirror.Task) string {
	var parts []string
	switch {
	case t.LagBytes != nil:
		parts = append(parts, fmt.Sprintf("lag %s, %s", Bytes(*t.LagBytes), seconds(t.Lag)))
		if perSecond := rowsPerSecond(t); perSecond >= 1 {
			parts = append(parts, Count(int64(perSecond))+" rows/s")
		}
	case t.TotalBytes > 0 && t.State == mirror.Running && t.Inner != replicating:
		parts = append(parts, fmt.Sprintf("%d%% of %s, %s rows", percentOf(t), Bytes(t.TotalBytes), Count(t.Rows)))
	case t.TotalBytes == 0:
		return t.Progress()
	}
	if t.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d statements failed", t.Failed))
	}
	doing := t.Inner
	if doing == "" || t.State != mirror.Running {
		doing = string(t.State)
	}
	return fmt.Sprintf("task %d: %s", t.ID, strings.Join(append([]string{doing}, parts...), ", "))
}

// replicating is what a task does that has copied its rows, as it says itself.
const replicating = "replicating"

// percentOf is how much of the bytes is copied; 100 only if all of them are,
// for the total is an estimate.
func percentOf(t mirror.Task) int64 {
	switch {
	case t.TotalBytes <= 0:
		return 0
	case t.Bytes >= t.TotalBytes:
		return 100
	}
	return int64(float64(t.Bytes) / float64(t.TotalBytes) * 100)
}

func rowsPerSecond(t mirror.Task) (sum float64) {
	for _, s := range t.Streams {
		sum += s.RowsPerSec
	}
	return sum
}

// Pace chooses which of a task's states are worth a line: a task that does
// something else or has got on by a tenth at once, else one in a while. The
// zero value is ready for use.
type Pace struct {
	step, line string
	lagged     bool // the line had a lag
	at         time.Time
}

// Line gives the line to tell now, and false if there is none.
func (p *Pace) Line(t mirror.Task, now time.Time) (string, bool) {
	line, interval := Line(t), copyInterval
	step := line // the states of other tasks are told by tenths
	switch {
	case t.LagBytes != nil || t.Inner == replicating: // a lag that is not known for a moment is no news
		step, interval = fmt.Sprint(t.State, t.Inner, t.Failed, p.lagged || t.LagBytes != nil), streamInterval
	case t.TotalBytes > 0:
		step = fmt.Sprint(t.State, t.Inner, t.Failed, percentOf(t)/10)
	}
	if t.State.Ended() || line == p.line || step == p.step && now.Sub(p.at) < interval {
		return "", false
	}
	p.step, p.line, p.lagged, p.at = step, line, t.LagBytes != nil, now
	return line, true
}
