package ddl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// freeNames prepares for columns that take a name which another one has now: a
// kept column whose name comes again is renamed, and of columns that exchange
// their names one gets another for the time being.
func (w *writer) freeNames() {
	for i := range w.changes {
		c := &w.changes[i]
		if c.Kind == ColumnRenamed && !w.skips(c.From) && !w.named(c) && w.takes(c) {
			between := aside(c.From.Number, w.column(c.From.Name))
			w.alter("another column takes its name", accessExclusive, "RENAME COLUMN %s TO %s", dump.QuoteIdent(w.column(c.From.Name)), dump.QuoteIdent(between))
			w.replace(w.column(c.From.Name), between)
			c2 := *c.From
			c2.Name = between
			c.From = &c2
		}
	}
}

// takes tells whether another column is renamed to the name of c.From.
func (w *writer) takes(c *Change) bool {
	return slices.ContainsFunc(w.changes, func(other Change) bool {
		return other.Kind == ColumnRenamed && other.From.Number != c.From.Number && other.To.Name == c.From.Name
	})
}

// named tells whether the mapping has a name of its own for a column.
func (w *writer) named(c *Change) bool { return w.column(c.From.Name) != c.From.Name }

func (w *writer) replace(from, to string) {
	if i := slices.Index(w.names, from); i >= 0 {
		w.names[i] = to
	}
}

// aside is a name for a column that has to give its own away.
func aside(number int, name string) string {
	prefix := fmt.Sprintf("pgdrover_%d_", number)
	out := prefix + name
	for len(out) > 63 { // of whole characters
		_, size := lastRune(out)
		out = out[:len(out)-size]
	}
	return out
}

func lastRune(s string) (r rune, size int) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]&0xC0 != 0x80 {
			return rune(s[i]), len(s) - i
		}
	}
	return 0, len(s)
}

// makeRoom renames a column that the destination has under a name that is to be
// given to another: one that the source has dropped and that was kept.
func (w *writer) makeRoom(name string, number int) {
	if slices.Contains(w.names, name) {
		w.moveAside(name, number)
	}
}

func (w *writer) moveAside(name string, number int) {
	kept := aside(number, name)
	w.alter("the source has dropped the column of that name, and has another one now", accessExclusive, "RENAME COLUMN %s TO %s", dump.QuoteIdent(name), dump.QuoteIdent(kept))
	w.replace(name, kept)
}

func (w *writer) columnDropped(c *Change) {
	if w.skips(c.From) {
		return
	}
	name := w.column(c.From.Name)
	if w.d.DropColumns {
		w.alter("the source has dropped it", accessExclusive, "DROP COLUMN IF EXISTS %s", dump.QuoteIdent(name)).Lossy = true
		w.names = slices.DeleteFunc(w.names, func(n string) bool { return n == name })
		return
	}
	const why = "the source has dropped it, so rows come without; it is kept with its values"
	if c.From.Identity != "" {
		w.alter(why, accessExclusive, "ALTER COLUMN %s DROP IDENTITY IF EXISTS", dump.QuoteIdent(name))
	}
	if c.From.NotNull {
		w.alter(why, accessExclusive, "ALTER COLUMN %s DROP NOT NULL", dump.QuoteIdent(name))
	}
	if w.reused(c) {
		w.moveAside(name, c.From.Number)
	}
}

// reused tells whether the same changes give the name of a dropped column to
// another one.
func (w *writer) reused(c *Change) bool {
	return slices.ContainsFunc(w.changes, func(other Change) bool {
		return (other.Kind == ColumnAdded || other.Kind == ColumnRenamed) && other.To.Name == c.From.Name
	})
}

func (w *writer) columnRenamed(c *Change) {
	if w.skips(c.From) || w.named(c) {
		return
	}
	to := w.column(c.To.Name)
	w.makeRoom(to, c.To.Number)
	w.alter("the source's column was renamed", accessExclusive, "RENAME COLUMN %s TO %s", dump.QuoteIdent(w.column(c.From.Name)), dump.QuoteIdent(to))
	w.replace(w.column(c.From.Name), to)
}

