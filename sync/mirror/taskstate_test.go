package mirror

import (
	"slices"
	"strings"
	"testing"
)

func TestTaskStates(t *testing.T) {
	t.Parallel()
	// What may follow what, a row for each state: pending, running, restarting,
	// cancelling, finished, failed, cancelled, interrupted.
	allowed := map[TaskState]string{
		Pending:     ".X...XXX",
		Running:     "..XXXXXX",
		Restarting:  "...XXXXX",
		Cancelling:  "....XXXX",
		Finished:    "........",
		Failed:      "........",
		Cancelled:   "........",
		Interrupted: "........",
	}
	states := TaskStates()
	if len(states) != len(allowed) {
		t.Fatalf("TaskStates lists %v", states)
	}
	for _, from := range states {
		for i, to := range states {
			got, err := from.To(to)
			want := allowed[from][i] == 'X'
			if want != (err == nil) || err == nil && got != to || err != nil && got != from {
				t.Errorf("%s to %s gives %s, %v; allowed: %t", from, to, got, err, want)
			}
			if err != nil && (!strings.Contains(err.Error(), string(from)) || !strings.Contains(err.Error(), string(to))) {
				t.Errorf("the error does not name both states: %v", err)
			}
		}
		if ended := !strings.Contains(allowed[from], "X"); from.Ended() != ended {
			t.Errorf("%s has ended: %t", from, from.Ended())
		}
	}
	for _, to := range states { // the reverse, by which tasks are recorded
		var want []string
		for _, s := range states {
			if allowed[s][slices.Index(states, to)] == 'X' {
				want = append(want, string(s))
			}
		}
		if got := from(to); !slices.Equal(got, want) {
			t.Errorf("%s may follow %v, want %v", to, got, want)
		}
	}
}
