package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// MirrorChangeKind is what a change of a mirror's settings means for a mirror
// that exists.
type MirrorChangeKind int

// The kinds of changes.
const (
	ChangesWork  MirrorChangeKind = iota // how it is worked on: in force with the next task
	ChangesRows                          // what its tables are at the destination: they have to be copied again
	ChangesPlace                         // what it is between: another mirror
)

// MirrorChange is one difference between two settings of a mirror.
type MirrorChange struct {
	Key      string // as ALTER MIRROR names it: "workers", "drift.interval", "SCHEMA public", "TABLE public.orders"
	Old, New string // as files have them; "" for what is not there
	Kind     MirrorChangeKind
	Set      string // the change as SET of ALTER MIRROR has it; "" if it is
	Reset    string // one of RESET; of ChangesPlace both are ""
	apply    func(*Mirror)
}

// Apply makes the change in a mirror's settings.
func (c MirrorChange) Apply(m *Mirror) { c.apply(m) }

// MirrorChanges tells what has to change for a mirror with the settings from to
// have the settings to, in the order of the key table. Names and places in files
// are not compared.
func MirrorChanges(from, to Mirror) []MirrorChange {
	var out []MirrorChange
	keys(&out, tableNamed("mirrors"), "", reflect.ValueOf(from), reflect.ValueOf(to), func(m *Mirror) reflect.Value { return reflect.ValueOf(m).Elem() })
	out = append(out, schemaChanges(from, to)...)
	out = append(out, tableChanges(from, to)...)
	keys(&out, tableNamed("mirrors.drift"), "drift.", reflect.ValueOf(from.Drift), reflect.ValueOf(to.Drift),
		func(m *Mirror) reflect.Value { return reflect.ValueOf(&m.Drift).Elem() })
	return out
}

// keys compares the keys of a table that have one value or a list of them.
func keys(out *[]MirrorChange, t *Table, prefix string, from, to reflect.Value, in func(*Mirror) reflect.Value) {
	for i := range t.Keys {
		key := &t.Keys[i]
		before, after := from.FieldByIndex(key.index), to.FieldByIndex(key.index)
		if key.Section() || after.Kind() == reflect.Map || prefix == "" && key.Name == "name" || key.text(before) == key.text(after) {
			continue
		}
		c := MirrorChange{Key: prefix + key.Name, Old: key.text(before), New: key.text(after)}
		c.apply = func(m *Mirror) { in(m).FieldByIndex(key.index).Set(after) }
		switch {
		case key.Required():
			c.Kind = ChangesPlace
		case c.New == key.text(t.defaults.FieldByIndex(key.index)):
			c.Reset = c.Key
		default:
			c.Set = c.Key + " = " + key.setting(after)
		}
		*out = append(*out, c)
	}
}

// setting writes a value as the lists of CREATE MIRROR and ALTER MIRROR have it.
func (k *Key) setting(field reflect.Value) string {
	if field.Kind() == reflect.Pointer {
		field = field.Elem()
	}
	switch {
	case field.Kind() == reflect.String:
		return quoted(field.String())
	case field.Kind() == reflect.Slice:
		elements := make([]string, field.Len())
		for i := range elements {
			elements[i] = quoted(field.Index(i).String())
		}
		return "(" + strings.Join(elements, ", ") + ")"
	}
	return k.text(field)
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func schemaChanges(from, to Mirror) []MirrorChange {
	names := maps.Clone(from.Schemas)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, to.Schemas)
	var out []MirrorChange
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, after := from.Schemas[name], to.Schemas[name]
		if before == after {
			continue
		}
		c := MirrorChange{Key: "SCHEMA " + name, Old: before, New: after, Kind: ChangesRows}
		if after == "" {
			c.Reset = "SCHEMA " + identifier(name)
		} else {
			c.Set = "SCHEMA " + identifier(name) + " AS " + identifier(after)
		}
		c.apply = func(m *Mirror) {
			m.Schemas = maps.Clone(m.Schemas)
			if after == "" {
				delete(m.Schemas, name)
				return
			}
			if m.Schemas == nil {
				m.Schemas = map[string]string{}
			}
			m.Schemas[name] = after
		}
		out = append(out, c)
	}
	return out
}

