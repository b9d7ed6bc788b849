package shard

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// entry is one entry of [[sharded_tables]], checked.
type entry struct {
	config.ShardedTable

	name    string // as messages name it
	by      method
	mapping *mapping // of byMapping
}

// specificity orders entries that are for the same table.
type specificity int

const (
	columnOnly specificity = iota
	schemaName
	tableName
	tableAndSchema
)

func (e *entry) specificity() specificity {
	switch {
	case e.Name != "" && e.Schema != "":
		return tableAndSchema
	case e.Name != "":
		return tableName
	case e.Schema != "":
		return schemaName
	}
	return columnOnly
}

// newEntry checks an entry of a cluster of so many shards.
func newEntry(index int, table config.ShardedTable, older *olderMappings, shards int) (entry, error) {
	e := entry{ShardedTable: table, name: entryName("sharded_tables", index, table.Schema, table.Name, table.Column)}
	if e.DataType == "" {
		e.DataType = "bigint"
	}
	rules, err := e.rules(older)
	if err != nil {
		return e, configError(e.name, err)
	}
	if what, hint := e.unsupported(); what != "" {
		if shards == 1 {
			return e, nil // never asked
		}
		return e, pgerror.New(pgerror.FeatureNotSupported, "%s: %s", e.name, what).WithHint("%s", hint)
	}
	return e, configError(e.name, e.resolve(rules, shards))
}

// rules are those of the entry's mapping, in the newer or the older form.
func (e *entry) rules(older *olderMappings) ([]rule, error) {
	rules := older.of(e.ShardedTable)
	if len(rules) > 0 && len(e.Mapping) > 0 {
		return nil, fmt.Errorf("it has a mapping, and %s is for it too; keep one of them", rules[0].name)
	}
	for i, m := range e.Mapping {
		rules = append(rules, rule{Mapping: m, name: fmt.Sprintf("mapping rule %d", i+1)})
	}
	return rules, nil
}

// unsupported tells what of an entry pgdrover cannot do, and what to do then.
func (e *entry) unsupported() (what, hint string) {
	switch {
	case e.LookupQuery != "":
		return "lookup_query is not supported", "Shard by the column itself, or write what the query gives as [[sharded_tables.mapping]]."
	case e.DataType == "vector", len(e.Centroids) > 0, e.CentroidsPath != "":
		return "sharding by vectors and their centroids is not supported", "Shard by a bigint, uuid or varchar column."
	}
	return "", ""
}

// resolve sets how values become shards.
func (e *entry) resolve(rules []rule, shards int) error {
	switch {
	case e.Column == "":
		return errors.New("it needs a column, the sharding key")
	case kinds[e.DataType] == nil:
		return fmt.Errorf("there is no data_type %q; it is bigint, uuid or varchar", e.DataType)
	case len(rules) > 0:
		var err error
		e.by = byMapping
		e.mapping, err = newMapping(e.DataType, rules, shards)
		return err
	case e.Hasher == "sha1":
		e.by = bySHA1
	case e.Hasher == "" || e.Hasher == "postgres":
		e.by = byPartition
	default:
		return fmt.Errorf("there is no hasher %q; it is postgres or sha1", e.Hasher)
	}
	return nil
}

// olderMappings are the entries of [[sharded_mappings]] of one database.
type olderMappings struct{ all []olderMapping }

type olderMapping struct {
	config.ShardedMapping

	name string // as messages name it
	used bool
}

func newOlderMappings(cfg *config.Config, database string) (*olderMappings, error) {
	older := &olderMappings{}
	var failures []error
	for i, m := range cfg.ShardedMappings {
		if m.Database != database {
			continue
		}
		o := olderMapping{ShardedMapping: m, name: entryName("sharded_mappings", i, m.Schema, m.Table, m.Column)}
		failures = append(failures, configError(o.name, o.check()))
		older.all = append(older.all, o)
	}
	return older, joinFailures(failures)
}

// check finds what does not go with its kind, which is then not what it seems.
func (o *olderMapping) check() error {
	values, isRange := len(o.Values) > 0, o.Start != nil || o.End != nil
	switch {
	case o.Kind == "list" && values && !isRange,
		o.Kind == "range" && isRange && !values,
		o.Kind == "default" && !values && !isRange:
		return nil
	case o.Kind == "list":
		return errors.New(`kind = "list" has values, and neither start nor end`)
	case o.Kind == "range":
		return errors.New(`kind = "range" has start, end or both, and no values`)
	case o.Kind == "default":
		return errors.New(`kind = "default" has neither values nor start nor end`)
	}
	return fmt.Errorf("there is no kind %q; it is list, range or default", o.Kind)
}

// of gives the rules for an entry: those with its column and its table, which
// both may leave out, and with no schema or its own.
func (older *olderMappings) of(table config.ShardedTable) []rule {
	var rules []rule
	for i := range older.all {
		o := &older.all[i]
		if o.Column != table.Column || o.Table != table.Name || o.Schema != "" && o.Schema != table.Schema {
			continue
		}
		o.used = true
		rules = append(rules, rule{Mapping: config.Mapping{Values: o.Values, Start: o.Start, End: o.End, Shard: o.Shard}, name: o.name})
	}
	return rules
}

// unused are errors for those that no entry has taken: without them, rows would
// be hashed that a mapping was written for.
func (older *olderMappings) unused() []error {
	var failures []error
	for _, o := range older.all {
		if !o.used {
			failures = append(failures, pgerror.New(pgerror.ConfigFileError, "%s is for no entry of [[sharded_tables]]", o.name).
				WithHint("An entry needs the same database, column and name (table), or neither of the two a table; and the same schema if the mapping has one."))
		}
	}
	return failures
}

// entryName names an entry by its number in the file and by what it is for.
func entryName(list string, index int, schema, table, column string) string {
	var parts []string
	for _, part := range []struct{ what, name string }{{"schema", schema}, {"table", table}, {"column", column}} {
		if part.name != "" {
			parts = append(parts, part.what+" "+quote(part.name))
		}
	}
	name := fmt.Sprintf("[[%s]] entry %d", list, index+1)
	if len(parts) > 0 {
		name += " (" + strings.Join(parts, ", ") + ")"
	}
	return name
}
