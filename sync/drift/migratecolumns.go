package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// dropComputed drops the destination's columns that are computed from columns
// whose types are to change, and triggers that name such: PostgreSQL refuses to
// change the type while they are there.
func (p *plan) dropComputed(differences []TableDifference) {
	for i := range differences {
		d := &differences[i]
		column, ok := d.target.(*catalog.ColumnDescription)
		if !ok || column == nil || d.comparison == nil || d.Kind != TypeWarn && d.Kind != TypeUnsafe && d.Kind != CollationDiffers && d.Kind != CollationOfKey {
			continue
		}
		p.difference, p.k = d, d.comparison
		for j := range p.k.Destination.Columns {
			g := &p.k.Destination.Columns[j]
			uses := texts{gone: map[string]bool{column.Name: true}}
			if g.Generated == "" || p.rebuilt[g.Name] || !uses.needsGone(g.Default) {
				continue
			}
			p.rebuilt[g.Name] = true
			p.rebuild(*d, g)
		}
		for j := range p.k.Destination.Triggers {
			t := &p.k.Destination.Triggers[j]
			uses := texts{gone: map[string]bool{column.Name: true}}
			if !t.Inherited && !p.rebuilt["trigger "+t.Name] && uses.needsGone(t.Rest) {
				p.rebuilt["trigger "+t.Name] = true
				p.rebuildTrigger(*d, t)
			}
		}
	}
}

// rebuild drops a computed column now, and has it added again when types are
// changed: as the source has it, or as it was if the source has none.
func (p *plan) rebuild(d TableDifference, g *catalog.ColumnDescription) {
	i := slices.IndexFunc(p.k.pairs, func(pair columnPair) bool { return pair.target == g })
	name, definition := dump.QuoteIdent(g.Name), columnText(g)
	resync := false
	if i >= 0 {
		s := p.k.pairs[i].source
		// Renames come first: it is called as the source calls it by then.
		name, definition = p.target(s.Name), p.typeText(s)+p.collate(s)
		if resync = s.Generated == ""; !resync {
			definition += " " + p.k.sql.rename(generatedText(s))
		}
		if s.NotNull && !resync {
			definition += " NOT NULL"
		}
	}
	p.add(Step{SQL: p.alterColumn(g.Inherited, "DROP COLUMN %s", name), Lock: AccessExclusive, Why: "it is computed from a column whose type changes; its indexes go with it"})
	p.computed = append(p.computed, func() {
		p.difference, p.k = &d, d.comparison
		p.add(Step{SQL: p.alterColumn(g.Inherited, "ADD COLUMN %s %s", name, definition), Lock: AccessExclusive, Rewrites: g.Generated == "s" && !resync, Resync: resync, Why: "it is computed anew"})
	})
}

// rebuildTrigger drops a trigger now, and has it made again when types are
// changed. It does not fire for rows of the stream.
func (p *plan) rebuildTrigger(d TableDifference, t *catalog.TriggerDescription) {
	name := dump.QuoteIdent(t.Name)
	p.add(Step{SQL: fmt.Sprintf("DROP TRIGGER %s ON %s", name, quoteName(d.Destination)), Inverse: t.Definition, Lock: AccessExclusive, Why: "it names a column whose type changes"})
	p.computed = append(p.computed, func() {
		p.difference, p.k = &d, d.comparison
		p.add(Step{SQL: t.Definition, Lock: ShareRowExclusive, Why: "the trigger is made again"})
		if word := map[string]string{"D": "DISABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}[t.Enabled]; word != "" {
			p.add(Step{SQL: p.alter("%s TRIGGER %s", word, name), Lock: ShareRowExclusive, Why: "it fires when it did"})
		}
	})
}

func (p *plan) addComputed() {
	for _, add := range p.computed {
		add()
	}
}

// isRebuilt tells whether the column of a difference is dropped and added again.
func (p *plan) isRebuilt(d *TableDifference) bool {
	t, ok := d.target.(*catalog.ColumnDescription)
	return ok && t != nil && p.rebuilt[t.Name]
}

