package admin

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// statement is one parsed command, its parameters not yet known.
type statement struct {
	command    *command
	source     string // the whole text that the statement stands in
	tokens     []token
	arguments  map[string]value
	choices    []string // first words of the alternatives taken, in order, upper case
	options    map[string]bool
	parameters []uint32 // type OIDs of $1, $2, ...
	columns    []Column // of the result; none for a command without rows
	probe      *probe   // what a SELECT asks for
}

// value is an argument as written: a text, or the number of a parameter.
type value struct {
	text      string
	parameter int // 1-based, 0 if text holds
	isDefault bool
	start     int     // byte in the source
	list      []value // of a tablesArgument
	tokens    []token // of a listArgument
}

// isDryRun tells whether a command that changes something only tells what.
func (s *statement) isDryRun() bool { return s.options["DRY RUN"] }

// changes tells whether running s changes what ROLLBACK will not undo.
func (s *statement) changes() bool { return s.command.effects && !s.isDryRun() }

// waits tells whether s may take long and is of no use once the client has
// left.
func (s *statement) waits() bool { return s.command.waits || s.isDryRun() }

// at gives a byte offset of the statement's source as a position.
func (s *statement) at(start int) int { return position(s.source, start) }

// call is a statement with its parameters: what a command's run is given.
type call struct {
	*statement
	parameters []*string // nil for NULL
}

// text gives the argument's text, "" if it was left out.
func (c call) text(name string) (string, error) {
	return c.valueText(name, c.arguments[name])
}

func (c call) valueText(name string, v value) (string, error) {
	if v.parameter == 0 {
		return v.text, nil
	}
	if v.parameter > len(c.parameters) {
		return "", pgerror.New(pgerror.UndefinedParameter, "there is no parameter $%d", v.parameter).At(c.at(v.start))
	}
	text := c.parameters[v.parameter-1]
	if text == nil {
		return "", pgerror.New(nullValueNotAllowed, "<%s> cannot be NULL", name).At(c.at(v.start))
	}
	return *text, nil
}

// texts gives several arguments, in the order of names.
func (c call) texts(names ...string) ([]string, error) {
	texts := make([]string, len(names))
	for i, name := range names {
		var err error
		if texts[i], err = c.text(name); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// list gives the elements of an argument, none if it was left out.
func (c call) list(name string) ([]string, error) {
	var texts []string
	for _, v := range c.arguments[name].list {
		text, err := c.valueText(name, v)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// settings reads the argument as a list of a mirror's settings.
func (c call) settings(name string, reset bool) (MirrorSettings, error) {
	return readSettings(settingsReader{source: c.source, tokens: c.arguments[name].tokens, reset: reset, bind: func(t token) (string, error) {
		return c.valueText(name, value{text: t.text, parameter: parameterNumber(t), start: t.start})
	}})
}

// integer gives the argument as a number.
func (c call) integer(name string) (int64, error) {
	text, err := c.text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, pgerror.New(invalidTextRepresentation, "invalid <%s>: %q is not an integer", name, text).
			At(c.at(c.arguments[name].start))
	}
	return n, nil
}

// newStatement makes a statement from what the command's pattern caught.
func newStatement(source string, tokens []token, command *command, caught *capture) *statement {
	s := &statement{
		command: command, source: source, tokens: tokens,
		arguments: map[string]value{}, options: map[string]bool{}, columns: command.columns,
	}
	for ; caught != nil; caught = caught.older {
		switch {
		case caught.argument != nil:
			s.arguments[caught.argument.name] = s.value(caught)
		case caught.isOption:
			s.options[caught.choice] = true
		default:
			s.choices = append(s.choices, caught.choice)
		}
	}
	slices.Reverse(s.choices)
	for option, columns := range command.optionColumns {
		if s.options[option] {
			s.columns = columns
		}
	}
	s.collectParameters()
	return s
}

// value reads the tokens of one argument.
func (s *statement) value(c *capture) value {
	first, last := s.tokens[c.first], s.tokens[c.end-1]
	v := value{text: first.text, start: first.start}
	if c.argument.kind == tablesArgument || c.argument.kind == tableArgument {
		v.list = s.tableValues(c)
		return v
	}
	if c.argument.kind == listArgument {
		v.text, v.tokens = s.source[first.start:last.end], s.tokens[c.first:c.end]
		return v
	}
	if c.end-c.first > 1 {
		v.text = s.source[first.start:last.end]
		return v
	}
	if first.kind == parameterToken {
		v.parameter = parameterNumber(first)
	}
	v.isDefault = first.is("DEFAULT")
	return v
}

// tableValues reads the tables of one argument, quotes removed.
func (s *statement) tableValues(c *capture) []value {
	var list []value
	for i := c.first; i < c.end; i++ {
		t := s.tokens[i]
		switch {
		case t.is(","):
		case t.is("."): // in the middle of a name
			i++
			list[len(list)-1].text += "." + s.tokens[i].text
		case t.kind == parameterToken:
			list = append(list, value{text: t.text, parameter: parameterNumber(t), start: t.start})
		default:
			list = append(list, value{text: t.text, start: t.start})
		}
	}
	return list
}

// The OIDs of pg_type that parameters have unless the client says another.
const (
	textOID = 25
	int8OID = 20
)

// mostParameters is the protocol's own limit.
const mostParameters = 65535

// collectParameters gives every $n of the statement a type.
func (s *statement) collectParameters() {
	for _, t := range s.tokens {
		if t.kind != parameterToken {
			continue
		}
		n := parameterNumber(t)
		for len(s.parameters) < n {
			s.parameters = append(s.parameters, textOID)
		}
	}
	for name, v := range s.arguments {
		if a, _ := argumentNamed(name); v.parameter > 0 && a.kind == integerArgument {
			s.parameters[v.parameter-1] = int8OID
		}
	}
}

// parameterNumber gives n of $n; checkParameters has made sure that it is one.
func parameterNumber(t token) int {
	n, _ := strconv.Atoi(t.text[1:])
	return n
}

// checkParameters refuses numbers that cannot be a parameter's.
func checkParameters(source string, tokens []token) error {
	for _, t := range tokens {
		if t.kind != parameterToken {
			continue
		}
		if n, err := strconv.Atoi(t.text[1:]); err != nil || n < 1 || n > mostParameters {
			return pgerror.New(pgerror.UndefinedParameter, "there is no parameter %s", t.text).At(position(source, t.start))
		}
	}
	return nil
}

// firstParameter gives the first $n of the statement, for errors.
func (s *statement) firstParameter() (token, bool) {
	i := slices.IndexFunc(s.tokens, func(t token) bool { return t.kind == parameterToken })
	if i < 0 {
		return token{}, false
	}
	return s.tokens[i], true
}
