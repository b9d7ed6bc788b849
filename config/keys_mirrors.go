package config

import "slices"

var (
	validations          = []string{"strict", "permissive", "disabled"}
	sourceAddedColumns   = []string{"stop", "apply", "skip"}
	targetAddedColumns   = []string{"allow", "stop"}
	sourceRemovedColumns = []string{"stop", "preserve", "null", "drop"}
	typeMismatches       = []string{"stop", "cast_if_safe", "cast_always"}
	schemaDriftsOrNone   = append(slices.Clone(SchemaDrifts), autoMigrateNone)
	autoMigrateOrNone    = append(slices.Clone(AutoMigrateKinds), autoMigrateNone)
)

var mirrorsTable = Table{
	Name: "mirrors", Array: true, Files: []string{configFile},
	Description: "A destination that is kept the same as a source. The tables are those of the publication; [[mirrors.tables]] says what is other about one of them.",
	Keys: []Key{
		{Name: "name", Default: `""`, Description: "Name that commands use; <source>_to_<destination> without it."},
		{Name: "source", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]] of the database that is read."},
		{Name: "destination", Example: `"staging"`, flags: required | cluster, Description: "Name in [[databases]] of the one that is written."},
		{Name: "publication", Example: `"pgdrover"`, flags: required, Description: "Publication of the source whose tables, columns and rows are mirrored."},
		{Name: "resync_strategy", Default: `"truncate"`, Values: []string{"truncate", "swap", "reconcile"}, Description: "How RESYNC copies a table again: empty it, swap a new one in, or correct what differs in place."},
		{Name: "replicate_indexes", Default: `true`, Description: "Build the source's indexes at the destination. Without, unique ones alone: they are rules about rows."},
		{Name: "replicate_foreign_keys", Default: `true`, Description: "Add the source's foreign keys at the destination."},
		{Name: "workers", Default: `"default"`, Min: 1, Max: 10_000, Description: "Instead of general.resharding_parallel_copies."},
		{Name: "group_rows", Default: `"default"`, Min: 1, Max: 10_000_000, Description: "Instead of data_sync.group_rows."},
		{Name: "group_bytes", Default: `"default"`, Unit: "bytes", Min: 1 << 10, Max: 1 << 30, Description: "Instead of data_sync.group_bytes."},
		{Name: "autostart", Default: `false`, Description: "Begin when pgdrover starts; a mirror that has begun goes on by itself without it."},
		{Name: "schemas", Example: `{ public = "app" }`, Description: "Schemas that have another name at the destination."},
		{Name: "tables", Example: `[{ name = "orders", destination_name = "sales" }]`, flags: section, Description: "Tables that are not the same at the destination, see [[mirrors.tables]]."},
		{Name: "drift", Example: `{ validation = "permissive" }`, flags: section, Description: "What is other for this mirror than in [drift], see [mirrors.drift]."},
	},
}

var mirrorTablesTable = Table{
	Name: "mirrors.tables", Array: true, Files: []string{configFile},
	Description: "A table of the mirror above that is not the same at the destination. Names of columns are the source's.",
	Keys: []Key{
		{Name: "schema", Default: `"public"`, Description: "Its schema on the source."},
		{Name: "name", Example: `"orders"`, flags: required, Description: "Its name on the source."},
		{Name: "destination_schema", Default: `""`, Description: "Its schema at the destination; the same, or what schemas makes of it, without the key."},
		{Name: "destination_name", Default: `""`, Description: "Its name at the destination; the same without it."},
		{Name: "exclude_columns", Default: `[]`, Description: "Columns that the destination does not have; neither those of a key nor the sharding key."},
		{Name: "rename_columns", Example: `{ total = "amount" }`, Description: "Columns that have another name at the destination."},
		{Name: "cast_columns", Example: `{ price = "numeric(12,2)" }`, Description: "Columns that have another type at the destination, which must be this one; casts that could give two values for one are refused."},
		{Name: "row_filter", Default: `""`, Description: "Which rows are mirrored: the WHERE that the publication has for the table. A publication with another one, or none, is refused."},
		{Name: "drift", Example: `{ skip_columns = ["note"] }`, flags: section, Description: "What is other for this table than for its mirror, see [mirrors.tables.drift]."},
	},
}

var mirrorDriftTable = Table{
	Name: "mirrors.drift", Files: []string{configFile},
	Description: "What is other for the mirror above than in [drift].",
	Keys:        driftOverrides("Instead of drift."),
}

