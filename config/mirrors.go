package config

import (
	"cmp"
	"slices"
	"time"
)

// Mirror is one entry of [[mirrors]]: a destination that is kept the same as a
// source, but for what its mapping says. CREATE MIRROR makes one too.
type Mirror struct {
	Name                 string            `toml:"name" json:"name"` // "": <source>_to_<destination>; filled in by Load
	Source               string            `toml:"source" json:"source"`
	Destination          string            `toml:"destination" json:"destination"`
	Publication          string            `toml:"publication" json:"publication"`
	ResyncStrategy       string            `toml:"resync_strategy" json:"resync_strategy"`               // "truncate", "swap" or "reconcile"
	ReplicateIndexes     bool              `toml:"replicate_indexes" json:"replicate_indexes"`           //
	ReplicateForeignKeys bool              `toml:"replicate_foreign_keys" json:"replicate_foreign_keys"` //
	Workers              *int              `toml:"workers" json:"workers,omitempty"`                     // nil: as [general], see WorkersOf
	GroupRows            *int              `toml:"group_rows" json:"group_rows,omitempty"`               // nil: as [data_sync], see DataSyncOf
	GroupBytes           *int64            `toml:"group_bytes" json:"group_bytes,omitempty"`             // nil: as [data_sync], see DataSyncOf
	Autostart            bool              `toml:"autostart" json:"autostart"`
	Schemas              map[string]string `toml:"schemas" json:"schemas,omitempty"` // names at the destination by names on the source
	Tables               []MirrorTable     `toml:"tables" json:"tables,omitempty"`
	Drift                MirrorDrift       `toml:"drift" json:"drift,omitzero"`

	File string `json:"-"` // where the entry is; "" for one that no file has
	Line int    `json:"-"`
}

// MirrorTable is one entry of [[mirrors.tables]]: what is other than the same
// of one table of the publication.
type MirrorTable struct {
	Schema            string            `toml:"schema" json:"schema"`
	Name              string            `toml:"name" json:"name"`
	DestinationSchema string            `toml:"destination_schema" json:"destination_schema,omitempty"` // "": what Mirror.Schemas makes of Schema
	DestinationName   string            `toml:"destination_name" json:"destination_name,omitempty"`     // "": Name
	ExcludeColumns    []string          `toml:"exclude_columns" json:"exclude_columns,omitempty"`
	RenameColumns     map[string]string `toml:"rename_columns" json:"rename_columns,omitempty"` // names at the destination by names on the source
	CastColumns       map[string]string `toml:"cast_columns" json:"cast_columns,omitempty"`     // types at the destination by names on the source
	RowFilter         string            `toml:"row_filter" json:"row_filter,omitempty"`         // what the publication has as the table's WHERE
	Drift             TableDrift        `toml:"drift" json:"drift,omitzero"`
}

// Drift is [drift]: what a difference of structure leads to.
type Drift struct {
	Validation           string        `toml:"validation"`             // "strict", "permissive" or "disabled"
	WarnOnly             bool          `toml:"warn_only"`              //
	Interval             time.Duration `toml:"interval"`               // 0: none but at events
	SourceAddedColumns   string        `toml:"source_added_columns"`   // "stop", "apply" or "skip"
	TargetAddedColumns   string        `toml:"target_added_columns"`   // "allow" or "stop"
	SourceRemovedColumns string        `toml:"source_removed_columns"` // "stop", "preserve", "null" or "drop"
	TypeMismatches       string        `toml:"type_mismatches"`        // "stop", "cast_if_safe" or "cast_always"
	AutoMigrate          []string      `toml:"auto_migrate"`           // of AutoMigrateKinds
	RequireApproval      bool          `toml:"require_approval"`       //
	AllowSchemaDrift     []string      `toml:"allow_schema_drift"`     // of SchemaDrifts
	Force                bool          `toml:"force"`                  // allow what AllowSchemaDrift has and is dangerous
	HeldWAL              int64         `toml:"held_wal"`               // bytes of the source's log that are kept for a table that is stopped; 0: none
}

// MirrorDrift is [mirrors.drift]: what is other than in [drift]. What is unset
// ("", nil) is as there.
type MirrorDrift struct {
	Validation           string         `toml:"validation" json:"validation,omitempty"`
	WarnOnly             *bool          `toml:"warn_only" json:"warn_only,omitempty"`
	Interval             *time.Duration `toml:"interval" json:"interval,omitempty"` // nanoseconds in JSON
	SourceAddedColumns   string         `toml:"source_added_columns" json:"source_added_columns,omitempty"`
	TargetAddedColumns   string         `toml:"target_added_columns" json:"target_added_columns,omitempty"`
	SourceRemovedColumns string         `toml:"source_removed_columns" json:"source_removed_columns,omitempty"`
	TypeMismatches       string         `toml:"type_mismatches" json:"type_mismatches,omitempty"`
	AutoMigrate          []string       `toml:"auto_migrate" json:"auto_migrate,omitempty"` // nil: as in [drift]; ["none"] for none
	RequireApproval      *bool          `toml:"require_approval" json:"require_approval,omitempty"`
	AllowSchemaDrift     []string       `toml:"allow_schema_drift" json:"allow_schema_drift,omitempty"` // nil: as in [drift]; ["none"] for none
	Force                *bool          `toml:"force" json:"force,omitempty"`
}

