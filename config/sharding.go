package config

// ShardedTable is one entry of [[sharded_tables]].
type ShardedTable struct {
	Database       string      `toml:"database"`
	Name           string      `toml:"name"` // "": every table that has the column
	Schema         string      `toml:"schema"`
	Column         string      `toml:"column"`
	DataType       string      `toml:"data_type"`
	Hasher         string      `toml:"hasher"`
	Primary        bool        `toml:"primary"`
	Mapping        []Mapping   `toml:"mapping"`
	Centroids      [][]float64 `toml:"centroids"`
	CentroidsPath  string      `toml:"centroids_path"`
	CentroidProbes int         `toml:"centroid_probes"`
	LookupQuery    string      `toml:"lookup_query"`
	LookupResult   string      `toml:"lookup_result"`
}

// Mapping is one rule of a sharded table: a list if it has values, a range if
// it has a start or an end, else what is left. Values are int64 or string.
type Mapping struct {
	Values []any `toml:"values" json:"values,omitempty"`
	Start  any   `toml:"start" json:"start,omitempty"` // inclusive
	End    any   `toml:"end" json:"end,omitempty"`     // exclusive
	Shard  int   `toml:"shard" json:"shard"`
}

// ShardedMapping is one entry of [[sharded_mappings]], the older form of
// ShardedTable.Mapping.
type ShardedMapping struct {
	Database string `toml:"database"`
	Column   string `toml:"column"`
	Table    string `toml:"table"`
	Schema   string `toml:"schema"`
	Kind     string `toml:"kind"`
	Values   []any  `toml:"values"`
	Start    any    `toml:"start"` // inclusive
	End      any    `toml:"end"`   // exclusive
	Shard    int    `toml:"shard"`
}

// OmnishardedTable is one entry of [[omnisharded_tables]].
type OmnishardedTable struct {
	Database string   `toml:"database"`
	Tables   []string `toml:"tables"`
	Sticky   bool     `toml:"sticky"`
}

// ShardedSchema is one entry of [[sharded_schemas]].
type ShardedSchema struct {
	Database string `toml:"database"`
	Name     string `toml:"name"` // "": schemas without an entry
	Shard    int    `toml:"shard"`
	All      bool   `toml:"all"`
}

// Rewrite is [rewrite].
type Rewrite struct {
	Enabled      bool   `toml:"enabled"`
	PrimaryKey   string `toml:"primary_key"`
	ShardKey     string `toml:"shard_key"`
	SplitInserts string `toml:"split_inserts"`
}
