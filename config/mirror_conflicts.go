package config

import (
	"fmt"
	"maps"
	"slices"
)

// Conflict is what is wrong with a mirror's mapping, whatever the databases
// look like.
type Conflict struct {
	Key     string // of [[mirrors]]: "schemas", "tables[2].rename_columns"
	Message string
	Hint    string
}

// MirrorConflicts finds what in a mirror's mapping contradicts itself or the
// sharding of its destination: two tables or columns with one name, columns
// both excluded and used, a sharding key that the destination would not have.
func (c *Config) MirrorConflicts(m Mirror) []Conflict {
	f := &conflictFinder{config: c, mirror: m}
	f.schemas()
	sources, destinations := map[[2]string]int{}, map[[2]string]int{}
	for i, t := range m.Tables {
		f.table, f.at = &m.Tables[i], element("tables", i)
		from, to := [2]string{t.Schema, t.Name}, m.destination(t)
		f.names("schema", t.Schema)
		f.names("name", t.Name)
		f.names("destination_schema", to[0])
		f.names("destination_name", to[1])
		if first, again := sources[from]; again {
			f.add("name", fmt.Sprintf("table %q is there already, as entry %d of tables", qualified(t.Schema, t.Name), first+1), "make one entry of the two")
		} else if first, taken := destinations[to]; taken {
			other := m.Tables[first]
			f.add("destination_name", fmt.Sprintf("%q and %q both become %q", qualified(other.Schema, other.Name), qualified(t.Schema, t.Name), qualified(to[0], to[1])),
				"give one of them another destination_name or destination_schema")
		}
		sources[from], destinations[to] = i, i
		f.columns()
		f.sharding(to)
	}
	f.at = ""
	f.shardedSchemas(destinations)
	return f.found
}

// destination is the name that an entry gives a table.
func (m *Mirror) destination(t MirrorTable) [2]string {
	schema, name := t.DestinationSchema, t.DestinationName
	if schema == "" {
		schema = t.Schema
		if renamed := m.Schemas[t.Schema]; renamed != "" {
			schema = renamed
		}
	}
	if name == "" {
		name = t.Name
	}
	return [2]string{schema, name}
}

// conflictFinder goes over one mirror.
type conflictFinder struct {
	config *Config
	mirror Mirror
	table  *MirrorTable
	at     string // of table
	found  []Conflict
}

func (f *conflictFinder) add(key, message, hint string) {
	if f.at != "" {
		key = child(f.at, key)
	}
	f.found = append(f.found, Conflict{Key: key, Message: message, Hint: hint})
}

// longestName is NAMEDATALEN - 1: PostgreSQL cuts longer names.
const longestName = 63

// reserved is the schema of our own state, which no mirror carries.
const reserved = "pgdrover"

// names checks one name of an object.
func (f *conflictFinder) names(key, name string) {
	switch {
	case name == "":
		f.add(key, "a name must not be empty", "leave the key out, or write the name")
	case len(name) > longestName:
		f.add(key, fmt.Sprintf("%q is longer than the %d bytes that a name has in PostgreSQL", name, longestName), "shorten it")
	case name == reserved && (key == "schema" || key == "schemas" || key == "destination_schema"):
		f.add(key, fmt.Sprintf("schema %q is pgdrover's own", name), "use another schema")
	}
}

func (f *conflictFinder) schemas() {
	first := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(f.mirror.Schemas)) {
		to := f.mirror.Schemas[from]
		f.names("schemas", from)
		f.names("schemas", to)
		if other, taken := first[to]; taken {
			f.add("schemas", fmt.Sprintf("schemas %q and %q both become %q", other, from, to),
				"give one of them another name, or put its tables into the schema one by one, by [[mirrors.tables]] with destination_schema")
		}
		first[to] = from
	}
}

// columns finds what an entry says of a column in two ways.
func (f *conflictFinder) columns() {
	t := f.table
	excluded := map[string]bool{}
	for _, name := range t.ExcludeColumns {
		f.names("exclude_columns", name)
		if excluded[name] {
			f.add("exclude_columns", fmt.Sprintf("column %q is there twice", name), "remove one")
		}
		excluded[name] = true
	}
	first := map[string]string{}
	for _, from := range slices.Sorted(maps.Keys(t.RenameColumns)) {
		to := t.RenameColumns[from]
		f.names("rename_columns", from)
		f.names("rename_columns", to)
		_, moves := t.RenameColumns[to]
		_, cast := t.CastColumns[to]
		switch other, taken := first[to]; {
		case excluded[from]:
			f.add("rename_columns", fmt.Sprintf("column %q is renamed, and excluded", from), "do one of the two")
		case taken:
			f.add("rename_columns", fmt.Sprintf("columns %q and %q both become %q", other, from, to), "give one of them another name")
		case cast && !moves && !excluded[to]:
			f.add("rename_columns", fmt.Sprintf("column %q becomes %q, which is another column", from, to), "give it another name")
		}
		first[to] = from
	}
	for _, name := range slices.Sorted(maps.Keys(t.CastColumns)) {
		f.names("cast_columns", name)
		switch {
		case excluded[name]:
			f.add("cast_columns", fmt.Sprintf("column %q is cast, and excluded", name), "do one of the two")
		case t.CastColumns[name] == "":
			f.add("cast_columns", fmt.Sprintf("column %q is cast to no type", name), `write the type that it has at the destination, as "bigint"`)
		}
	}
}

