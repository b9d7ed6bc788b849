package admin

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// driftColumns are settings of a mirror that name columns of its tables: each
// adds to what [mirrors.tables.drift] has of them. The words are those of the
// command line and of the ways out of a stop.
var driftColumns = map[string]func(*config.ColumnDrift) *[]string{
	"skip_columns":         func(d *config.ColumnDrift) *[]string { return &d.SkipColumns },
	"preserve_columns":     func(d *config.ColumnDrift) *[]string { return &d.PreserveColumns },
	"null_columns":         func(d *config.ColumnDrift) *[]string { return &d.NullColumns },
	"null_removed_columns": func(d *config.ColumnDrift) *[]string { return &d.NullColumns },
	"allow_type_casts":     func(d *config.ColumnDrift) *[]string { return &d.AllowTypeCasts },
	"allow_type_cast":      func(d *config.ColumnDrift) *[]string { return &d.AllowTypeCasts },
}

// allowAllTypeCasts is another word for drift.type_mismatches = cast_always.
const allowAllTypeCasts = "allow_all_type_casts"

// driftWords are settings that the command line has as flags: they need no drift.
// before them.
var driftWords = []string{"allow_schema_drift", "force"}

// driftSetting reads a setting that names columns, and allow_all_type_casts. ok is
// false for any other.
func (r *settingsReader) driftSetting() (change mirrorChange, ok bool, err error) {
	t := r.peek()
	name := strings.ToLower(t.text)
	list := driftColumns[name]
	if t.kind != wordToken || list == nil && name != allowAllTypeCasts {
		return change, false, nil
	}
	r.at++
	change.name = name
	if r.reset {
		if list == nil {
			change.apply = resetSetting("drift.type_mismatches")
			return change, true, nil
		}
		change.apply = func(m *config.Mirror) {
			m.Tables = slices.Clone(m.Tables)
			for i := range m.Tables {
				*list(&m.Tables[i].Drift.ColumnDrift) = nil
			}
		}
		return change, true, nil
	}
	if !r.take("=") {
		return change, true, r.unexpected("=")
	}
	first := r.peek()
	values, err := r.values()
	if err != nil || r.unbound {
		return change, true, err
	}
	if list == nil {
		change.apply, err = allTypeCasts(strings.Join(values, ","))
		return change, true, placedAt(err, r, first)
	}
	var columns []columnName
	for _, text := range values {
		more, err := columnNames(text)
		if err != nil {
			return change, true, placedAt(err, r, first)
		}
		columns = append(columns, more...)
	}
	change.apply = func(m *config.Mirror) {
		for _, c := range columns {
			c.add(m, list)
		}
	}
	return change, true, nil
}

// placedAt gives an error the position of a token.
func placedAt(err error, r *settingsReader, at token) error {
	if err == nil {
		return nil
	}
	return placed(err, position(r.source, at.start))
}

func allTypeCasts(value string) (func(*config.Mirror), error) {
	switch strings.ToLower(value) {
	case "true", "on", "yes", "1":
		return func(m *config.Mirror) { m.Drift.TypeMismatches = "cast_always" }, nil
	case "false", "off", "no", "0", "default":
		return resetSetting("drift.type_mismatches"), nil
	}
	return nil, pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting \"%s\": must be true or false, found \"%s\"", allowAllTypeCasts, value)
}

// columnName is a column as a list names it: schema.table.column, and for a cast
// the type that is allowed.
type columnName struct{ schema, table, column, cast string }

// add adds the column to a list of its table's, which the mirror may not have an
// entry for yet.
func (n columnName) add(m *config.Mirror, list func(*config.ColumnDrift) *[]string) {
	entry := config.MirrorTable{Schema: n.schema, Name: n.table}
	m.Tables = slices.Clone(m.Tables)
	i := tableEntry(m, entry)
	if i < 0 {
		m.Tables = append(m.Tables, entry)
		i = len(m.Tables) - 1
	}
	text := n.column
	if n.cast != "" {
		text += ":" + n.cast
	}
	into := list(&m.Tables[i].Drift.ColumnDrift)
	if !slices.Contains(*into, text) {
		*into = append(slices.Clone(*into), text)
	}
}

// columnNames reads "public.orders.note, shop.\"Order Items\".price:numeric(12,2)".
// A schema that is left out is public.
func columnNames(text string) ([]columnName, error) {
	wrong := func() error {
		return pgerror.New(pgerror.InvalidParameterValue, "%q does not name columns", text).
			WithHint("Write schema.table.column, with commas between several, and what is not plain lower case between \"double quotes\"; for a cast the destination's type may follow: schema.table.column:type.")
	}
	var out []columnName
	rest := strings.TrimSpace(text)
	for rest != "" {
		var parts []string
		for {
			part, after, ok := identifier(rest)
			if !ok {
				return nil, wrong()
			}
			parts, rest = append(parts, part), after
			if !strings.HasPrefix(rest, ".") {
				break
			}
			rest = rest[1:]
		}
		n := columnName{schema: "public"}
		switch len(parts) {
		case 2:
			n.table, n.column = parts[0], parts[1]
		case 3:
			n.schema, n.table, n.column = parts[0], parts[1], parts[2]
		default:
			return nil, wrong()
		}
		rest = strings.TrimSpace(rest)
		if after, cast := strings.CutPrefix(rest, ":"); cast {
			end := typeEnd(after)
			n.cast, rest = strings.TrimSpace(after[:end]), after[end:]
			if n.cast == "" {
				return nil, wrong()
			}
		}
		out = append(out, n)
		rest = strings.TrimSpace(rest)
		if rest == "" {
			break
		}
		after, more := strings.CutPrefix(rest, ",")
		if rest = strings.TrimSpace(after); !more || rest == "" {
			return nil, wrong()
		}
	}
	if len(out) == 0 {
		return nil, wrong()
	}
	return out, nil
}

// identifier reads one name, with or without quotes.
func identifier(text string) (name, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, `.,:"' `)
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], end > 0
	}
	var out strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '"':
			out.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == '"':
			out.WriteByte('"')
			i++
		default:
			return out.String(), text[i+1:], out.Len() > 0
		}
	}
	return "", "", false
}

// typeEnd finds the comma that ends a type: not one between its parentheses.
func typeEnd(text string) int {
	depth, quoted := 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			return i
		}
	}
	return len(text)
}
