package admin

import (
	"maps"
	"slices"
)

// CommandDoc describes one command, for documentation.
type CommandDoc struct {
	Name        string
	Syntax      string
	Help        string // one line
	Description string // what Help leaves unsaid
	Role        Role   // who may use it; an admin may do what a reader may
	Tag         string // of CommandComplete
	Example     string
	Arguments   []ArgumentDoc
	Results     []ResultDoc // none for a command without rows
}

// ArgumentDoc describes an argument of a command.
type ArgumentDoc struct{ Name, Meaning string }

// ResultDoc describes a result of a command.
type ResultDoc struct {
	Option  string // with which the command has this result, "" for its usual one
	Columns []Column
}

// Reference describes every command, in the order of SHOW HELP.
func Reference() []CommandDoc {
	g, err := compile(commandTable())
	if err != nil {
		panic("admin: " + err.Error())
	}
	var docs []CommandDoc
	for _, c := range g.documented() {
		docs = append(docs, c.doc())
	}
	return docs
}

func (c *command) doc() CommandDoc {
	d := CommandDoc{
		Name: c.name, Syntax: c.syntax, Help: c.help, Description: c.description,
		Role: c.role, Tag: c.commandTag(), Example: c.example,
	}
	for _, a := range c.pattern.arguments() {
		d.Arguments = append(d.Arguments, ArgumentDoc{a.name, a.meaning})
	}
	if len(c.columns) > 0 {
		d.Results = append(d.Results, ResultDoc{Columns: c.columns})
	}
	for _, option := range slices.Sorted(maps.Keys(c.optionColumns)) {
		d.Results = append(d.Results, ResultDoc{Option: option, Columns: c.optionColumns[option]})
	}
	return d
}

// SessionStatements gives the syntax of what is understood beside the commands
// because clients and drivers send it by themselves.
func SessionStatements() []string {
	var all []string
	for _, c := range driverTable() {
		all = append(all, c.syntax)
	}
	return all
}
