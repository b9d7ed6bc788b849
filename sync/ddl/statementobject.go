package ddl

import (
	"slices"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func findIndex(d *catalog.TableDescription, name string) *catalog.IndexDescription {
	i := slices.IndexFunc(d.Indexes, func(x catalog.IndexDescription) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Indexes[i]
}

func findConstraint(d *catalog.TableDescription, name string) *catalog.ConstraintDescription {
	i := slices.IndexFunc(d.Constraints, func(x catalog.ConstraintDescription) bool { return x.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Constraints[i]
}

// indexName is that of an index there: in the schema of its table.
func (w *writer) indexName(name string) string {
	return quoteName(catalog.Name{Schema: w.there(w.table).Schema, Name: name})
}

// indexDropped: a unique index goes in any case, it would refuse rows.
func (w *writer) indexDropped(c *Change) {
	x := findIndex(c.Before, c.Object)
	if !w.d.Indexes && !x.Unique {
		return
	}
	w.add(Statement{SQL: "DROP INDEX IF EXISTS " + w.indexName(c.Object), Why: "the source has dropped it", Lock: accessExclusive, Optional: !x.Unique})
}

func (w *writer) indexRenamed(c *Change) {
	if w.d.Indexes {
		w.add(Statement{SQL: "ALTER INDEX IF EXISTS " + w.indexName(c.Object) + " RENAME TO " + dump.QuoteIdent(c.NewName), Why: "the source's was renamed", Lock: shareUpdate, Optional: true})
	}
}

// indexCreated builds it without keeping writers out, which a partitioned table
// does not allow.
func (w *writer) indexCreated(c *Change) {
	x := findIndex(c.After, c.Object)
	if !w.d.Indexes || x.Invalid || w.mapped() {
		return
	}
	sql, s := "CREATE INDEX ", Statement{Why: "the source has created it", Lock: shareUpdate, Scans: true, Optional: true, Alone: true, Index: c.Object}
	if x.Unique {
		sql = "CREATE UNIQUE INDEX "
	}
	if c.After.Relkind == "p" {
		s.Lock = "SHARE"
	} else {
		sql += "CONCURRENTLY "
	}
	s.SQL = sql + "IF NOT EXISTS " + dump.QuoteIdent(c.Object) + " ON " + w.target() + " USING " + x.Using
	w.add(s)
}

// mapped tells whether columns have other names there: texts of expressions
// would not fit.
func (w *writer) mapped() bool { return w.d.Column != nil }

// constraintDropped: what the source no longer checks must not be checked here.
func (w *writer) constraintDropped(c *Change) {
	w.alter("the source has dropped it", accessExclusive, "DROP CONSTRAINT IF EXISTS %s", dump.QuoteIdent(c.Object))
}

func (w *writer) constraintRenamed(c *Change) {
	w.alter("the source's was renamed", accessExclusive, "RENAME CONSTRAINT %s TO %s", dump.QuoteIdent(c.Object), dump.QuoteIdent(c.NewName)).Optional = true
}

func (w *writer) constraintAdded(c *Change) {
	k := findConstraint(c.After, c.Object)
	if k.Type == "f" && !w.d.ForeignKeys || (k.Type == "u" || k.Type == "x") && !w.d.Indexes || w.mapped() {
		return
	}
	lock := accessExclusive
	if k.Type == "f" {
		lock = shareExclusive
	}
	s := w.alter("the source has added it", lock, "ADD CONSTRAINT %s %s", dump.QuoteIdent(c.Object), k.Definition)
	s.Scans, s.Optional = k.Validated, true
}

func (w *writer) constraintAltered(c *Change) {
	b, a := findConstraint(c.Before, c.Object), findConstraint(c.After, c.Object)
	name := dump.QuoteIdent(c.Object)
	if a.Type == "f" && !w.d.ForeignKeys {
		return
	}
	if !b.Validated && a.Validated {
		s := w.alter("the source has validated it", shareUpdate, "VALIDATE CONSTRAINT %s", name)
		s.Scans, s.Optional = true, true
	}
	if a.Type == "f" && (b.Deferrable != a.Deferrable || b.Deferred != a.Deferred) {
		action := " NOT DEFERRABLE"
		if a.Deferrable {
			action = " DEFERRABLE INITIALLY IMMEDIATE"
		}
		if a.Deferred {
			action = " DEFERRABLE INITIALLY DEFERRED"
		}
		w.alter("the source has altered it", accessExclusive, "ALTER CONSTRAINT %s%s", name, action).Optional = true
	}
}

// primaryKeyDropped also drops the foreign keys that the source has dropped with
// it: they would keep it.
func (w *writer) primaryKeyDropped(c *Change) {
	if c.Object == "" {
		return
	}
	for _, r := range c.Before.ReferencedBy {
		if !slices.ContainsFunc(c.After.ReferencedBy, func(a catalog.ReferenceDescription) bool { return a.Table == r.Table && a.Name == r.Name }) {
			w.add(Statement{
				SQL: "ALTER TABLE IF EXISTS " + quoteName(w.there(r.Table)) + " DROP CONSTRAINT IF EXISTS " + dump.QuoteIdent(r.Name),
				Why: "the source has dropped it with the key", Lock: accessExclusive,
			})
		}
	}
	w.alter("the source has dropped it", accessExclusive, "DROP CONSTRAINT IF EXISTS %s", dump.QuoteIdent(c.Object))
}

func (w *writer) primaryKeyAdded(c *Change) {
	if c.NewName == "" {
		return
	}
	key := c.After.PrimaryKey()
	suffix := ""
	if key.Deferrable {
		suffix = " DEFERRABLE"
	}
	if key.Deferred {
		suffix += " INITIALLY DEFERRED"
	}
	include := ""
	if x := findIndex(c.After, key.Index); x != nil && len(x.Include) > 0 {
		include = " INCLUDE (" + w.columns(x.Include) + ")"
	}
	w.alter("rows are found by it", accessExclusive, "ADD CONSTRAINT %s PRIMARY KEY (%s)%s%s", dump.QuoteIdent(c.NewName), w.columns(key.Columns), include, suffix).Scans = true
}

// identityChanged matters for a stream from the destination, after a cutover.
func (w *writer) identityChanged(c *Change) {
	action := map[string]string{"d": "DEFAULT", "f": "FULL", "n": "NOTHING"}[c.After.ReplicaIdentity]
	if c.After.ReplicaIdentity == "i" {
		// An index that is new is built later, and the table may be published there.
		switch {
		case c.After.IdentityIndex != "" && slices.Contains(w.d.HasIndexes, c.After.IdentityIndex):
			action = "USING INDEX " + dump.QuoteIdent(c.After.IdentityIndex)
		case c.After.PrimaryKey() != nil:
			action = "DEFAULT"
		default:
			action = "FULL"
		}
	}
	w.alter("for the stream back after a cutover", accessExclusive, "REPLICA IDENTITY %s", action).Optional = true
}