// tableChanges compares the entries of tables, in the order of to; those that
// only from has come last.
func tableChanges(from, to Mirror) []MirrorChange {
	var out []MirrorChange
	for _, after := range to.Tables {
		before, there := from.table(after)
		if there && before.text() == after.text() {
			continue
		}
		c := MirrorChange{Key: after.key(), New: after.text(), Kind: ChangesRows, Set: after.setting()}
		if there {
			c.Old = before.text()
		}
		if before.withoutDrift(after).text() == after.withoutDrift(after).text() {
			c.Kind = ChangesWork
		}
		c.apply = func(m *Mirror) {
			m.Tables = slices.Clone(m.Tables)
			if i := m.tableAt(after); i >= 0 {
				m.Tables[i] = after
			} else {
				m.Tables = append(m.Tables, after)
			}
		}
		out = append(out, c)
	}
	for _, before := range from.Tables {
		if _, still := to.table(before); still {
			continue
		}
		c := MirrorChange{Key: before.key(), Old: before.text(), Kind: ChangesRows, Reset: before.named()}
		if before.withoutDrift(before).text() == (MirrorTable{Schema: before.Schema, Name: before.Name}).text() {
			c.Kind = ChangesWork
		}
		c.apply = func(m *Mirror) {
			if i := m.tableAt(before); i >= 0 {
				m.Tables = slices.Delete(slices.Clone(m.Tables), i, i+1)
			}
		}
		out = append(out, c)
	}
	return out
}

func (m *Mirror) tableAt(of MirrorTable) int {
	return slices.IndexFunc(m.Tables, func(t MirrorTable) bool { return t.Schema == of.Schema && t.Name == of.Name })
}

func (m *Mirror) table(of MirrorTable) (MirrorTable, bool) {
	if i := m.tableAt(of); i >= 0 {
		return m.Tables[i], true
	}
	return MirrorTable{}, false
}

func (t MirrorTable) key() string { return fmt.Sprintf("TABLE %s.%s", t.Schema, t.Name) }

func (t MirrorTable) named() string {
	return "TABLE " + identifier(t.Schema) + "." + identifier(t.Name)
}

// withoutDrift is what the entry says of the table at the destination; of one
// that is not there, that it is the same.
func (t MirrorTable) withoutDrift(of MirrorTable) MirrorTable {
	t.Schema, t.Name, t.Drift = of.Schema, of.Name, TableDrift{}
	return t
}

// text is the entry in one form, so that two that mean the same are equal.
func (t MirrorTable) text() string {
	if t.DestinationName == t.Name {
		t.DestinationName = ""
	}
	encoded, err := json.Marshal(t)
	if err != nil { // strings, booleans and numbers always can be written
		panic(err)
	}
	return string(encoded)
}

// setting is the entry as the lists of CREATE MIRROR and ALTER MIRROR have it.
func (t MirrorTable) setting() string {
	out := t.named()
	switch {
	case t.DestinationSchema != "" && t.DestinationName != "":
		out += " AS " + identifier(t.DestinationSchema) + "." + identifier(t.DestinationName)
	case t.DestinationSchema != "":
		out += " AS " + identifier(t.DestinationSchema) + "." + identifier(t.Name)
	case t.DestinationName != "":
		out += " AS " + identifier(t.DestinationName)
	}
	var options []string
	if len(t.ExcludeColumns) > 0 {
		names := make([]string, len(t.ExcludeColumns))
		for i, name := range t.ExcludeColumns {
			names[i] = identifier(name)
		}
		options = append(options, "EXCLUDE ("+strings.Join(names, ", ")+")")
	}
	options = append(options, pairs("RENAME", t.RenameColumns, " TO ", identifier)...)
	options = append(options, pairs("CAST", t.CastColumns, " AS ", quoted)...)
	if t.RowFilter != "" {
		options = append(options, "WHERE "+quoted(t.RowFilter))
	}
	table := tableNamed("mirrors.tables.drift")
	for i := range table.Keys {
		key := &table.Keys[i]
		field := reflect.ValueOf(t.Drift).FieldByIndex(key.index)
		if key.text(field) != key.text(table.defaults.FieldByIndex(key.index)) {
			options = append(options, "drift."+key.Name+" = "+key.setting(field))
		}
	}
	if len(options) > 0 {
		out += " (" + strings.Join(options, ", ") + ")"
	}
	return out
}

func pairs(verb string, of map[string]string, between string, write func(string) string) []string {
	if len(of) == 0 {
		return nil
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, identifier(name)+between+write(of[name]))
	}
	return []string{verb + " (" + strings.Join(out, ", ") + ")"}
}

// AlterMirror is the statements that make changes in a mirror, "" if none can.
func AlterMirror(name string, changes []MirrorChange) string {
	var set, reset []string
	for _, c := range changes {
		if c.Set != "" {
			set = append(set, c.Set)
		}
		if c.Reset != "" {
			reset = append(reset, c.Reset)
		}
	}
	var out []string
	if len(set) > 0 {
		out = append(out, fmt.Sprintf("ALTER MIRROR %s SET (%s);", identifier(name), strings.Join(set, ", ")))
	}
	if len(reset) > 0 {
		out = append(out, fmt.Sprintf("ALTER MIRROR %s RESET (%s);", identifier(name), strings.Join(reset, ", ")))
	}
	return strings.Join(out, " ")
}
