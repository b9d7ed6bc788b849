package mirror

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/drift"
)

// decision is what the policy makes of one change.
type decision byte

const (
	follow decision = iota // the destination is altered in the same way
	leave                  // it stays as it is; whether rows can go on is judged by what differs then
)

// migrations are the kinds of [drift].auto_migrate that let a change be made at
// the destination too. What is not here changes no table's rows or is needed to
// know a table again, and is always made.
var migrations = map[ddl.ChangeKind]string{
	ddl.EnumLabelAdded: "add_enum_label", ddl.EnumLabelRenamed: "rename_enum_label", ddl.CompositeAltered: "change_type", ddl.DomainAltered: "add_constraint",
	ddl.ColumnAdded: "add_column", ddl.ColumnDropped: "drop_column", ddl.ColumnRenamed: "rename_column", ddl.ColumnRetyped: "change_type",
	ddl.ColumnDefault: "set_default", ddl.ColumnNotNull: "add_constraint", ddl.ColumnIdentity: "set_default", ddl.ColumnGenerated: "change_type",
	ddl.IndexDropped: "create_index", ddl.IndexRenamed: "create_index", ddl.IndexCreated: "create_index",
	ddl.ConstraintDropped: "add_constraint", ddl.ConstraintRenamed: "add_constraint", ddl.ConstraintAdded: "add_constraint", ddl.ConstraintAltered: "add_constraint",
	ddl.PrimaryKeyChanged: "add_constraint",
	ddl.PartitionAttached: "attach_partition", ddl.PartitionDetached: "attach_partition",
	ddl.TableDropped: "drop_table",
}

// migrationOf is the kind of auto_migrate that a change is of, "" if it is always
// made.
func migrationOf(c *ddl.Change) string {
	switch {
	case c.Kind == ddl.ColumnNotNull && !c.To.NotNull:
		return "drop_not_null"
	case c.Kind == ddl.ColumnRetyped && widens(c):
		return "widen_type"
	}
	return migrations[c.Kind]
}

// widens tells whether altering a column's type changes none of its values, and
// every value of the old type has a place in the new one.
func widens(c *ddl.Change) bool {
	if verdict, _ := ddl.Judge(c); verdict != ddl.Apply {
		return false
	}
	same := func(from, to catalog.Name) bool { return from == to }
	return drift.MatchTypes(drift.TypeOf(c.Before, c.From), drift.TypeOf(c.After, c.To), same).Fit == drift.FitSafe
}

// decide tells what a policy makes of a change.
func decide(c *ddl.Change, p drift.Policy) decision {
	kind := migrationOf(c)
	allowed := kind == "" || slices.Contains(p.AutoMigrate, kind)
	switch c.Kind {
	case ddl.ColumnAdded:
		switch {
		case slices.Contains(p.SkipColumns, c.To.Name), p.SourceAddedColumns == "skip":
			return leave
		case p.SourceAddedColumns == "apply":
			allowed = true
		}
	case ddl.ColumnDropped:
		if removedColumn(c, p) != "stop" {
			allowed = true
		}
	case ddl.ColumnRetyped:
		allowed = allowed || slices.Contains(p.AutoMigrate, "change_type")
	}
	if !allowed || p.RequireApproval && kind != "" {
		return leave
	}
	return follow
}

// removedColumn is what becomes of a column that the source has dropped: stop,
// preserve, null or drop.
func removedColumn(c *ddl.Change, p drift.Policy) string {
	switch {
	case slices.Contains(p.PreserveColumns, c.From.Name):
		return "preserve"
	case slices.Contains(p.NullColumns, c.From.Name):
		return "null"
	case p.SourceRemovedColumns != "" && p.SourceRemovedColumns != "stop":
		return p.SourceRemovedColumns
	case slices.Contains(p.AutoMigrate, "drop_column"):
		return "drop"
	}
	return "stop"
}

