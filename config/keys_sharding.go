package config

var rewrites = []string{"ignore", "error", "rewrite", "rewrite_omni"}

var shardedTablesTable = Table{
	Name: "sharded_tables", Array: true, Files: []string{configFile},
	Description: "A table whose rows are spread over the shards by a column.",
	Keys: []Key{
		{Name: "database", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]]."},
		{Name: "name", Default: `""`, Description: "The table; every table that has the column, without it."},
		{Name: "schema", Default: `""`, Description: "The table's schema; any, without it."},
		{Name: "column", Default: `""`, Description: "The sharding key."},
		{Name: "data_type", Default: `"bigint"`, Values: []string{"bigint", "uuid", "vector", "varchar"}, Description: "Type of the sharding key; tables whose key is a vector cannot be copied yet."},
		{Name: "hasher", Default: `"postgres"`, Values: []string{"postgres", "sha1"}, Description: "Hash that picks the shard; postgres is that of hash partitioning, the one that tables can be copied with."},
		{Name: "primary", Default: `false`, flags: later, Description: "The table from which sharding keys of others are found along foreign keys."},
		{Name: "mapping", Example: `[{ values = [1, 2], shard = 0 }, { start = 100, end = 200, shard = 0 }, { shard = 0 }]`, Description: "Rules from values to shards instead of a hash; lists come before ranges, and those before the rule without either."},
		{Name: "lookup_query", Default: `""`, flags: later, Description: "SQL that turns a key into the value to hash or the shard."},
		{Name: "lookup_result", Default: `"value"`, Values: []string{"value", "shard"}, flags: later, Description: "Which of the two it gives."},
		{Name: "centroids", Default: `[]`, flags: later, Description: "Centroids of vectors, one per shard."},
		{Name: "centroids_path", Default: `""`, flags: later, Description: "JSON file of centroids that are too many for this file."},
		{Name: "centroid_probes", Default: `0`, flags: later, Description: "Centroids that a search asks; 0 is the square root of their number."},
	},
}

var mappingTable = Table{
	Name: "sharded_tables.mapping", Array: true, Files: []string{configFile},
	Description: "A rule of a sharded table.",
	Keys: []Key{
		{Name: "values", Default: `[]`, Description: "Values of the list."},
		{Name: "start", Example: `100`, Description: "First value of the range; without it, the range begins anywhere."},
		{Name: "end", Example: `200`, Description: "First value after the range; without it, the range does not end."},
		{Name: "shard", Example: `0`, Max: 1<<31 - 1, flags: required, Description: "Shard of these values."},
	},
}

var shardedMappingsTable = Table{
	Name: "sharded_mappings", Array: true, Files: []string{configFile},
	Description: "Older form of a sharded table's mapping.",
	Keys: []Key{
		{Name: "database", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]]."},
		{Name: "column", Example: `"customer_id"`, flags: required, Description: "The sharding key."},
		{Name: "table", Default: `""`, Description: "The table."},
		{Name: "schema", Default: `""`, Description: "The table's schema."},
		{Name: "kind", Example: `"range"`, Values: []string{"list", "range", "default"}, flags: required, Description: "What the rule is."},
		{Name: "values", Default: `[]`, Description: "Values of a list."},
		{Name: "start", Example: `100`, Description: "First value of a range."},
		{Name: "end", Example: `200`, Description: "First value after a range."},
		{Name: "shard", Example: `0`, Max: 1<<31 - 1, flags: required, Description: "Shard of these values."},
	},
}

var omnishardedTablesTable = Table{
	Name: "omnisharded_tables", Array: true, Files: []string{configFile},
	Description: "Tables that every shard has whole.",
	Keys: []Key{
		{Name: "database", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]]."},
		{Name: "tables", Example: `["countries"]`, flags: required, Description: "Their names."},
		{Name: "sticky", Default: `false`, flags: later, Description: "Let a client read them always from the same shard."},
	},
}

var shardedSchemasTable = Table{
	Name: "sharded_schemas", Array: true, Files: []string{configFile},
	Description: "A schema that lies on one shard.",
	Keys: []Key{
		{Name: "database", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]]."},
		{Name: "name", Default: `""`, Description: "The schema; those without an entry, without it."},
		{Name: "shard", Default: `0`, Max: 1<<31 - 1, Description: "Its shard."},
		{Name: "all", Default: `false`, Description: "It lies on all shards instead."},
	},
}

var rewriteTable = Table{
	Name: "rewrite", Files: []string{configFile}, flags: later,
	Description: "Statements that a sharded cluster cannot run as they are.",
	Keys: []Key{
		{Name: "enabled", Default: `false`, Description: "Rewrite them."},
		{Name: "primary_key", Default: `"ignore"`, Values: rewrites, Description: "INSERT without a primary key."},
		{Name: "shard_key", Default: `"error"`, Values: rewrites, Description: "UPDATE of the sharding key."},
		{Name: "split_inserts", Default: `"error"`, Values: rewrites, Description: "INSERT of rows for several shards."},
	},
}
