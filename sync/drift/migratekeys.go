package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// concurrently is the keyword that lets rows be written while an index is
// built; partitioned tables do not have it.
func (p *plan) concurrently() (word string, lock Lock, alone bool) {
	if p.partitioned() {
		return "", ShareLock, false
	}
	return "CONCURRENTLY ", ShareUpdateExclusive, true
}

// freeName gives a name that neither the destination's table has nor any of its
// indexes, constraints and sequences.
func (p *plan) freeName(name string) string {
	taken := func(name string) bool {
		return name == p.k.Destination.Table.Name || slices.ContainsFunc(p.k.Destination.Sequences, func(s catalog.SequenceDescription) bool { return s.Sequence.Name == name }) || slices.ContainsFunc(p.k.Destination.Indexes, func(x catalog.IndexDescription) bool { return x.Name == name }) ||
			slices.ContainsFunc(p.k.Destination.Constraints, func(c catalog.ConstraintDescription) bool { return c.Name == name })
	}
	free := name
	for n := 2; taken(free); n++ {
		free = shortened(name, fmt.Sprintf("_%d", n))
	}
	return free
}

// primaryKey gives the destination the source's primary key: its index is
// built while rows are written, then the keys are exchanged at once.
func (p *plan) primaryKey(d *TableDifference) {
	s := d.source.(*catalog.ConstraintDescription)
	columns := p.targets(s.Columns)
	for _, name := range s.Columns {
		c := p.k.Source.Column(name)
		if target, ok := p.k.names[name]; ok && !p.k.Destination.Column(target).NotNull {
			p.setNotNull(c, false)
		}
	}
	old, _ := d.target.(*catalog.ConstraintDescription)
	drop := ""
	name := p.freeName(s.Name)
	if old != nil {
		drop, name = fmt.Sprintf("DROP CONSTRAINT %s, ", dump.QuoteIdent(old.Name)), old.Name
	}
	if p.partitioned() {
		p.add(Step{SQL: p.alter("%sADD CONSTRAINT %s PRIMARY KEY (%s)", drop, dump.QuoteIdent(name), quoteNames(columns)), Lock: AccessExclusive, Scans: true, Indexes: 1})
		return
	}
	index := p.freeName(shortened(s.Name, "_new"))
	p.add(Step{SQL: fmt.Sprintf("CREATE UNIQUE INDEX CONCURRENTLY %s ON %s (%s)", dump.QuoteIdent(index), quoteName(d.Destination), quoteNames(columns)),
		Inverse: "DROP INDEX CONCURRENTLY IF EXISTS " + quoteName(catalog.Name{Schema: d.Destination.Schema, Name: index}), Lock: ShareUpdateExclusive, Scans: true, Indexes: 1, Alone: true,
		Why: "built while rows can be written"})
	p.add(Step{SQL: p.alter("%sADD CONSTRAINT %s PRIMARY KEY USING INDEX %s", drop, dump.QuoteIdent(name), dump.QuoteIdent(index)), Lock: AccessExclusive})
}

// createUnique builds a unique index and makes the constraint of it that the
// source has.
func (p *plan) createUnique(d *TableDifference) {
	s := d.source.(*catalog.IndexDescription)
	if s.Inherited && p.k.Destination.Partition != nil {
		return // the parent's brings it
	}
	name := p.freeName(s.Name)
	i := slices.IndexFunc(p.k.Source.Constraints, func(c catalog.ConstraintDescription) bool { return c.Index == s.Name && c.Type == "u" })
	if i >= 0 && p.partitioned() {
		p.add(Step{SQL: p.alter("ADD CONSTRAINT %s %s", dump.QuoteIdent(name), p.k.sql.rename(p.k.Source.Constraints[i].Definition)), Inverse: p.alter("DROP CONSTRAINT %s", dump.QuoteIdent(name)),
			Lock: AccessExclusive, Scans: true, Indexes: 1})
		return
	}
	p.buildIndex(s, name)
	if i >= 0 {
		c := p.k.Source.Constraints[i]
		p.add(Step{SQL: p.alter("ADD CONSTRAINT %s UNIQUE USING INDEX %s%s", dump.QuoteIdent(name), dump.QuoteIdent(name), deferral(&c)),
			Inverse: p.alter("DROP CONSTRAINT %s", dump.QuoteIdent(name)), Lock: AccessExclusive})
	}
}

func deferral(c *catalog.ConstraintDescription) string {
	switch {
	case c.Deferred:
		return " DEFERRABLE INITIALLY DEFERRED"
	case c.Deferrable:
		return " DEFERRABLE"
	}
	return ""
}

func (p *plan) buildIndex(s *catalog.IndexDescription, name string) {
	word, lock, alone := p.concurrently()
	unique := ""
	if s.Unique {
		unique = "UNIQUE "
	}
	p.add(Step{SQL: fmt.Sprintf("CREATE %sINDEX %s%s ON %s USING %s", unique, word, dump.QuoteIdent(name), quoteName(p.difference.Destination), p.k.sql.rename(s.Using)),
		Inverse: fmt.Sprintf("DROP INDEX %sIF EXISTS %s", word, quoteName(catalog.Name{Schema: p.difference.Destination.Schema, Name: name})), Lock: lock, Scans: true, Indexes: 1, Alone: alone})
}

func (p *plan) createIndex(d *TableDifference) {
	s := d.source.(*catalog.IndexDescription)
	if s.Inherited && p.k.Destination.Partition != nil {
		return
	}
	p.buildIndex(s, p.freeName(s.Name))
}