// sharding finds a sharding key that the mapping takes away. [[sharded_tables]]
// has the destination's names.
func (f *conflictFinder) sharding(to [2]string) {
	c, t := f.config, f.table
	cluster, ok := c.Cluster(f.mirror.Destination)
	if !ok || len(cluster.Shards) < 2 || slices.ContainsFunc(c.OmnishardedTables, func(o OmnishardedTable) bool {
		return o.Database == cluster.Name && slices.Contains(o.Tables, to[1])
	}) {
		return
	}
	f.shardedName(cluster.Name, to)
	named := map[string]string{} // by the name at the destination
	for from, name := range t.RenameColumns {
		named[name] = from
	}
	for _, s := range c.shardingOf(cluster.Name, to) {
		key := s.Column
		from, renamed := named[key]
		if !renamed {
			from = key
		}
		_, cast := t.CastColumns[from]
		switch {
		case !renamed && slices.Contains(t.ExcludeColumns, key):
			f.add("exclude_columns", fmt.Sprintf("column %q is the sharding key of %q at the destination", key, qualified(to[0], to[1])), "keep it, or list the table in [[omnisharded_tables]]")
		case !renamed && t.RenameColumns[key] != "":
			f.add("rename_columns", fmt.Sprintf("%q is to be sharded by column %q, which is called %q there", qualified(to[0], to[1]), key, t.RenameColumns[key]),
				fmt.Sprintf("[[sharded_tables]] has the names of the destination: write column = %q there", t.RenameColumns[key]))
		case cast:
			f.add("cast_columns", fmt.Sprintf("column %q is the sharding key: its shard is found from the value that the source has", from), "keep its type")
		}
		if s.Name != "" {
			return // the table's own entry: those for columns do not count
		}
	}
}

// shardedName finds an entry of [[sharded_tables]] with the name that the table
// has on the source: it would be for nothing, and the table whole on every shard.
func (f *conflictFinder) shardedName(database string, to [2]string) {
	t := f.table
	for _, s := range f.config.ShardedTables {
		if s.Database != database || s.Name == "" {
			continue
		}
		is := func(table [2]string) bool { return s.Name == table[1] && (s.Schema == "" || s.Schema == table[0]) }
		if is(to) {
			return
		}
		if is([2]string{t.Schema, t.Name}) && !slices.ContainsFunc(f.mirror.Tables, func(other MirrorTable) bool { return is(f.mirror.destination(other)) }) {
			f.add("destination_name", fmt.Sprintf("[[sharded_tables]] has an entry for %q, which is called %q there", qualified(s.Schema, s.Name), qualified(to[0], to[1])),
				fmt.Sprintf("[[sharded_tables]] has the names of the destination: write name = %q there, or list that name in [[omnisharded_tables]]", to[1]))
			return
		}
	}
}

// shardedSchemas finds the same of schemas that are renamed.
func (f *conflictFinder) shardedSchemas(destinations map[[2]string]int) {
	used := map[string]bool{}
	for table := range destinations {
		used[table[0]] = true
	}
	for _, to := range f.mirror.Schemas {
		used[to] = true
	}
	tell := func(list, database, schema string) {
		if to, renamed := f.mirror.Schemas[schema]; database == f.mirror.Destination && renamed && schema != "" && !used[schema] {
			f.add("schemas", fmt.Sprintf("%s has an entry for schema %q, which is called %q there", list, schema, to), "it has the names of the destination: correct the entry")
		}
	}
	for _, s := range f.config.ShardedTables {
		tell("[[sharded_tables]]", s.Database, s.Schema)
	}
	for _, s := range f.config.ShardedSchemas {
		tell("[[sharded_schemas]]", s.Database, s.Name)
	}
}

// shardingOf gives the entries that can be for a table, its own ones first.
func (c *Config) shardingOf(database string, table [2]string) []ShardedTable {
	var own, others []ShardedTable
	for _, s := range c.ShardedTables {
		if s.Database != database || s.Schema != "" && s.Schema != table[0] || s.Column == "" {
			continue
		}
		switch s.Name {
		case table[1]:
			own = append(own, s)
		case "":
			others = append(others, s)
		}
	}
	slices.SortStableFunc(own, func(a, b ShardedTable) int { return len(b.Schema) - len(a.Schema) })
	return append(own, others...)
}
