package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// environmentFile is the File of problems in environment variables.
const environmentFile = "environment"

// Problem is one thing wrong with the configuration, or worth a warning.
// It never holds the value of a secret.
type Problem struct {
	File    string // as given to Load or Parse, or "environment"
	Line    int    // from 1; 0 when the problem has no line
	Key     string // "general.port", "databases.host", "PGDOG_PORT"; may be empty
	Message string // what is wrong
	Hint    string // what to do; may be empty
}

// String is the problem on one line: pgdog.toml:12: general.prot: unknown key; did you mean "port"?
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Error is a configuration that cannot be used, with every problem found.
//
// Error gives one line; all problems are in the DETAIL of PGError, which
// errors.As(err, **pgerror.Error) and pgerror.From find too.
type Error struct {
	Problems []Problem // by file, then line; never empty
}

// Error is the first problem, and how many more there are.
func (e *Error) Error() string {
	switch len(e.Problems) {
	case 0:
		return "configuration is not usable"
	case 1:
		return e.Problems[0].String()
	}
	return fmt.Sprintf("%d problems in the configuration, the first: %s", len(e.Problems), e.Problems[0])
}

// PGError gives the error as an operator reads it: SQLSTATE F0000 and one
// problem per line of DETAIL.
func (e *Error) PGError() *pgerror.Error {
	out := pgerror.New(pgerror.ConfigFileError, "%s", e.Error())
	if len(e.Problems) > 1 {
		lines := make([]string, len(e.Problems))
		for i, p := range e.Problems {
			lines[i] = p.String()
		}
		out.Detail = strings.Join(lines, "\n")
		out.Hint = "Correct the places named and load the configuration again; nothing of it was applied."
	}
	return out
}

// Unwrap lets errors.As find the *pgerror.Error.
func (e *Error) Unwrap() error { return e.PGError() }

// sortProblems orders by file (pgdog.toml, users.toml, the environment) and
// line, so that a reader can work through the files from top to bottom.
func sortProblems(problems []Problem, files ...string) {
	rank := func(file string) int {
		if i := slices.Index(files, file); i >= 0 {
			return i
		}
		return len(files)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank(a.File), rank(b.File)), cmp.Compare(a.Line, b.Line))
	})
}