// alterType gives a column the source's type. What that costs and does, the
// rule of the pair (destination, source) says.
func (p *plan) alterType(d *TableDifference) {
	if p.isRebuilt(d) {
		return
	}
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	back := MatchTypes(TypeOf(p.k.Destination, t), TypeOf(p.k.Source, s), func(from, to catalog.Name) bool { return p.k.sameTypeName(to, from) })
	name, text := p.column(d), p.typeText(s)
	using := ""
	if back.Cost.Using != "" {
		using = " USING " + strings.NewReplacer("$", name, "@", text).Replace(back.Cost.Using)
	}
	hasDefault := t.Default != "" && t.Generated == "" && using != ""
	if hasDefault { // it may have no cast of its own
		p.setDefault(name, "", Step{Why: "the default has no cast to the new type"})
	}
	step := Step{SQL: p.alterColumn(t.Inherited, "ALTER COLUMN %s TYPE %s%s%s", name, text, p.collate(s), using), Lock: AccessExclusive, Rewrites: back.Cost.Rewrite,
		Lossy: back.Cost.Changes, Resync: back.Cost.Changes, Why: back.Reason}
	if d.match.Fit == FitSafe || d.match.Fit == FitWarn {
		step.Inverse = p.alterColumn(t.Inherited, "ALTER COLUMN %s TYPE %s", name, t.TypeText)
	}
	if back.Cost.Rewrite || back.Cost.Reindex {
		step.Indexes = indexesOf(p.k.Destination, t.Name, back.Cost.Rewrite)
	}
	p.add(step)
	if hasDefault && s.Default != "" {
		p.setDefault(name, p.k.sql.rename(s.Default), Step{Why: "the default of new rows"})
	}
}

// indexesOf counts the indexes that are built anew with a column, or all.
func indexesOf(table *catalog.TableDescription, column string, all bool) int {
	n := 0
	for _, x := range table.Indexes {
		if all || slices.Contains(x.Columns, column) {
			n++
		}
	}
	return n
}

func (p *plan) alterCollation(d *TableDifference) {
	if p.isRebuilt(d) {
		return
	}
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	collate := p.collate(s)
	if collate == "" {
		if *t.Collation == *s.Collation {
			return // the databases' own collations differ: no column can be altered to the other's
		}
		collate = ` COLLATE "pg_catalog"."default"`
	}
	p.add(Step{SQL: p.alterColumn(t.Inherited, "ALTER COLUMN %s TYPE %s%s", p.column(d), p.typeText(s), collate),
		Inverse: p.alterColumn(t.Inherited, "ALTER COLUMN %s TYPE %s COLLATE %s", p.column(d), t.TypeText, quoteName(*t.Collation)),
		Lock:    AccessExclusive, Indexes: indexesOf(p.k.Destination, t.Name, false)})
}

// regenerate has the destination compute what the source computes.
func (p *plan) regenerate(d *TableDifference) {
	if p.isRebuilt(d) {
		return
	}
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	name := p.column(d)
	if d.Kind == GeneratedDiffers && t.Generated == "s" && s.Generated == "s" && p.k.Destination.Server >= 170000 {
		p.add(Step{SQL: p.alter("ALTER COLUMN %s SET EXPRESSION AS (%s)", name, p.k.sql.rename(s.Default)), Inverse: p.alter("ALTER COLUMN %s SET EXPRESSION AS (%s)", name, t.Default),
			Lock: AccessExclusive, Rewrites: true, Indexes: indexesOf(p.k.Destination, "", true)})
		return
	}
	notNull := ""
	if s.NotNull {
		notNull = " NOT NULL"
	}
	p.add(Step{SQL: p.alterColumn(t.Inherited, "DROP COLUMN %s, ADD COLUMN %s %s%s %s%s", name, name, p.typeText(s), p.collate(s), p.k.sql.rename(generatedText(s)), notNull),
		Lock: AccessExclusive, Rewrites: s.Generated == "s", Indexes: indexesOf(p.k.Destination, "", true)})
}

func (p *plan) dropExpression(d *TableDifference) {
	if p.isRebuilt(d) {
		return
	}
	t := d.target.(*catalog.ColumnDescription)
	if t.Generated == "s" {
		p.add(Step{SQL: p.alter("ALTER COLUMN %s DROP EXPRESSION", p.column(d)), Lock: AccessExclusive, Resync: true, Why: "the column takes values again; those it has were computed here"})
	}
}