// policy is that of a table of the source.
func (f *schemaFollower) policy(table catalog.Name) drift.Policy {
	return drift.PolicyOf(f.source.job.config, f.source.job.definition, table)
}

// judgement tells whether the rows of a table can go on: by what differs now, did
// not before, and is not made the same.
func (f *schemaFollower) judgement(t *tableChange, there *catalog.TableDescription) (drift.Judgement, error) {
	mapping, err := drift.MappingOf(f.source.job.mapping, t.after.Table)
	if err != nil {
		return drift.Judgement{}, err
	}
	old, err := drift.MappingOf(f.source.job.mapping, t.before.Table)
	if err != nil {
		return drift.Judgement{}, err
	}
	known := map[string]bool{}
	for _, d := range (drift.Comparison{Source: t.before, Destination: there, Mapping: old}).Differences() {
		known[differenceKey(&d)] = true
	}
	differences := drift.Comparison{Source: t.after, Destination: there, Before: t.before, Mapping: mapping}.Differences()
	differences = slices.DeleteFunc(differences, func(d drift.TableDifference) bool {
		return known[differenceKey(&d)] || t.followed[d.Column] || t.followed[d.Object]
	})
	return drift.Judge(differences, f.policy(t.after.Table)), nil
}

func differenceKey(d *drift.TableDifference) string {
	return strings.Join([]string{string(d.Kind), d.Column, d.Object, d.SourceHas, d.TargetHas}, "\x00")
}

// policyStop is the error of a table that stops because the policy does not let
// its change be made.
func (f *schemaFollower) policyStop(before, after *catalog.TableDescription, j drift.Judgement) *pgerror.Error {
	reason := j.Reason
	if reason == "" {
		reason = "the source was altered"
	}
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the source has altered %s: %s", after.Table, reason)
	var hint []string
	for _, w := range j.Ways {
		line := fmt.Sprintf("%d. %s", w.Number, w.Text)
		if len(w.SQL) > 0 {
			line += fmt.Sprintf(" (%s: %s)", w.On, strings.Join(w.SQL, " "))
		}
		if len(w.Commands) > 0 {
			line += ": " + strings.Join(w.Commands, "; ") + ";"
		}
		hint = append(hint, line)
	}
	e.Hint = strings.Join(hint, "\n")
	return e.WithDetail("%s", definitions(before, after))
}

// definitions tells both forms of a table, as far as they differ.
func definitions(before, after *catalog.TableDescription) string {
	list := func(d, other *catalog.TableDescription) string {
		var out []string
		for i := range d.Columns {
			text := columnText(&d.Columns[i])
			if o := other.ColumnNumbered(d.Columns[i].Number); o == nil || columnText(o) != text {
				out = append(out, text)
			}
		}
		if len(out) == 0 {
			return "the same columns"
		}
		return strings.Join(out, ", ")
	}
	return fmt.Sprintf("It was: %s. It is: %s.", list(before, after), list(after, before))
}

func columnText(c *catalog.ColumnDescription) string {
	text := dump.QuoteIdent(c.Name) + " " + c.TypeText
	switch {
	case c.Generated != "":
		text += " GENERATED ALWAYS AS (" + c.Default + ")"
	case c.Identity != "":
		text += " GENERATED AS IDENTITY"
	case c.Default != "":
		text += " DEFAULT " + c.Default
	}
	if c.NotNull {
		text += " NOT NULL"
	}
	return text
}

// verdictStop is the error of a table that no statement can help.
func verdictStop(c *ddl.Change, why string) *pgerror.Error {
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the source has altered %s (%s): %s", c.Table, c.Kind, why)
	if c.Before != nil && c.After != nil {
		return e.WithDetail("%s", definitions(c.Before, c.After))
	}
	return e
}

// mapsByName tells whether the mapping has an entry for a table's name.
func mapsByName(definition config.Mirror, table catalog.Name) bool {
	return slices.ContainsFunc(definition.Tables, func(t config.MirrorTable) bool { return t.Schema == table.Schema && t.Name == table.Name })
}
