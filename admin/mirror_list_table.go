package admin

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// table reads TABLE a.b AS c.d (...).
func (r *settingsReader) table() (mirrorChange, error) {
	r.at++
	var t config.MirrorTable
	var err error
	if t.Schema, t.Name, err = r.tableName(); err != nil {
		return mirrorChange{}, err
	}
	if t.Schema == "" {
		t.Schema = "public" // as in the file
	}
	change := mirrorChange{name: fmt.Sprintf("TABLE %s.%s", t.Schema, t.Name)}
	if r.reset {
		change.apply = forgetTable(t)
		return change, nil
	}
	if r.take("AS") {
		if t.DestinationSchema, t.DestinationName, err = r.tableName(); err != nil {
			return change, err
		}
	}
	if r.take("(") {
		if err := r.tableOptions(&t); err != nil {
			return change, err
		}
	}
	change.apply = mapTable(t)
	return change, nil
}

// tableName reads a name, with or without a schema. Outside of quotes the point
// stands inside a word.
func (r *settingsReader) tableName() (schema, name string, err error) {
	first := r.peek()
	if name, err = r.text("the name of a table"); err != nil {
		return "", "", err
	}
	if first.kind != quotedToken {
		if before, after, found := strings.Cut(name, "."); found {
			schema, name = before, after
		}
	}
	if first.kind == wordToken && strings.Contains(name, ".") || schema != "" && r.peek().is(".") {
		return "", "", pgerror.New(pgerror.SyntaxError, "\"%s\" has more than one point", first.text).
			WithHint("Write <schema>.<table>, and what has a point in its name between \"double quotes\".").At(position(r.source, first.start))
	}
	if schema == "" && r.take(".") {
		schema = name
		name, err = r.text("the name of a table")
	}
	return schema, name, err
}

// tableOptions reads what is other about a table, up to the closing parenthesis.
func (r *settingsReader) tableOptions(t *config.MirrorTable) error {
	for {
		start := r.peek().start
		if err := r.tableOption(t); err != nil {
			return placed(err, position(r.source, start))
		}
		if r.take(")") {
			return nil
		}
		if !r.take(",") {
			return r.unexpected(", or )")
		}
	}
}

func (r *settingsReader) tableOption(t *config.MirrorTable) error {
	switch {
	case r.ahead(1).is("="): // whatever it is called
	case r.take("EXCLUDE"):
		return r.each(func() error {
			column, err := r.text("the name of a column")
			t.ExcludeColumns = append(t.ExcludeColumns, column)
			return err
		})
	case r.take("RENAME"):
		return r.pairs(&t.RenameColumns, "TO", func() (string, error) { return r.text("the name of a column") })
	case r.take("CAST"):
		return r.pairs(&t.CastColumns, "AS", r.typeName)
	case r.take("WHERE"):
		var err error
		t.RowFilter, err = r.condition()
		return err
	}
	if first := r.peek(); first.kind != wordToken || !r.ahead(1).is("=") {
		return r.unexpected("EXCLUDE, RENAME, CAST, WHERE or a setting")
	}
	name, err := r.settingName(oneTable)
	if err != nil {
		return err
	}
	read, isDefault, err := r.setting(oneTable, name)
	if err != nil || isDefault || r.unbound {
		return err
	}
	copySetting(t, &read.Tables[0], name)
	return nil
}

// each reads elements between parentheses.
func (r *settingsReader) each(element func() error) error {
	if !r.take("(") {
		return r.unexpected("(")
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if r.take(")") {
			return nil
		}
		if !r.take(",") {
			return r.unexpected(", or )")
		}
	}
}

// pairs reads (a TO b, ...) into a map.
func (r *settingsReader) pairs(into *map[string]string, word string, second func() (string, error)) error {
	if *into == nil {
		*into = map[string]string{}
	}
	return r.each(func() error {
		start := r.peek().start
		column, err := r.text("the name of a column")
		if err != nil {
			return err
		}
		if _, twice := (*into)[column]; twice && !r.unbound {
			return errTwice(column).At(position(r.source, start))
		}
		if !r.take(word) {
			return r.unexpected(word)
		}
		(*into)[column], err = second()
		return err
	})
}

// typeName reads a type as it is written, numeric(12,2) or timestamp with time
// zone, or one between quotes.
func (r *settingsReader) typeName() (string, error) {
	if t := r.peek(); t.kind == stringToken || t.kind == parameterToken {
		return r.text("a type")
	}
	return r.verbatim("a type", func(t token) bool { return t.is(",") })
}

// condition reads a row filter: between parentheses as SQL has it, or a string
// that holds it.
func (r *settingsReader) condition() (string, error) {
	if !r.take("(") {
		if t := r.peek(); t.kind != stringToken && t.kind != parameterToken {
			return "", r.unexpected("( or 'a condition'")
		}
		return r.text("a condition")
	}
	text, err := r.verbatim("a condition", func(token) bool { return false })
	r.at++ // the closing parenthesis, where verbatim has ended
	return text, err
}

// verbatim gives the source up to a closing parenthesis, or what ends it before,
// outside of parentheses.
func (r *settingsReader) verbatim(what string, ends func(token) bool) (string, error) {
	first, depth := r.at, 0
	for ; ; r.at++ {
		t := r.peek()
		switch {
		case t.kind == endToken:
			return "", r.unexpected(")")
		case t.kind == parameterToken:
			return "", r.unexpected(what + " without parameters")
		case t.is("("):
			depth++
		case depth == 0 && (t.is(")") || ends(t)):
			if r.at == first {
				return "", r.unexpected(what)
			}
			return r.source[r.tokens[first].start:r.tokens[r.at-1].end], nil
		case t.is(")"):
			depth--
		}
	}
}