// dropIndex removes what the destination has unique and the source has not.
func (p *plan) dropIndex(d *TableDifference) {
	t := d.target.(*catalog.IndexDescription)
	if t.Constraint != "" {
		i := slices.IndexFunc(p.k.Destination.Constraints, func(c catalog.ConstraintDescription) bool { return c.Name == t.Constraint })
		step := Step{SQL: p.alter("DROP CONSTRAINT %s", dump.QuoteIdent(t.Constraint)), Lock: AccessExclusive}
		if i >= 0 {
			step.Inverse = p.alter("ADD CONSTRAINT %s %s", dump.QuoteIdent(t.Constraint), p.k.Destination.Constraints[i].Definition)
		}
		p.add(step)
		return
	}
	word, lock, alone := p.concurrently()
	if lock == ShareLock {
		lock = AccessExclusive
	}
	p.add(Step{SQL: fmt.Sprintf("DROP INDEX %s%s", word, quoteName(catalog.Name{Schema: d.Destination.Schema, Name: t.Name})), Inverse: t.Definition, Lock: lock, Alone: alone})
}

func (p *plan) rebuildIndex(d *TableDifference) {
	t := d.target.(*catalog.IndexDescription)
	p.dropIndex(d)
	if s, ok := d.source.(*catalog.IndexDescription); ok && s != nil && t.Constraint == "" {
		p.buildIndex(s, t.Name)
	}
}

func (p *plan) dropConstraint(d *TableDifference) {
	t := d.target.(*catalog.ConstraintDescription)
	p.add(Step{SQL: p.alter("DROP CONSTRAINT %s", dump.QuoteIdent(t.Name)), Inverse: p.alter("ADD CONSTRAINT %s %s", dump.QuoteIdent(t.Name), t.Definition), Lock: AccessExclusive})
}

// addConstraint adds a check or foreign key without reading the table, then
// proves it while rows can be written.
func (p *plan) addConstraint(d *TableDifference) {
	s := d.source.(*catalog.ConstraintDescription)
	if s.Inherited && (p.k.Destination.Partition != nil || len(p.k.Destination.Inherits) > 0) {
		return // the parent's brings it
	}
	name := dump.QuoteIdent(p.freeName(s.Name))
	drop := p.alter("DROP CONSTRAINT %s", name)
	definition := p.k.sql.rename(strings.TrimSuffix(s.Definition, " NOT VALID"))
	if s.Type == "f" {
		definition = p.foreignKey(s)
	}
	lock := AccessExclusive
	if s.Type == "f" {
		lock = ShareRowExclusive
	}
	if s.Type == "x" || s.NotEnforced || s.Type == "f" && p.partitioned() && p.k.Destination.Server < 180000 {
		p.add(Step{SQL: p.alter("ADD CONSTRAINT %s %s", name, definition), Inverse: drop, Lock: lock, Scans: !s.NotEnforced, Indexes: boolInt(s.Type == "x")})
		return
	}
	p.add(Step{SQL: p.alter("ADD CONSTRAINT %s %s NOT VALID", name, definition), Inverse: drop, Lock: lock})
	if s.Validated {
		p.add(Step{SQL: p.alter("VALIDATE CONSTRAINT %s", name), Lock: ShareUpdateExclusive, Scans: true, Why: "proved while rows can be written"})
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// foreignKey writes a foreign key with the destination's names.
func (p *plan) foreignKey(s *catalog.ConstraintDescription) string {
	actions := map[string]string{"a": "", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
	text := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s(%s)", quoteNames(p.targets(s.Columns)), quoteName(p.k.Mapping.Table(*s.References)), quoteNames(s.ReferencedColumns))
	if s.Match == "f" {
		text += " MATCH FULL"
	}
	if action := actions[s.OnUpdate]; action != "" {
		text += " ON UPDATE " + action
	}
	if action := actions[s.OnDelete]; action != "" {
		text += " ON DELETE " + action
		if len(s.SetColumns) > 0 {
			text += " (" + quoteNames(p.targets(s.SetColumns)) + ")"
		}
	}
	return text + deferral(s)
}

func (p *plan) validateConstraint(d *TableDifference) {
	s, t := d.source.(*catalog.ConstraintDescription), d.target.(*catalog.ConstraintDescription)
	name := dump.QuoteIdent(t.Name)
	if s.Type == "f" && (s.Deferrable != t.Deferrable || s.Deferred != t.Deferred) {
		text := deferral(s)
		if text == "" {
			text = " NOT DEFERRABLE"
		}
		p.add(Step{SQL: p.alter("ALTER CONSTRAINT %s%s", name, text), Lock: ShareRowExclusive})
	}
	if s.Validated && !t.Validated {
		p.add(Step{SQL: p.alter("VALIDATE CONSTRAINT %s", name), Lock: ShareUpdateExclusive, Scans: true})
	}
}

func (p *plan) replicaIdentity(d *TableDifference) {
	s := p.k.Source
	identity := map[string]string{"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}[s.ReplicaIdentity]
	if s.ReplicaIdentity == "i" {
		i := slices.IndexFunc(s.Indexes, func(x catalog.IndexDescription) bool { return x.Identity })
		if i < 0 {
			return // the index is gone: it counts as NOTHING
		}
		partner := p.k.partnerOf(&s.Indexes[i])
		if partner == nil {
			return
		}
		identity = "USING INDEX " + dump.QuoteIdent(partner.Name)
	}
	p.add(Step{SQL: p.alter("REPLICA IDENTITY %s", identity), Lock: AccessExclusive})
}
