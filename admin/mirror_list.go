package admin

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// settingsReader reads a list of a mirror's settings by recursive descent:
//
//	list    = element { "," element }
//	element = setting "=" value                            of RESET: setting
//	        | skip_columns "=" 'schema.table.column, ...'            see driftColumns
//	        | SCHEMA name [AS name]                                  without AS
//	        | TABLE table [AS table] [ "(" option { "," option } ")" ]     TABLE table
//	value   = text | DEFAULT | "(" text { "," text } ")"
//	table   = [ name "." ] name
//	option  = EXCLUDE "(" name { "," name } ")" | RENAME "(" name TO name { "," ... } ")"
//	        | CAST "(" name AS type { "," ... } ")" | WHERE ( text | "(" condition ")" ) | setting "=" value
type settingsReader struct {
	source string
	tokens []token
	reset  bool
	// bind gives a parameter's value; nil while parameters are not known: then
	// what has one is only parsed.
	bind func(token) (string, error)

	at      int
	unbound bool // the element has a parameter that is not known yet
}

// readSettings reads the whole list.
func readSettings(r settingsReader) (MirrorSettings, error) {
	out := MirrorSettings{source: r.source}
	for {
		start := r.peek().start
		r.unbound = false
		change, err := r.element()
		if err != nil {
			return out, placed(err, position(r.source, start))
		}
		change.start = start
		if !r.unbound {
			if out.Has(change.name) {
				return out, errTwice(change.name).At(position(r.source, start))
			}
			out.changes = append(out.changes, change)
		}
		if !r.take(",") {
			break
		}
	}
	if r.peek().kind != endToken {
		return out, r.unexpected(", or the end of the list")
	}
	return out, nil
}

// placed gives an error a position if it has none.
func placed(err error, place int) error {
	e := *pgerror.From(err)
	if e.Position == 0 {
		e.Position = place
	}
	return &e
}

func (r *settingsReader) element() (mirrorChange, error) {
	named := r.ahead(1).is("=")
	switch {
	case r.peek().is("SCHEMA") && !named:
		return r.schema()
	case r.peek().is("TABLE") && !named:
		return r.table()
	}
	if change, ok, err := r.driftSetting(); ok || err != nil {
		return change, err
	}
	name, err := r.settingName(wholeMirror)
	if err != nil {
		return mirrorChange{}, err
	}
	if r.reset {
		return mirrorChange{name: name, apply: resetSetting(name)}, nil
	}
	read, isDefault, err := r.setting(wholeMirror, name)
	if isDefault {
		return mirrorChange{name: name, apply: resetSetting(name)}, err
	}
	return mirrorChange{name: name, apply: changeSetting(name, read)}, err
}

// settingName reads the name of a setting, in any case.
func (r *settingsReader) settingName(of mirrorTable) (string, error) {
	t := r.peek()
	if t.kind != wordToken && t.kind != quotedToken {
		return "", r.unexpected("the name of a setting")
	}
	r.at++
	name := strings.ToLower(t.text)
	if slices.Contains(driftWords, name) {
		name = "drift." + name // as the command line calls it
	}
	_, _, err := of.key(name)
	return name, err
}

// setting reads = and the value of a setting, and gives a mirror that has it.
func (r *settingsReader) setting(of mirrorTable, name string) (read config.Mirror, isDefault bool, err error) {
	if !r.take("=") {
		return read, false, r.unexpected("=")
	}
	first := r.peek()
	values, err := r.values()
	if err != nil || r.unbound {
		return read, false, err
	}
	if first.is("DEFAULT") {
		return read, true, nil
	}
	read, err = of.read(name, values)
	if err != nil {
		return read, false, placed(err, position(r.source, first.start))
	}
	return read, false, nil
}

// values reads one value, or several between parentheses.
func (r *settingsReader) values() ([]string, error) {
	if !r.take("(") {
		text, err := r.text("a value")
		return []string{text}, err
	}
	var all []string
	for !r.take(")") {
		if len(all) > 0 && !r.take(",") {
			return nil, r.unexpected(", or )")
		}
		text, err := r.text("a value")
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}

// schema reads SCHEMA a AS b.
func (r *settingsReader) schema() (mirrorChange, error) {
	r.at++
	from, err := r.text("the name of a schema")
	if err != nil {
		return mirrorChange{}, err
	}
	to := ""
	if !r.reset {
		if !r.take("AS") {
			return mirrorChange{}, r.unexpected("AS")
		}
		if to, err = r.text("the name of a schema"); err != nil {
			return mirrorChange{}, err
		}
		if to == "" && !r.unbound {
			return mirrorChange{}, pgerror.New(pgerror.InvalidParameterValue, "the name of a schema must not be empty")
		}
	}
	return mirrorChange{name: "SCHEMA " + from, apply: renameSchema(from, to)}, nil
}

// text reads a name or a value.
func (r *settingsReader) text(what string) (string, error) {
	t := r.peek()
	if !t.isValue() {
		return "", r.unexpected(what)
	}
	r.at++
	if r.peek().is("::") && r.ahead(1).kind == wordToken { // as drivers write parameters into a statement
		r.at += 2
	}
	switch {
	case t.kind != parameterToken:
		return t.text, nil
	case r.bind == nil:
		r.unbound = true
		return t.text, nil
	}
	return r.bind(t)
}

// take passes a keyword or symbol, if it stands there.
func (r *settingsReader) take(word string) bool {
	if r.peek().is(word) {
		r.at++
		return true
	}
	return false
}

func (r *settingsReader) peek() token { return r.ahead(0) }

// ahead gives the token n after the next, one of kind endToken past the end.
func (r *settingsReader) ahead(n int) token {
	if r.at+n < len(r.tokens) {
		return r.tokens[r.at+n]
	}
	end := len(r.source)
	if len(r.tokens) > 0 {
		end = r.tokens[len(r.tokens)-1].end
	}
	return token{kind: endToken, start: end, end: end}
}

// unexpected is the error of a list that does not go on as it should.
func (r *settingsReader) unexpected(expected string) error {
	t := r.peek()
	e := pgerror.New(pgerror.SyntaxError, "syntax error at the end of the list")
	if t.kind != endToken {
		e = pgerror.New(pgerror.SyntaxError, "syntax error at or near \"%s\"", r.source[t.start:t.end])
	}
	return e.At(position(r.source, t.start)).WithDetail("Expected %s.", expected).
		WithHint("Elements of the list: <setting> = <value>, SCHEMA <name> AS <name>, TABLE <name> AS <name> (EXCLUDE (...), RENAME (...), CAST (...), WHERE '...'); of RESET: <setting>, SCHEMA <name>, TABLE <name>.")
}