func (p *plan) alterIdentity(d *TableDifference) {
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	name := p.column(d)
	sequence := p.k.ownedSequence(p.k.Source, s.Name)
	switch {
	case s.Identity != "" && t.Identity != "":
		p.add(Step{SQL: p.alter("ALTER COLUMN %s SET %s", name, strings.TrimSuffix(identityText(s), " AS IDENTITY")),
			Inverse: p.alter("ALTER COLUMN %s SET %s", name, strings.TrimSuffix(identityText(t), " AS IDENTITY")), Lock: AccessExclusive})
	case s.Identity == "":
		p.add(Step{SQL: p.alter("ALTER COLUMN %s DROP IDENTITY", name), Inverse: p.alter("ALTER COLUMN %s ADD %s", name, identityText(t)), Lock: AccessExclusive})
		if s.Default != "" && sequence == nil {
			p.setDefault(name, p.k.sql.rename(s.Default), Step{Why: "the default of new rows"})
		} else if sequence != nil {
			p.ownSequence(sequence, name, false)
		}
	default:
		if t.Default != "" {
			p.setDefault(name, "", Step{Why: "an identity column has no default"})
		}
		if !t.NotNull {
			p.setNotNull(s, false)
		}
		options := sequenceOptions(sequence)
		if owned := p.k.ownedSequence(p.k.Destination, t.Name); owned != nil && sequence != nil {
			options = fmt.Sprintf(" (SEQUENCE NAME %s %s)", quoteName(catalog.Name{Schema: owned.Sequence.Schema, Name: shortened(owned.Sequence.Name, "_identity")}), sequenceText(sequence))
		}
		p.add(Step{SQL: p.alter("ALTER COLUMN %s ADD %s%s", name, identityText(s), options), Inverse: p.alter("ALTER COLUMN %s DROP IDENTITY", name), Lock: AccessExclusive})
	}
}

// longestName is NAMEDATALEN - 1, in bytes.
const longestName = 63

// shortened appends suffix to a name and cuts it, so that it is still a name.
func shortened(name, suffix string) string {
	cut := min(len(name), longestName-len(suffix))
	for cut > 0 && cut < len(name) && name[cut]&0xc0 == 0x80 {
		cut-- // within a character
	}
	return name[:cut] + suffix
}

func (p *plan) alterDefault(d *TableDifference) {
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	name := p.column(d)
	sequence := p.k.ownedSequence(p.k.Source, s.Name)
	if sequence != nil && strings.HasPrefix(s.Default, "nextval(") && p.k.ownedSequence(p.k.Destination, t.Name) == nil {
		p.ownSequence(sequence, name, false)
		return
	}
	inverse := p.alter("ALTER COLUMN %s DROP DEFAULT", name)
	if t.Default != "" {
		inverse = p.alter("ALTER COLUMN %s SET DEFAULT %s", name, t.Default)
	}
	p.setDefault(name, p.k.sql.rename(s.Default), Step{Inverse: inverse})
}

func (p *plan) notNull(d *TableDifference) {
	p.setNotNull(d.source.(*catalog.ColumnDescription), false)
}

