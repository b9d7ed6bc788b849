package main

import (
	"strings"

	"github.com/pgdrover/pgdrover/dump"
)

// driftFlags are the escape hatches of a mirror: differences of structure with
// which its tables go on. Each is a setting of ALTER MIRROR too.
type driftFlags struct {
	SkipColumns        []string `placeholder:"COLUMN" help:"Go on without columns that only the source has: schema.table.column, with commas between several."`
	PreserveColumns    []string `placeholder:"COLUMN" help:"Keep columns that the source has removed, with the values they have."`
	NullRemovedColumns []string `placeholder:"COLUMN" help:"Keep columns that the source has removed, NULL in rows that are new."`
	AllowTypeCast      []string `sep:"none" placeholder:"COLUMN[:TYPE]" help:"Cast columns to the type that the destination has, whatever is lost: schema.table.column:type. May be given several times."`
	AllowAllTypeCasts  bool     `help:"Likewise, every column of two types."`
	AllowSchemaDrift   []string `enum:"source_superset,target_superset,type_casts,all" placeholder:"KIND" help:"Go on with whole kinds of differences: source_superset, target_superset, type_casts, all."`
	Force              bool     `help:"Allow what changes values without a word: type_casts and all."`
}

// list is the flags as SET of ALTER MIRROR has them.
func (f driftFlags) list() []string {
	var out []string
	for _, list := range []struct {
		name    string
		columns []string
	}{
		{"skip_columns", f.SkipColumns}, {"preserve_columns", f.PreserveColumns}, {"null_columns", f.NullRemovedColumns}, {"allow_type_casts", f.AllowTypeCast},
	} {
		if len(list.columns) > 0 {
			out = append(out, list.name+" = "+dump.QuoteLiteral(strings.Join(list.columns, ",")))
		}
	}
	if f.AllowAllTypeCasts {
		out = append(out, "allow_all_type_casts = true")
	}
	if len(f.AllowSchemaDrift) > 0 {
		out = append(out, "allow_schema_drift = ("+strings.Join(f.AllowSchemaDrift, ", ")+")")
	}
	if f.Force {
		out = append(out, "force = true")
	}
	return out
}
