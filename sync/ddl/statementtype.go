package ddl

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// typeCreated makes a type unless there is one of that name. Ranges are left to
// a schema sync: their description is not complete.
func (w *writer) typeCreated(c *Change) {
	t := c.Type
	name := quoteName(t.Type)
	var sql string
	switch t.Kind {
	case "e":
		sql = "CREATE TYPE " + name + " AS ENUM (" + literals(t.Labels) + ")"
	case "c":
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = fieldText(f)
		}
		sql = "CREATE TYPE " + name + " AS (" + strings.Join(fields, ", ") + ")"
	case "d":
		sql = "CREATE DOMAIN " + name + " AS " + t.Domain.BaseText
		if n := t.Domain.Collation; n != nil && *n != (catalog.Name{Schema: "pg_catalog", Name: "default"}) {
			sql += " COLLATE " + quoteName(*n)
		}
		if t.Domain.Default != "" {
			sql += " DEFAULT " + t.Domain.Default
		}
		if t.Domain.NotNull {
			sql += " NOT NULL"
		}
		for _, check := range t.Domain.Checks {
			sql += " CONSTRAINT " + dump.QuoteIdent(check.Name) + " " + strings.TrimSuffix(check.Definition, " NOT VALID")
		}
	default:
		return
	}
	body := "BEGIN IF pg_catalog.to_regtype(" + dump.QuoteLiteral(name) + ") IS NULL THEN " + sql + "; END IF; END"
	w.add(Statement{SQL: "CREATE SCHEMA IF NOT EXISTS " + dump.QuoteIdent(t.Type.Schema), Why: "the type is in it"})
	w.add(Statement{SQL: "DO " + dump.QuoteLiteral(body), Why: "the source has created it"})
}

func literals(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = dump.QuoteLiteral(v)
	}
	return strings.Join(out, ", ")
}

func fieldText(f catalog.FieldDescription) string {
	s := dump.QuoteIdent(f.Name) + " " + f.TypeText
	if f.Collation != nil && *f.Collation != (catalog.Name{Schema: "pg_catalog", Name: "default"}) {
		s += " COLLATE " + quoteName(*f.Collation)
	}
	return s
}

// alterType adds ALTER TYPE or ALTER DOMAIN with an action.
func (w *writer) alterType(t *catalog.TypeDescription, action string) *Statement {
	keyword := "ALTER TYPE "
	if t.Kind == "d" {
		keyword = "ALTER DOMAIN "
	}
	w.add(Statement{SQL: keyword + quoteName(t.Type) + " " + action, Why: "the source has altered it"})
	return &w.out[len(w.out)-1]
}

func (w *writer) typeRenamed(c *Change) {
	from, to := c.FromType.Type, c.Type.Type
	if from.Schema != to.Schema {
		w.add(Statement{SQL: "CREATE SCHEMA IF NOT EXISTS " + dump.QuoteIdent(to.Schema), Why: "the source's type is in it now"})
		w.alterType(c.FromType, "SET SCHEMA "+dump.QuoteIdent(to.Schema))
	}
	if from.Name != to.Name {
		moved := *c.FromType
		moved.Type.Schema = to.Schema
		w.alterType(&moved, "RENAME TO "+dump.QuoteIdent(to.Name))
	}
}

// typeAltered brings an enum up to date of which nothing is known.
func (w *writer) typeAltered(c *Change) {
	if c.Type.Kind != "e" {
		return
	}
	last := ""
	for _, label := range c.Type.Labels {
		change := Change{Type: c.Type, Object: label, Neighbour: last}
		w.labelAdded(&change)
		w.out[len(w.out)-1].Optional = true
		last = label
	}
}

// labelAdded has to be committed before a row with the label is written.
func (w *writer) labelAdded(c *Change) {
	place := ""
	if c.Neighbour != "" {
		place = " AFTER " + dump.QuoteLiteral(c.Neighbour)
	} else if i := slices.Index(c.Type.Labels, c.Object); i == 0 && len(c.Type.Labels) > 1 {
		if next := w.oldLabel(c); next != "" {
			place = " BEFORE " + dump.QuoteLiteral(next)
		}
	}
	w.alterType(c.Type, "ADD VALUE IF NOT EXISTS "+dump.QuoteLiteral(c.Object)+place).Alone = true
}

// oldLabel is the first label of an enum that was there before.
func (w *writer) oldLabel(c *Change) string {
	if c.FromType == nil || len(c.FromType.Labels) == 0 {
		return ""
	}
	return c.FromType.Labels[0]
}

func (w *writer) labelRenamed(c *Change) {
	w.alterType(c.Type, "RENAME VALUE "+dump.QuoteLiteral(c.Object)+" TO "+dump.QuoteLiteral(c.NewName))
}

// compositeAltered matches attributes by name; one that is gone and one of the
// same type in its place is one that was renamed.
func (w *writer) compositeAltered(c *Change) {
	before, after := c.FromType.Fields, c.Type.Fields
	has := func(list []catalog.FieldDescription, name string) bool {
		return slices.ContainsFunc(list, func(f catalog.FieldDescription) bool { return f.Name == name })
	}
	if len(before) == len(after) {
		for i, f := range after {
			if b := before[i]; b.Name != f.Name && b.TypeText == f.TypeText && !has(after, b.Name) && !has(before, f.Name) {
				w.alterType(c.Type, "RENAME ATTRIBUTE "+dump.QuoteIdent(b.Name)+" TO "+dump.QuoteIdent(f.Name))
			}
		}
		return
	}
	for _, f := range before {
		if !has(after, f.Name) {
			w.alterType(c.Type, "DROP ATTRIBUTE IF EXISTS "+dump.QuoteIdent(f.Name)).Lossy = true
		}
	}
	for _, f := range after {
		if !has(before, f.Name) {
			w.alterType(c.Type, "ADD ATTRIBUTE "+fieldText(f))
		}
	}
}

func (w *writer) domainAltered(c *Change) {
	before, after := c.FromType.Domain, c.Type.Domain
	if before.Default != after.Default {
		action := "SET DEFAULT " + after.Default
		if after.Default == "" {
			action = "DROP DEFAULT"
		}
		w.alterType(c.Type, action)
	}
	if before.NotNull != after.NotNull {
		if after.NotNull {
			w.alterType(c.Type, "SET NOT NULL").Optional = true
		} else {
			w.alterType(c.Type, "DROP NOT NULL")
		}
	}
	for _, check := range before.Checks {
		if !slices.Contains(after.Checks, check) {
			w.alterType(c.Type, "DROP CONSTRAINT IF EXISTS "+dump.QuoteIdent(check.Name))
		}
	}
	for _, check := range after.Checks {
		if !slices.Contains(before.Checks, check) {
			s := w.alterType(c.Type, "ADD CONSTRAINT "+dump.QuoteIdent(check.Name)+" "+check.Definition)
			s.Scans, s.Optional = check.Validated, true
		}
	}
}
