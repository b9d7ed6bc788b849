package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
)

// Change is one difference between two configurations, secrets masked.
type Change struct {
	Key string // "general.log_level", `databases "prod" shard 0 primary: host`, `users "app" of "prod"`
	Old string // "" for an entry that was added
	New string // "" for an entry that was removed
}

// Changes is what a reload does.
type Changes struct {
	Applied      []Change // takes effect at once, for new work
	NeedsRestart []Change // the running process keeps the old value until it is started again
}

// Diff says what going from one configuration to another changes. Keys that
// nothing acts on yet are left out. A password that was generated anew is no
// change: nobody knew the old one.
func Diff(old, new *Config) Changes {
	var out Changes
	before, after := reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem()
	for i := range tables {
		t := &tables[i]
		if t.flags&later != 0 || t.index == nil || t.Array {
			continue
		}
		out.entry(t, t.Name+".", before.FieldByIndex(t.index), after.FieldByIndex(t.index), func(key *Key) bool {
			return t.Name == adminTable.Name && key.Secret() && old.Admin.PasswordGenerated && new.Admin.PasswordGenerated
		})
	}
	list(&out, tableNamed("databases"), old.Databases, new.Databases, databaseLabel)
	list(&out, tableNamed("users"), old.Users, new.Users, userLabel)
	list(&out, tableNamed("sharded_tables"), old.ShardedTables, new.ShardedTables, shardedTableLabel)
	list(&out, tableNamed("sharded_mappings"), old.ShardedMappings, new.ShardedMappings, shardedMappingLabel)
	list(&out, tableNamed("omnisharded_tables"), old.OmnishardedTables, new.OmnishardedTables, omnishardedLabel)
	list(&out, tableNamed("sharded_schemas"), old.ShardedSchemas, new.ShardedSchemas, shardedSchemaLabel)
	list(&out, tableNamed("mirrors"), old.Mirrors, new.Mirrors, func(m Mirror) string { return fmt.Sprintf("mirrors %q", m.Name) })
	return out
}

// entry compares two structs of a table key by key.
func (c *Changes) entry(t *Table, prefix string, before, after reflect.Value, skip func(*Key) bool) {
	for i := range t.Keys {
		key := &t.Keys[i]
		from, to := before.FieldByIndex(key.index), after.FieldByIndex(key.index)
		if key.flags&later != 0 || reflect.DeepEqual(from.Interface(), to.Interface()) || skip(key) {
			continue
		}
		change := Change{Key: prefix + key.Name, Old: key.text(from), New: key.text(to)}
		if key.NeedsRestart() {
			c.NeedsRestart = append(c.NeedsRestart, change)
		} else {
			c.Applied = append(c.Applied, change)
		}
	}
}

// list compares the entries of two lists that bear the same label.
func list[T any](c *Changes, t *Table, old, new []T, label func(T) string) {
	before, after := labelled(old, label), labelled(new, label)
	for _, name := range before.order {
		from := reflect.ValueOf(before.entries[name])
		to, still := after.entries[name]
		if !still {
			c.Applied = append(c.Applied, Change{Key: name, Old: summary(t, from)})
			continue
		}
		c.entry(t, name+": ", from, reflect.ValueOf(to), func(*Key) bool { return false })
	}
	for _, name := range after.order {
		if _, known := before.entries[name]; !known {
			c.Applied = append(c.Applied, Change{Key: name, New: summary(t, reflect.ValueOf(after.entries[name]))})
		}
	}
}

type labelledEntries[T any] struct {
	order   []string
	entries map[string]T
}

func labelled[T any](entries []T, label func(T) string) labelledEntries[T] {
	out := labelledEntries[T]{entries: map[string]T{}}
	for _, entry := range entries {
		name := label(entry)
		if _, taken := out.entries[name]; !taken {
			out.order = append(out.order, name)
		}
		out.entries[name] = entry
	}
	return out
}

// databaseLabel is what makes an entry the same after a reload: a shard has
// one primary, and any number of replicas, which their addresses tell apart.
func databaseLabel(d Database) string {
	label := fmt.Sprintf("databases %q shard %d %s", d.Name, d.Shard, d.Role)
	if d.Role != RolePrimary {
		label += " " + (&Config{}).Server(d, User{}).Address()
	}
	return label
}

func userLabel(u User) string {
	var of []string
	if u.Database != "" {
		of = append(of, fmt.Sprintf("%q", u.Database))
	}
	for _, database := range u.Databases {
		of = append(of, fmt.Sprintf("%q", database))
	}
	if u.AllDatabases {
		of = append(of, "all databases")
	}
	return fmt.Sprintf("users %q of %s", u.Name, strings.Join(of, ", "))
}

func shardedTableLabel(t ShardedTable) string {
	return fmt.Sprintf("sharded_tables %q of %q", qualified(t.Schema, t.Name)+"."+t.Column, t.Database)
}

// shardedMappingLabel has the rule's values: the shard alone may change.
func shardedMappingLabel(m ShardedMapping) string {
	rule := m.Kind
	switch m.Kind {
	case "list":
		rule += fmt.Sprintf(" %v", m.Values)
	case "range":
		rule += fmt.Sprintf(" from %v to %v", m.Start, m.End)
	}
	return fmt.Sprintf("sharded_mappings %q of %q: %s", qualified(m.Schema, m.Table)+"."+m.Column, m.Database, rule)
}

func omnishardedLabel(t OmnishardedTable) string {
	return fmt.Sprintf("omnisharded_tables of %q: %s", t.Database, strings.Join(t.Tables, ", "))
}

func shardedSchemaLabel(s ShardedSchema) string {
	return fmt.Sprintf("sharded_schemas %q of %q", cmp.Or(s.Name, "*"), s.Database)
}

// qualified names a table for a label; * stands for what an entry leaves open.
func qualified(schema, table string) string { return cmp.Or(schema, "*") + "." + cmp.Or(table, "*") }

// summary gives the keys of an entry that are not at their defaults.
func summary(t *Table, entry reflect.Value) string {
	var out []string
	for i := range t.Keys {
		key := &t.Keys[i]
		field := entry.FieldByIndex(key.index)
		if key.flags&later == 0 && !reflect.DeepEqual(field.Interface(), t.defaults.FieldByIndex(key.index).Interface()) {
			out = append(out, key.Name+"="+key.text(field))
		}
	}
	return strings.Join(out, " ")
}
