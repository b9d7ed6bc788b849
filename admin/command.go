package admin

import (
	"context"
	"strings"
)

// Role is what a session must be to run a command.
type Role string

// The roles.
const (
	Reader Role = "reader" // may SHOW and nothing else
	Admin  Role = "admin"  // may do everything
)

// command is one entry of the table of commands.
type command struct {
	syntax        string              // see pattern
	help          string              // one line
	description   string              // what help leaves unsaid
	role          Role                //
	columns       []Column            // of the result; none for a command without rows
	optionColumns map[string][]Column // the result when the option is given
	tag           string              // of CommandComplete; name if empty
	example       string              // a statement that parses
	name          string              // the keywords that syntax begins with

	internal bool // what drivers send by themselves: not in SHOW HELP
	waits    bool // may take long and changes nothing: ends when the client leaves
	effects  bool // changes something that ROLLBACK will not undo

	// describe finds the result's columns where they depend on the arguments,
	// and refuses what cannot be run. nil if columns says all.
	describe func(c *console, s *statement) error
	run      func(ctx context.Context, c *console, call call) (result, error)

	pattern pattern // syntax, compiled
}

// firstWord gives the word that the command begins with.
func (c *command) firstWord() string {
	first, _, _ := strings.Cut(c.name, " ")
	return first
}

// commandTag gives the tag of CommandComplete.
func (c *command) commandTag() string {
	if c.tag != "" {
		return c.tag
	}
	return c.name
}

// result is what a command answers.
type result struct {
	rows [][]any // values by column: string, int64, int32, bool, float64, time.Time, nil
	tag  string  // if it is not the command's own
}
