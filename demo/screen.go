package demo

import (
	"fmt"
	"io"
)

// screen is where the demonstration is told. Writing to it does not fail: a
// reader that is gone ends the process by SIGPIPE, or is nobody's concern.
type screen struct {
	out  io.Writer
	bold bool
}

func (s screen) say(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// title opens a step.
func (s screen) title(number, of int, step step) {
	s.say("\n%s\n%s\n", s.strong(fmt.Sprintf("%d/%d  %s", number, of, step.title)), step.what)
}

// typed shows a command after psql's prompt in a database.
func (s screen) typed(database, command string) { s.say("\n%s=# %s\n", database, s.strong(command)) }

func (s screen) strong(text string) string {
	if !s.bold {
		return text
	}
	return "\x1b[1m" + text + "\x1b[m"
}