var tableDriftTable = Table{
	Name: "mirrors.tables.drift", Files: []string{configFile},
	Description: "What is other for the table above than for its mirror.",
	Keys: append(driftOverrides("Instead of the mirror's "),
		Key{Name: "skip_columns", Default: `[]`, Description: "Columns that the source has got and the destination does without."},
		Key{Name: "preserve_columns", Default: `[]`, Description: "Columns that the source has lost and the destination keeps, with the values they have."},
		Key{Name: "null_columns", Default: `[]`, Description: "Columns that the source has lost and that are NULL in rows written from then on."},
		Key{Name: "allow_type_casts", Default: `[]`, Description: "Columns whose values may change when they are written as the destination's type."},
	),
}

var driftTable = Table{
	Name: "drift", Files: []string{configFile},
	Description: "What a difference of structure between source and destination leads to. Mirrors and tables may have it otherwise: [mirrors.drift], [mirrors.tables.drift].",
	Keys: []Key{
		{Name: "validation", Default: `"strict"`, Values: validations, flags: settable, Description: "strict stops a table before a value could be lost or changed; permissive goes on where every value still arrives as it may; disabled does not look, and stops at the first error."},
		{Name: "warn_only", Default: `false`, flags: settable, Description: "Say what would be stopped and go on; to begin with."},
		{Name: "interval", Default: `60000`, Unit: "ms", Max: 86_400_000, flags: settable, Description: "How often both sides are compared; 0 is only at the start, around copies, on hints of the stream and after errors."},
		{Name: "source_added_columns", Default: `"stop"`, Values: sourceAddedColumns, flags: settable, Description: "A column that only the source has: stop the table, add the column, or go on without it."},
		{Name: "target_added_columns", Default: `"allow"`, Values: targetAddedColumns, flags: settable, Description: "A column that only the destination has, and that needs no value."},
		{Name: "source_removed_columns", Default: `"stop"`, Values: sourceRemovedColumns, flags: settable, Description: "A column that the source has lost: stop the table, keep it with its values, keep it with NULL in new rows, or drop it."},
		{Name: "type_mismatches", Default: `"cast_if_safe"`, Values: typeMismatches, flags: settable, Description: "A column of two types: stop the table, go on where every value fits, or go on always."},
		{Name: "auto_migrate", Default: `[]`, Values: AutoMigrateKinds, flags: settable, Description: "Kinds of changes of the source that are made at the destination too."},
		{Name: "require_approval", Default: `false`, flags: settable, Description: "Wait for APPROVE before each of them."},
		{Name: "allow_schema_drift", Default: `[]`, Values: SchemaDrifts, flags: settable, Description: "Whole kinds of differences with which tables go on: source_superset goes on without columns that only the source has, target_superset with those that only the destination has; type_casts casts every column of two types, and all is all of these: both need force."},
		{Name: "force", Default: `false`, flags: settable, Description: "Allow type_casts and all in allow_schema_drift, which change values without a word."},
		{Name: "held_wal", Default: `17179869184`, Unit: "bytes", Max: 1 << 50, flags: settable, Description: "How much of its log a source keeps for each table that is stopped because of its structure, so that it goes on without a new copy; 0 keeps none."},
	},
}

// driftOverrides are the keys of [drift] for a part of it.
func driftOverrides(instead string) []Key {
	return []Key{
		{Name: "validation", Default: `"default"`, Values: validations, Description: instead + "validation."},
		{Name: "warn_only", Default: `"default"`, Description: instead + "warn_only."},
		{Name: "interval", Default: `"default"`, Unit: "ms", Max: 86_400_000, Description: instead + "interval."},
		{Name: "source_added_columns", Default: `"default"`, Values: sourceAddedColumns, Description: instead + "source_added_columns."},
		{Name: "target_added_columns", Default: `"default"`, Values: targetAddedColumns, Description: instead + "target_added_columns."},
		{Name: "source_removed_columns", Default: `"default"`, Values: sourceRemovedColumns, Description: instead + "source_removed_columns."},
		{Name: "type_mismatches", Default: `"default"`, Values: typeMismatches, Description: instead + "type_mismatches."},
		{Name: "auto_migrate", Default: `[]`, Values: autoMigrateOrNone, Description: instead + `auto_migrate; ["none"] for none.`},
		{Name: "require_approval", Default: `"default"`, Description: instead + "require_approval."},
		{Name: "allow_schema_drift", Default: `[]`, Values: schemaDriftsOrNone, Description: instead + `allow_schema_drift; ["none"] for none.`},
		{Name: "force", Default: `"default"`, Description: instead + "force."},
	}
}
