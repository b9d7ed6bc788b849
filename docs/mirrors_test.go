package docs_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorCommands are the columns of the table of states, with what is in the
// engine beside the commands: how a task ends.
var mirrorCommands = []struct {
	title   string
	command mirror.MirrorCommand
}{
	{"`PAUSE MIRROR`", mirror.PauseMirror}, {"`RESUME MIRROR`", mirror.ResumeMirror}, {"`RETRY MIRROR`", mirror.RetryMirror},
	{"`COPY_DATA`, `REPLICATE`", mirror.StartMirror}, {"its task is stopped, or ends", "STOP_TASK"}, {"its task fails", "failure"},
}

// TestMirrorStates compares the table of mirrors.md with the engine's.
func TestMirrorStates(t *testing.T) {
	const path, begin, end = "mirrors.md", "<!-- Made from the program. After a change of it: go test ./docs -update -->\n", "<!-- end -->"
	titles := []string{"wanted"}
	for _, c := range mirrorCommands {
		titles = append(titles, c.title)
		if len(c.command.From()) == 0 {
			t.Errorf("%s is valid in no state: the engine has another name for it", c.command)
		}
	}
	var table strings.Builder
	table.WriteString("\n")
	head(&table, titles...)
	for _, s := range mirror.MirrorStates() {
		cells := []string{code(string(s))}
		for _, c := range mirrorCommands {
			next, err := c.command.After(s, "m")
			if err != nil {
				next = ""
			}
			cells = append(cells, code(string(next)))
		}
		row(&table, cells...)
	}
	table.WriteString("\n")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), begin)
	have, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no place for the table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), have); diff != "" {
		t.Errorf("%s is not what the program says; go test ./docs -update writes it anew (-program +page):\n%s", path, diff)
	}
}
