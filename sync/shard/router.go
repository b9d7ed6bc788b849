// Package shard finds the shard of a row from its sharding key, as
// [[sharded_tables]] and its companions of pgdog.toml say. It has no
// connection and no state.
//
// The default hasher is PostgreSQL's own hash partitioning: a row goes to the
// shard with the number of the remainder that satisfies_hash_partition has for
// it, so shards may also be attached as partitions. Keys of equal value have
// the same shard whatever the width of their integer type. Text is hashed by
// its bytes, which is what PostgreSQL does under deterministic collations only.
package shard

import (
	"fmt"
	"reflect"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Column is a column of a source table.
type Column struct {
	Name     string
	Type     uint32 // OID of its type; of a domain, that of the type beneath, whose form its values have
	TypeName string // in messages
}

// Router is the sharding of one database in the configuration. It never
// changes: any number of goroutines may use it.
type Router struct {
	shards  int
	entries []entry
	omni    map[string]bool
	schemas map[string]schema // "": schemas without an entry
}

// schema is one entry of [[sharded_schemas]].
type schema struct {
	config.ShardedSchema

	name string // as messages name the entry
}

// NewRouter reads the sharding of a database of the configuration that has so
// many shards. Its errors name the entry: F0000 where it makes no sense, 0A000
// where it asks for what pgdrover cannot do (of a database with one shard,
// where no key is needed, that is no error).
func NewRouter(cfg *config.Config, database string, shards int) (*Router, error) {
	if shards < 1 {
		return nil, pgerror.New(pgerror.InvalidParameterValue, "database %q has %d shards", database, shards)
	}
	r := &Router{shards: shards, omni: map[string]bool{}, schemas: map[string]schema{}}
	older, err := newOlderMappings(cfg, database)
	if err != nil {
		return nil, err
	}
	var failures []error
	for i, table := range cfg.ShardedTables {
		if table.Database != database {
			continue
		}
		e, err := newEntry(i, table, older, shards)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		r.entries = append(r.entries, e)
	}
	failures = append(failures, older.unused()...)
	for _, o := range cfg.OmnishardedTables {
		if o.Database == database {
			for _, table := range o.Tables {
				r.omni[table] = true
			}
		}
	}
	for i, s := range cfg.ShardedSchemas {
		if s.Database == database {
			failures = append(failures, r.addSchema(i, s))
		}
	}
	if err := joinFailures(failures); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Router) addSchema(index int, s config.ShardedSchema) error {
	added := schema{ShardedSchema: s, name: fmt.Sprintf("[[sharded_schemas]] entry %d (schema %q)", index+1, s.Name)}
	if s.Name == "" {
		added.name = fmt.Sprintf("[[sharded_schemas]] entry %d (schemas without an entry)", index+1)
	}
	if !s.All {
		if err := checkShard(s.Shard, r.shards); err != nil {
			return configError(added.name, err)
		}
	}
	if other, ok := r.schemas[s.Name]; ok && (other.All != s.All || !s.All && other.Shard != s.Shard) {
		return configError(added.name, fmt.Errorf("%s says otherwise", other.name))
	}
	r.schemas[s.Name] = added
	return nil
}

// Table gives the sharding key of a table with these columns; nil if its rows
// go to every shard, as they do to the only one of a cluster with one shard.
//
// [[omnisharded_tables]] comes first; then [[sharded_tables]], where entries
// with table and schema come before those with a table, a schema, a column
// only; then [[sharded_schemas]]. Errors: 42804 where the column has another
// type than the entry says, F0000 where several entries fit equally well, 42703
// where those that name the table have columns that it does not: such a table
// would silently be whole on every shard.
func (r *Router) Table(schema, table string, columns []Column) (*Key, error) {
	if r.shards == 1 || r.omni[table] {
		return nil, nil
	}
	for s := tableAndSchema; s >= columnOnly; s-- {
		found, missing := r.entriesFor(s, schema, table, columns)
		switch {
		case len(found) > 1:
			return nil, ambiguous(schema, table, found)
		case len(found) == 1:
			return r.newKey(found[0], schema, table, columns)
		case len(missing) > 0 && s >= tableName:
			return nil, noColumn(schema, table, missing[0])
		}
	}
	in, ok := r.schemas[schema]
	if !ok {
		in, ok = r.schemas[""]
	}
	if !ok || in.All {
		return nil, nil
	}
	return &Key{Position: -1, schema: schema, table: table, entry: in.name, by: one, shards: r.shards, shard: in.Shard}, nil
}

// entriesFor finds the entries of a specificity that are for a table: those
// whose column it has, and those whose column it has not. Entries that say the
// same count once.
func (r *Router) entriesFor(s specificity, schema, table string, columns []Column) (found, missing []*entry) {
	for i := range r.entries {
		e := &r.entries[i]
		if e.specificity() != s || e.Schema != "" && e.Schema != schema || e.Name != "" && e.Name != table {
			continue
		}
		switch {
		case position(columns, e.Column) < 0:
			missing = append(missing, e)
		case len(found) == 0 || !reflect.DeepEqual(found[len(found)-1].ShardedTable, e.ShardedTable):
			found = append(found, e)
		}
	}
	return found, missing
}

func (r *Router) newKey(e *entry, schema, table string, columns []Column) (*Key, error) {
	at := position(columns, e.Column)
	kind := kinds[e.DataType][columns[at].Type]
	if kind == 0 {
		return nil, wrongType(schema, table, e, columns[at])
	}
	return &Key{
		Column: e.Column, Position: at, schema: schema, table: table, entry: e.name,
		kind: kind, by: e.by, mapping: e.mapping, shards: r.shards,
	}, nil
}

// position is the place of a column, -1 if there is none.
func position(columns []Column, name string) int {
	for i := range columns {
		if columns[i].Name == name {
			return i
		}
	}
	return -1
}

func ambiguous(schema, table string, found []*entry) error {
	a, b := found[0], found[1]
	e := pgerror.New(pgerror.ConfigFileError, "table %s is sharded in two ways: by %s and by %s", quote(schema, table), a.name, b.name)
	if a.Column != b.Column {
		return e.WithHint("Say which column is its key: add name = %q and schema = %q to that entry, or list the table in [[omnisharded_tables]].", table, schema)
	}
	return e.WithHint("Remove one of the entries.")
}

func noColumn(schema, table string, e *entry) error {
	return pgerror.New(undefinedColumn, "table %s has no column %s, by which %s shards it", quote(schema, table), quote(e.Column), e.name).
		WithDetail("Only columns that the publication has count.").
		WithHint("Correct the entry's column, give it the schema of the table that is meant, or list the table in [[omnisharded_tables]] if every shard needs it whole.")
}

func wrongType(schema, table string, e *entry, column Column) error {
	err := pgerror.New(datatypeMismatch, "sharding key %s of table %s is of type %s, but %s has data_type = %q",
		quote(column.Name), quote(schema, table), column.TypeName, e.name, e.DataType)
	if fitting := dataTypeFor(column.Type); fitting != "" {
		return err.WithHint("Set data_type = %q in an entry for this table.", fitting)
	}
	return err.WithDetail("Keys may be smallint, integer and bigint (data_type = \"bigint\"), uuid, and text, varchar, character and name (data_type = \"varchar\").").
		WithHint("Shard the table by another column, or list it in [[omnisharded_tables]] if every shard needs it whole.")
}

// configError is what is wrong with an entry, nil if nothing is.
func configError(entry string, err error) error {
	if err == nil {
		return nil
	}
	return pgerror.New(pgerror.ConfigFileError, "%s: %w", entry, err)
}

// joinFailures is one error of several: the first, with the others in DETAIL.
func joinFailures(failures []error) error {
	var first *pgerror.Error
	for _, err := range failures {
		switch {
		case err == nil:
		case first == nil:
			first = pgerror.From(err)
		case first.Detail == "":
			first = first.WithDetail("%s", err)
		default:
			first = first.WithDetail("%s\n%s", first.Detail, err)
		}
	}
	if first == nil {
		return nil
	}
	return first
}