// typeText is a column's type with its collation.
func typeText(c *catalog.ColumnDescription) string {
	if c.Collation == nil || *c.Collation == (catalog.Name{Schema: "pg_catalog", Name: "default"}) {
		return c.TypeText
	}
	return c.TypeText + " COLLATE " + quoteName(*c.Collation)
}

func (w *writer) columnAdded(c *Change) {
	if w.skips(c.To) {
		return
	}
	to := c.To
	name := w.column(to.Name)
	w.makeRoom(name, to.Number)
	w.names = append(w.names, name)
	quoted := dump.QuoteIdent(name)
	const why = "the source has added it"
	switch c.Old {
	case OldComputed:
		kind := "STORED"
		if to.Generated == "v" {
			kind = "VIRTUAL"
		}
		w.alter(why, accessExclusive, "ADD COLUMN %s %s GENERATED ALWAYS AS (%s) %s%s", quoted, typeText(to), to.Default, kind, notNull(to)).Rewrites = kind == "STORED"
		return
	case OldConstant:
		w.alter(why+"; older rows hold this value", accessExclusive, "ADD COLUMN %s %s DEFAULT %s::%s%s", quoted, typeText(to), dump.QuoteLiteral(c.OldValue), to.TypeText, notNull(to))
		if to.Default == "" {
			w.alter("the value was that of older rows alone", accessExclusive, "ALTER COLUMN %s DROP DEFAULT", quoted)
		}
	default:
		if !domainDefault(c.After, to.Type) {
			w.alter(why, accessExclusive, "ADD COLUMN %s %s", quoted, typeText(to))
			break
		}
		w.alter(why+"; older rows do not hold the domain's default", accessExclusive, "ADD COLUMN %s %s DEFAULT NULL", quoted, typeText(to))
		if to.Default == "" {
			w.alter("newer rows hold the domain's default", accessExclusive, "ALTER COLUMN %s DROP DEFAULT", quoted).Optional = true
		}
	}
	w.defaultOf(c, c.Old == OldUnknown)
	if to.NotNull && c.Old != OldConstant {
		s := w.alter("the source has it", accessExclusive, "ALTER COLUMN %s SET NOT NULL", quoted)
		s.Scans, s.Optional, s.AfterCopy = true, true, c.Old == OldUnknown
	}
	if to.Identity != "" {
		w.identityAdded(c, c.Old == OldUnknown)
	}
}

func notNull(c *catalog.ColumnDescription) string {
	if c.NotNull {
		return " NOT NULL"
	}
	return ""
}

// defaultOf gives a column its default, and makes the sequence that serial has
// made at the source.
func (w *writer) defaultOf(c *Change, afterCopy bool) {
	if c.To.Default == "" || c.To.Generated != "" {
		return
	}
	for _, q := range c.After.Sequences {
		if q.Column == c.To.Name && !q.Identity {
			w.add(Statement{SQL: "CREATE SEQUENCE IF NOT EXISTS " + quoteName(q.Sequence) + " AS " + q.Type + sequenceOptions(q), Why: "the default needs it", Optional: true})
			w.add(Statement{SQL: "ALTER SEQUENCE " + quoteName(q.Sequence) + " OWNED BY " + w.target() + "." + dump.QuoteIdent(w.column(c.To.Name)), Why: "as at the source", Optional: true})
		}
	}
	s := w.alter("for rows that are written after a cutover", accessExclusive, "ALTER COLUMN %s SET DEFAULT %s", dump.QuoteIdent(w.column(c.To.Name)), c.To.Default)
	s.Optional, s.AfterCopy = true, afterCopy
}

func sequenceOptions(q catalog.SequenceDescription) string {
	out := fmt.Sprintf(" START WITH %d INCREMENT BY %d MINVALUE %d MAXVALUE %d CACHE %d", q.Start, q.Increment, q.Min, q.Max, max(q.Cache, 1))
	if q.Cycle {
		out += " CYCLE"
	}
	return out
}

