package admin

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

var helpColumns = []Column{
	{"command", Text, "name of the command, or a part of it"},
	{"syntax", Text, "how it is written"},
	{"description", Text, "what it does"},
	{"role", Text, "who may use it: admin, or reader too"},
}

// runShowHelp is SHOW HELP.
func runShowHelp(_ context.Context, c *console, call call) (result, error) {
	written, one := call.arguments["command"]
	if !one {
		return result{rows: briefHelp(c.server.grammar.documented())}, nil
	}
	name, err := call.text("command")
	if err != nil {
		return result{}, err
	}
	name = strings.ToUpper(strings.Join(strings.Fields(name), " "))
	found := c.server.grammar.about(name)
	switch len(found) {
	case 0:
		e := pgerror.New(pgerror.SyntaxError, "there is no command \"%s\"", name).At(call.at(written.start))
		if near := nearest(name, c.server.grammar.names()); near != "" {
			return result{}, e.WithHint("Perhaps you meant SHOW HELP %s. %s", near, helpHint)
		}
		return result{}, e.WithHint("%s", helpHint)
	case 1:
		return result{rows: longHelp(found[0])}, nil
	}
	return result{rows: briefHelp(found)}, nil
}

func briefHelp(commands []*command) [][]any {
	var rows [][]any
	for _, c := range commands {
		rows = append(rows, []any{c.name, c.syntax, c.help, string(c.role)})
	}
	return rows
}

// longHelp gives a row for the command, one for each argument and one for each
// column.
func longHelp(c *command) [][]any {
	rows := [][]any{
		{c.name, c.syntax, c.help + "\n" + c.description, string(c.role)},
		{"example", c.example, nil, nil},
	}
	for _, a := range c.pattern.arguments() {
		rows = append(rows, []any{"argument", "<" + a.name + ">", a.meaning, nil})
	}
	for _, column := range c.columns {
		rows = append(rows, []any{"column", column.Name + " " + string(column.Type), column.Meaning, nil})
	}
	for _, option := range slices.Sorted(maps.Keys(c.optionColumns)) {
		for _, column := range c.optionColumns[option] {
			rows = append(rows, []any{"column with " + option, column.Name + " " + string(column.Type), column.Meaning, nil})
		}
	}
	return rows
}

// documented gives the commands that operators type.
func (g *grammar) documented() []*command {
	return slices.DeleteFunc(slices.Clone(g.commands), func(c *command) bool { return c.internal })
}

func (g *grammar) names() []string {
	var names []string
	for _, c := range g.documented() {
		names = append(names, c.name)
	}
	return names
}

// about gives the command of that name, with or without its SHOW; else those
// whose names begin with it.
func (g *grammar) about(name string) []*command {
	var begin []*command
	for _, c := range g.documented() {
		if strings.EqualFold(c.name, name) {
			return []*command{c}
		}
		if strings.HasPrefix(c.name, name+" ") {
			begin = append(begin, c)
		}
	}
	if len(begin) > 0 {
		return begin
	}
	for _, c := range g.documented() {
		if c.name == "SHOW "+name {
			return []*command{c}
		}
	}
	return nil
}
