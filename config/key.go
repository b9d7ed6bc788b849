package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Names that the two files go by in messages and documentation, whatever
// their paths are.
const (
	configFile = "pgdog.toml"
	usersFile  = "users.toml"
)

// flags say how a key, or a whole table, is treated.
type flags uint8

const (
	later    flags = 1 << iota // a key of PgDog that nothing acts on yet: type-checked, accepted with a warning
	restart                    // read when the process starts; RELOAD only tells that it changed
	settable                   // SET may change it in the running process
	secret                     // never shown
	required                   // has no default and must be there
	noEnv                      // a key of [general] without an environment variable
	cluster                    // its value names a [[databases]] entry
	section                    // its value is a table with a header of its own in the example file
)

// Key is one key of a table.
type Key struct {
	Name        string
	Type        string   // "integer", "number", "boolean", "string", "one of", "list of strings" …
	Default     string   // as TOML; "" if there is none
	Example     string   // as TOML, for keys without a default
	Unit        string   // "ms", "s", "bytes", or ""
	Values      []string // what a "one of" may be
	Min, Max    int64    // for numbers; Max 0 is no limit
	Env         []string // environment variables, the first that is set counts
	Description string
	Ignored     string // what it means that a key not supported yet has no effect, where that matters

	flags flags
	unset string // the word that stands for "not set", as "off" or "default"; "" if there is none
	index []int  // of the struct field
}

// Supported tells whether anything acts on the key.
func (k Key) Supported() bool { return k.flags&later == 0 }

// NeedsRestart tells whether a change takes effect at the next start only.
func (k Key) NeedsRestart() bool { return k.flags&restart != 0 }

// Settable tells whether SET may change the key in the running process.
func (k Key) Settable() bool { return k.flags&settable != 0 }

// Secret tells whether the value is never shown.
func (k Key) Secret() bool { return k.flags&secret != 0 }

// Required tells whether the key has to be in the file.
func (k Key) Required() bool { return k.flags&required != 0 }

// Section tells whether the value is a table of Describe's own, which a file may
// write with a header of its own.
func (k Key) Section() bool { return k.flags&section != 0 }

// Table is one table of the files, or the table that a list's elements are.
type Table struct {
	Name        string   // "general", "databases", "sharded_tables.mapping"
	Array       bool     // [[name]], any number of times, instead of [name]
	Files       []string // "pgdog.toml", "users.toml"
	Description string
	Keys        []Key
	AnyKeys     bool // its keys are not defined yet: whatever stands there is accepted

	flags    flags
	element  reflect.Type  // the struct that one entry is decoded into
	defaults reflect.Value // such a struct with its defaults
	index    []int         // of the field of Config
}

// Supported tells whether anything acts on the table.
func (t Table) Supported() bool { return t.flags&later == 0 }

// header gives the table's line in a file.
func (t *Table) header() string {
	if t.Array {
		return "[[" + t.Name + "]]"
	}
	return "[" + t.Name + "]"
}

// key finds a key by its name.
func (t *Table) key(name string) *Key {
	for i := range t.Keys {
		if t.Keys[i].Name == name {
			return &t.Keys[i]
		}
	}
	return nil
}

func (t *Table) keyNames() []string {
	names := make([]string, len(t.Keys))
	for i, key := range t.Keys {
		names[i] = key.Name
	}
	return names
}

// Describe gives the whole key table, for documentation. It is the caller's.
func Describe() []Table {
	out := slices.Clone(tables)
	for i := range out {
		out[i].Files = slices.Clone(out[i].Files)
		out[i].Keys = slices.Clone(out[i].Keys)
	}
	return out
}

// tables is the key table, bound to the structs.
var tables = bindAll([]Table{
	generalTable, adminTable, replicationTable, schemaSyncTable, dataSyncTable, databasesTable,
	shardedTablesTable, mappingTable, shardedMappingsTable, omnishardedTablesTable, shardedSchemasTable,
	rewriteTable, mirroringTable, replicaLagTable, tcpTable, memoryTable, otelTable, queryParsersTable,
	multiTenantTable, pluginsTable, vaultTable, mirrorsTable, mirrorTablesTable, tableDriftTable, mirrorDriftTable, driftTable,
	usersTable,
})