// identityAdded makes it BY DEFAULT: rows come with their values. The source's
// own kind is set at a cutover.
func (w *writer) identityAdded(c *Change, afterCopy bool) {
	options := ""
	for _, q := range c.After.Sequences {
		if q.Column == c.To.Name && q.Identity {
			options = " (" + strings.TrimSpace(sequenceOptions(q)) + ")"
		}
	}
	s := w.alter("for rows that are written after a cutover", accessExclusive, "ALTER COLUMN %s ADD GENERATED BY DEFAULT AS IDENTITY%s", dump.QuoteIdent(w.column(c.To.Name)), options)
	s.Optional, s.AfterCopy = true, afterCopy
}

// columnRetyped does what the source did. Where values may differ they are
// copied again, and USING only has to get past the old ones.
func (w *writer) columnRetyped(c *Change) {
	if w.skips(c.To) {
		return
	}
	name := dump.QuoteIdent(w.column(c.To.Name))
	verdict, _ := Judge(c)
	changesDefault := c.From.Default != "" && c.From.Generated == ""
	if changesDefault {
		w.alter("it may not fit the new type", accessExclusive, "ALTER COLUMN %s DROP DEFAULT", name)
	}
	using := ""
	if verdict == Resync {
		using = " USING " + name + "::" + c.To.TypeText
	}
	s := w.alter("the source has altered it", accessExclusive, "ALTER COLUMN %s TYPE %s%s", name, typeText(c.To), using)
	s.Rewrites, s.Lossy = c.Rewritten, verdict == Resync
	if changesDefault {
		w.defaultOf(c, false)
	}
}

func (w *writer) columnDefault(c *Change) {
	if w.skips(c.To) && !c.To.Inherited || w.retyped(c) {
		return
	}
	if c.To.Default == "" {
		w.alter("for rows that are written after a cutover", accessExclusive, "ALTER COLUMN %s DROP DEFAULT", dump.QuoteIdent(w.column(c.To.Name))).Optional = true
		return
	}
	w.defaultOf(c, false)
}

// retyped tells whether the same changes alter the column's type, which takes
// care of its default.
func (w *writer) retyped(c *Change) bool {
	return slices.ContainsFunc(w.changes, func(other Change) bool {
		return other.Kind == ColumnRetyped && other.To.Number == c.To.Number && other.From.Default != ""
	})
}

func (w *writer) columnNotNull(c *Change) {
	if w.skips(c.To) {
		return
	}
	name := dump.QuoteIdent(w.column(c.To.Name))
	if !c.To.NotNull {
		w.alter("the source's rows may be NULL there", accessExclusive, "ALTER COLUMN %s DROP NOT NULL", name)
		return
	}
	s := w.alter("the source has it", accessExclusive, "ALTER COLUMN %s SET NOT NULL", name)
	s.Scans, s.Optional = true, true
}

func (w *writer) columnIdentity(c *Change) {
	if w.skips(c.To) {
		return
	}
	switch {
	case c.To.Identity == "":
		w.alter("the source has dropped it", accessExclusive, "ALTER COLUMN %s DROP IDENTITY IF EXISTS", dump.QuoteIdent(w.column(c.To.Name))).Optional = true
	case c.From.Identity == "":
		w.identityAdded(c, false)
	}
}

func (w *writer) columnGenerated(c *Change) {
	if w.skips(c.To) {
		return
	}
	name := dump.QuoteIdent(w.column(c.To.Name))
	switch {
	case c.To.Generated == "":
		w.alter("the source writes its values from here on", accessExclusive, "ALTER COLUMN %s DROP EXPRESSION IF EXISTS", name)
	case w.d.VersionNum >= 170000:
		w.alter("the source has altered it", accessExclusive, "ALTER COLUMN %s SET EXPRESSION AS (%s)", name, c.To.Default).Rewrites = c.To.Generated == "s"
	default:
		w.alter("the source has altered it, and this server cannot alter it", accessExclusive, "DROP COLUMN %s", name)
		w.alter("the source has altered it", accessExclusive, "ADD COLUMN %s %s GENERATED ALWAYS AS (%s) STORED%s", name, typeText(c.To), c.To.Default, notNull(c.To)).Rewrites = true
	}
}