// TableDrift is [mirrors.tables.drift]: what is other for one table, and for
// single columns of it, than for its mirror.
type TableDrift struct {
	MirrorDrift
	ColumnDrift
}

// ColumnDrift lists columns, by their names on the source, that are treated in
// another way than their table.
type ColumnDrift struct {
	SkipColumns     []string `toml:"skip_columns" json:"skip_columns,omitempty"`         // as source_added_columns = "skip"
	PreserveColumns []string `toml:"preserve_columns" json:"preserve_columns,omitempty"` // as source_removed_columns = "preserve"
	NullColumns     []string `toml:"null_columns" json:"null_columns,omitempty"`         // as source_removed_columns = "null"
	AllowTypeCasts  []string `toml:"allow_type_casts" json:"allow_type_casts,omitempty"` // as type_mismatches = "cast_always"
}

// AutoMigrateKinds are the kinds of changes that auto_migrate may name.
var AutoMigrateKinds = []string{
	"add_column", "widen_type", "rename_column", "drop_not_null", "set_default", "add_enum_label", "rename_enum_label",
	"create_table", "attach_partition", "create_index", "add_constraint", "change_type", "drop_column", "drop_table",
}

// SchemaDrifts are the differences that allow_schema_drift may name.
var SchemaDrifts = []string{"source_superset", "target_superset", "type_casts", "all"}

// autoMigrateNone is what stands alone in the list of a mirror or table for
// which [drift].auto_migrate, or allow_schema_drift, does not count.
const autoMigrateNone = "none"

// Mirror finds an entry of [[mirrors]] by its name.
func (c *Config) Mirror(name string) (Mirror, bool) {
	if i := slices.IndexFunc(c.Mirrors, func(m Mirror) bool { return m.Name == name }); i >= 0 {
		return c.Mirrors[i], true
	}
	return Mirror{}, false
}

// NewMirror gives a mirror with the defaults of the key table, as commands make
// it. Its name is <source>_to_<destination> unless it is changed.
func NewMirror(source, destination, publication string) Mirror {
	m := mirrorDefaults()
	m.Source, m.Destination, m.Publication = source, destination, publication
	m.Name = m.defaultName()
	return m
}

func mirrorDefaults() Mirror { return tableNamed("mirrors").defaults.Interface().(Mirror) }

func (m *Mirror) defaultName() string { return m.Source + "_to_" + m.Destination }

// WorkersOf gives how many connections copy rows of a mirror at the same time,
// per server that is copied from.
func (c *Config) WorkersOf(m Mirror) int {
	if m.Workers != nil {
		return *m.Workers
	}
	return c.General.ReshardingParallelCopies
}

// DataSyncOf gives [data_sync] as it is for a mirror.
func (c *Config) DataSyncOf(m Mirror) DataSync {
	d := c.DataSync
	if m.GroupRows != nil {
		d.GroupRows = *m.GroupRows
	}
	if m.GroupBytes != nil {
		d.GroupBytes = *m.GroupBytes
	}
	return d
}

// DriftOf gives [drift] as it is for a mirror.
func (c *Config) DriftOf(m Mirror) Drift { return m.Drift.over(c.Drift) }

// TableDriftOf gives [drift] as it is for one table of a mirror, by its name on
// the source, and the columns that are treated in another way.
func (c *Config) TableDriftOf(m Mirror, schema, name string) (Drift, ColumnDrift) {
	d := c.DriftOf(m)
	for _, t := range m.Tables {
		if t.Schema == schema && t.Name == name {
			return t.Drift.over(d), t.Drift.ColumnDrift
		}
	}
	return d, ColumnDrift{}
}

// over gives d with what o has of its own.
func (o MirrorDrift) over(d Drift) Drift {
	d.Validation = cmp.Or(o.Validation, d.Validation)
	d.SourceAddedColumns = cmp.Or(o.SourceAddedColumns, d.SourceAddedColumns)
	d.TargetAddedColumns = cmp.Or(o.TargetAddedColumns, d.TargetAddedColumns)
	d.SourceRemovedColumns = cmp.Or(o.SourceRemovedColumns, d.SourceRemovedColumns)
	d.TypeMismatches = cmp.Or(o.TypeMismatches, d.TypeMismatches)
	if o.WarnOnly != nil {
		d.WarnOnly = *o.WarnOnly
	}
	if o.Interval != nil {
		d.Interval = *o.Interval
	}
	if o.RequireApproval != nil {
		d.RequireApproval = *o.RequireApproval
	}
	if o.AutoMigrate != nil {
		d.AutoMigrate = slices.DeleteFunc(slices.Clone(o.AutoMigrate), func(kind string) bool { return kind == autoMigrateNone })
	}
	if o.Force != nil {
		d.Force = *o.Force
	}
	if o.AllowSchemaDrift != nil {
		d.AllowSchemaDrift = slices.DeleteFunc(slices.Clone(o.AllowSchemaDrift), func(drift string) bool { return drift == autoMigrateNone })
	}
	return d
}