// tableNamed finds a table by its name.
func tableNamed(name string) *Table {
	for i := range tables {
		if tables[i].Name == name {
			return &tables[i]
		}
	}
	return nil
}

// nested are the structs of the tables within tables.
var nested = map[string]reflect.Type{
	"sharded_tables.mapping": reflect.TypeFor[Mapping](),
	"mirrors.tables":         reflect.TypeFor[MirrorTable](),
	"mirrors.drift":          reflect.TypeFor[MirrorDrift](),
	"mirrors.tables.drift":   reflect.TypeFor[TableDrift](),
}

// bindAll joins rows and structs. A row without a field, or a default that its
// field cannot hold, is a mistake in this package and panics at once.
func bindAll(all []Table) []Table {
	config := reflect.TypeFor[Config]()
	for i := range all {
		t := &all[i]
		if t.AnyKeys {
			continue
		}
		if t.element = nested[t.Name]; t.element == nil {
			field := taggedField(config, t.Name)
			t.index, t.element = field.Index, field.Type
			if kind := t.element.Kind(); kind == reflect.Slice || kind == reflect.Pointer {
				t.element = t.element.Elem()
			}
		}
		t.bind()
	}
	return all
}

func (t *Table) bind() {
	t.defaults = reflect.New(t.element).Elem()
	for i := range t.Keys {
		key := &t.Keys[i]
		field := taggedField(t.element, key.Name)
		key.index, key.Type = field.Index, typeName(field.Type, key)
		key.flags |= t.flags & later
		if t.Name == generalTable.Name && key.flags&noEnv == 0 && key.Env == nil {
			key.Env = []string{"PGDOG_" + strings.ToUpper(key.Name)}
		}
		if key.Default == "" {
			continue
		}
		value := literal(key.Default)
		if word, isText := value.(string); isText && (field.Type.Kind() == reflect.Pointer || len(key.Values) > 0 && !slices.Contains(key.Values, word)) {
			key.unset = word
		}
		if wrong := key.assign(t.defaults.FieldByIndex(key.index), value); wrong != "" {
			panic(fmt.Sprintf("config: default of %s.%s: %s", t.Name, key.Name, wrong))
		}
	}
}

func taggedField(in reflect.Type, name string) reflect.StructField {
	for _, field := range reflect.VisibleFields(in) {
		if field.Tag.Get("toml") == name {
			return field
		}
	}
	panic(fmt.Sprintf("config: %s has no field for %q", in, name))
}

// literal gives the value of a TOML literal of the key table.
func literal(text string) any {
	var out map[string]any
	if _, err := toml.Decode("x = "+text, &out); err != nil {
		panic(fmt.Sprintf("config: %s: %v", text, err))
	}
	return out["x"]
}

// typeName gives the type of a key as documentation calls it.
func typeName(t reflect.Type, key *Key) string {
	switch {
	case len(key.Values) > 0 && t.Kind() != reflect.Slice:
		return "one of"
	case t == reflect.TypeFor[time.Duration]():
		return "integer"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem(), key)
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	case reflect.Map:
		return "table of strings"
	case reflect.Interface:
		return "integer or string"
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem(), &Key{Name: key.Name}))
	case reflect.Struct:
		return "table"
	}
	panic(fmt.Sprintf("config: key %q has a type without a name: %s", key.Name, t))
}

func plural(name string) string {
	switch name {
	case "integer or string":
		return "integers or strings"
	case "list of numbers":
		return "lists of numbers"
	}
	return name + "s"
}

// choices gives the values of a "one of" for a message: "a", "b" or "c".
func choices(values []string) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = strconv.Quote(value)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}
