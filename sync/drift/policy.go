package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Policy is what is to be done about the differences of one table. The zero
// value is strict and goes on where every value fits.
type Policy struct {
	Mirror string // its name, for the commands of ways out
	// Drift is [drift] as it is for the table. Interval does not count here.
	config.Drift
	// ColumnDrift are the columns that are treated in another way. An entry of
	// AllowTypeCasts may name the type that is allowed: "price:integer".
	config.ColumnDrift
	// AllowDrift are the proposal's wide escape hatches.
	AllowDrift []string
	// Force allows what is dangerous: casts of every column, lossy statements. It
	// is Drift.Force of a configured policy.
	Force bool
}

// The values of Policy.AllowDrift.
const (
	SourceSuperset = "source_superset" // skip every column that only the source has
	TargetSuperset = "target_superset" // allow every column that only the destination has
	TypeCasts      = "type_casts"      // cast every column of two types; needs Force
	AllDrift       = "all"             // all of these; needs Force
)

// PolicyOf gives the policy of one table of a mirror, by its name on the source.
func PolicyOf(c *config.Config, mirror config.Mirror, table catalog.Name) Policy {
	drift, columns := c.TableDriftOf(mirror, table.Schema, table.Name)
	return Policy{Mirror: mirror.Name, Drift: drift, ColumnDrift: columns, AllowDrift: drift.AllowSchemaDrift, Force: drift.Force}
}

// Check refuses a policy that is dangerous without Force, or not known.
func (p Policy) Check() error {
	for _, drift := range p.AllowDrift {
		switch drift {
		case SourceSuperset, TargetSuperset:
		case TypeCasts, AllDrift:
			if !p.Force {
				return pgerror.New(pgerror.InvalidParameterValue, "allow-schema-drift=%s changes values without a word", drift).
					WithDetail("With it, values of every column of two types are cast, whatever becomes of them.").
					WithHint("Name the columns with --allow-type-cast=table.column:type, or add --force.")
			}
		default:
			return pgerror.New(pgerror.InvalidParameterValue, "allow-schema-drift has no %q", drift).
				WithHint("Use one of: %s.", strings.Join([]string{SourceSuperset, TargetSuperset, TypeCasts, AllDrift}, ", "))
		}
	}
	return nil
}

// What becomes of a column that the source has removed.
const (
	removedStop     = "stop"
	removedPreserve = "preserve"
	removedNull     = "null"
	removedDrop     = "drop"
)

// The other values of config.Drift that count here.
const (
	permissive  = "permissive"
	disabled    = "disabled"
	addedApply  = "apply"
	addedSkip   = "skip"
	targetStop  = "stop"
	castNever   = "stop"
	castAlways  = "cast_always"
	addColumn   = "add_column"
	widenType   = "widen_type"
	dropNotNull = "drop_not_null"
)

func (p Policy) allows(drift string) bool {
	return slices.Contains(p.AllowDrift, drift) || slices.Contains(p.AllowDrift, AllDrift) && p.Force
}

// added tells what is done about a column that only the source has, and by
// which option.
func (p Policy) added(column string) (action, by string) {
	switch {
	case slices.Contains(p.SkipColumns, column):
		return addedSkip, "skip_columns"
	case p.allows(SourceSuperset):
		return addedSkip, "allow_schema_drift"
	case p.SourceAddedColumns == addedSkip, p.SourceAddedColumns == addedApply:
		return p.SourceAddedColumns, "source_added_columns"
	case slices.Contains(p.AutoMigrate, addColumn):
		return addedApply, "auto_migrate"
	}
	return removedStop, "source_added_columns"
}

// removed tells what is done about a column that the source has removed.
func (p Policy) removed(column string) string {
	switch {
	case slices.Contains(p.PreserveColumns, column):
		return removedPreserve
	case slices.Contains(p.NullColumns, column):
		return removedNull
	case p.SourceRemovedColumns != "" && p.SourceRemovedColumns != removedStop:
		return p.SourceRemovedColumns
	case p.allows(TargetSuperset):
		return removedPreserve
	}
	return removedStop
}

// castAllowed tells whether the values of a column may be cast to another type,
// and by which option.
func (p Policy) castAllowed(column, to string) (by string, ok bool) {
	for _, entry := range p.AllowTypeCasts {
		if entry == column || strings.HasPrefix(entry, column+":") && sameTypeText(entry[len(column)+1:], to) {
			return "allow_type_casts", true
		}
	}
	switch {
	case p.allows(TypeCasts) && p.Force:
		return "allow_schema_drift", true
	case p.TypeMismatches == castAlways:
		return "type_mismatches", true
	}
	return "", false
}