func (p *plan) alterStorage(d *TableDifference) {
	s, t := d.source.(*catalog.ColumnDescription), d.target.(*catalog.ColumnDescription)
	name := p.column(d)
	storage := map[string]string{"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
	compression := map[string]string{"p": "pglz", "l": "lz4", "": "DEFAULT"}
	statistics := func(c *catalog.ColumnDescription) string {
		if c.StatsTarget == nil {
			return "-1"
		}
		return targetText(c.StatsTarget)
	}
	switch d.Object {
	case "storage":
		p.add(Step{SQL: p.alter("ALTER COLUMN %s SET STORAGE %s", name, storage[s.Storage]), Inverse: p.alter("ALTER COLUMN %s SET STORAGE %s", name, storage[t.Storage]), Lock: AccessExclusive})
	case "compression":
		p.add(Step{SQL: p.alter("ALTER COLUMN %s SET COMPRESSION %s", name, compression[s.Compression]), Inverse: p.alter("ALTER COLUMN %s SET COMPRESSION %s", name, compression[t.Compression]), Lock: AccessExclusive})
	case "statistics":
		p.add(Step{SQL: p.alter("ALTER COLUMN %s SET STATISTICS %s", name, statistics(s)), Inverse: p.alter("ALTER COLUMN %s SET STATISTICS %s", name, statistics(t)), Lock: ShareUpdateExclusive})
	case "options":
		p.options(fmt.Sprintf("ALTER COLUMN %s ", name), s.Options, t.Options)
	}
}

// options sets and resets reloptions or attoptions.
func (p *plan) options(prefix string, source, target []string) {
	set := func(list []string) string {
		quoted := make([]string, len(list))
		for i, o := range list {
			key, value, _ := strings.Cut(o, "=")
			quoted[i] = dump.QuoteIdent(key) + " = " + dump.QuoteLiteral(value)
		}
		return strings.Join(quoted, ", ")
	}
	var reset []string
	for _, o := range target {
		key, _, _ := strings.Cut(o, "=")
		if !slices.ContainsFunc(source, func(s string) bool { return strings.HasPrefix(s, key+"=") }) {
			reset = append(reset, dump.QuoteIdent(key))
		}
	}
	if len(source) > 0 {
		p.add(Step{SQL: p.alter("%sSET (%s)", prefix, set(source)), Lock: ShareUpdateExclusive})
	}
	if len(reset) > 0 {
		p.add(Step{SQL: p.alter("%sRESET (%s)", prefix, strings.Join(reset, ", ")), Lock: ShareUpdateExclusive})
	}
}

// addLabel adds an enum's label in the source's place. Labels are added in
// order, so the one before it is there. It cannot be used in the transaction
// that adds it.
func (p *plan) addLabel(d *TableDifference) {
	s, t := d.source.(*catalog.TypeDescription), d.target.(*catalog.TypeDescription)
	place := ""
	if i := slices.Index(s.Labels, d.SourceHas); i > 0 {
		place = " AFTER " + dump.QuoteLiteral(s.Labels[i-1])
	} else if len(t.Labels) > 0 {
		place = " BEFORE " + dump.QuoteLiteral(t.Labels[0])
	}
	p.add(Step{SQL: fmt.Sprintf("ALTER TYPE %s ADD VALUE IF NOT EXISTS %s%s", quoteName(t.Type), dump.QuoteLiteral(d.SourceHas), place), Alone: true})
}

func (p *plan) renameLabel(d *TableDifference) {
	t := d.target.(*catalog.TypeDescription)
	rename := func(from, to string) string {
		return fmt.Sprintf("ALTER TYPE %s RENAME VALUE %s TO %s", quoteName(t.Type), dump.QuoteLiteral(from), dump.QuoteLiteral(to))
	}
	p.add(Step{SQL: rename(d.TargetHas, d.SourceHas), Inverse: rename(d.SourceHas, d.TargetHas)})
}

func (p *plan) loosenDomain(d *TableDifference) {
	name := quoteName(p.k.object(d.source.(*catalog.TypeDescription).Type))
	if check := d.target.(catalog.DomainCheck); check.Name != "" {
		p.add(Step{SQL: fmt.Sprintf("ALTER DOMAIN %s DROP CONSTRAINT %s", name, dump.QuoteIdent(check.Name)),
			Inverse: fmt.Sprintf("ALTER DOMAIN %s ADD CONSTRAINT %s %s", name, dump.QuoteIdent(check.Name), check.Definition)})
		return
	}
	p.add(Step{SQL: fmt.Sprintf("ALTER DOMAIN %s DROP NOT NULL", name), Inverse: fmt.Sprintf("ALTER DOMAIN %s SET NOT NULL", name)})
}

func (p *plan) tightenDomain(d *TableDifference) {
	name := quoteName(d.target.(*catalog.TypeDescription).Type)
	check := d.source.(catalog.DomainCheck)
	if check.Name == "" {
		p.add(Step{SQL: fmt.Sprintf("ALTER DOMAIN %s SET NOT NULL", name), Inverse: fmt.Sprintf("ALTER DOMAIN %s DROP NOT NULL", name), Lock: ShareLock, Scans: true})
		return
	}
	constraint := dump.QuoteIdent(check.Name)
	p.add(Step{SQL: fmt.Sprintf("ALTER DOMAIN %s ADD CONSTRAINT %s %s NOT VALID", name, constraint, p.k.sql.rename(bare(check.Definition))),
		Inverse: fmt.Sprintf("ALTER DOMAIN %s DROP CONSTRAINT %s", name, constraint)})
	if check.Validated {
		p.add(Step{SQL: fmt.Sprintf("ALTER DOMAIN %s VALIDATE CONSTRAINT %s", name, constraint), Lock: ShareLock, Scans: true})
	}
}
