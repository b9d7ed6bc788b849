package drift

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Migrate plans the statements that bring a destination's table to its
// source's, each with the weakest lock there is for it. Differences that need
// none, or that no statement resolves, have no step. Steps that wait for a new
// copy of the table (After) come last.
func Migrate(differences []TableDifference, policy Policy) []Step {
	p := &plan{policy: policy, rebuilt: map[string]bool{}}
	p.dropComputed(differences)
	for i := range differences {
		d := &differences[i]
		if fix, ok := fixes[d.Kind]; ok && d.comparison != nil {
			p.difference = d
			p.k = d.comparison
			fix(p, d)
		}
	}
	p.addComputed()
	p.renames()
	slices.SortStableFunc(p.steps, func(a, b Step) int {
		if a.After == b.After {
			return 0
		}
		if b.After {
			return -1
		}
		return 1
	})
	return p.steps
}

// plan collects steps.
type plan struct {
	policy     Policy
	difference *TableDifference
	k          *comparer
	steps      []Step
	renamed    []*TableDifference
	// rebuilt are columns of the destination that are computed from ones whose
	// types change: they are dropped before and added again afterwards.
	rebuilt map[string]bool
	// computed adds columns that are computed from others, behind all else.
	computed []func()
}

// fixes has what is done about a kind of difference.
var fixes map[Kind]func(*plan, *TableDifference)

func init() {
	fixes = map[Kind]func(*plan, *TableDifference){
		AddedNull: (*plan).addColumn, AddedConstant: (*plan).addColumn, AddedVolatile: (*plan).addColumn, AddedIdentity: (*plan).addColumn,
		AddedGenerated: (*plan).addColumn, AddedNotNull: (*plan).addColumn, AddedDomain: (*plan).addColumn,
		ExtraRequired: (*plan).dropNotNull, RemovedColumn: (*plan).removeColumn, RemovedRequired: (*plan).removeColumn,
		RenamedColumn: func(p *plan, d *TableDifference) { p.renamed = append(p.renamed, d) },
		TypeWarn:      (*plan).alterType, TypeUnsafe: (*plan).alterType, CollationDiffers: (*plan).alterCollation, CollationOfKey: (*plan).alterCollation,
		GeneratedDiffers: (*plan).regenerate, GeneratedSource: (*plan).regenerate, GeneratedDestination: (*plan).dropExpression,
		IdentityDiffers: (*plan).alterIdentity, DefaultDiffers: (*plan).alterDefault,
		NotNullDestination: (*plan).dropNotNull, NotNullSource: (*plan).notNull, ColumnStorage: (*plan).alterStorage,
		EnumLabelEnd: (*plan).addLabel, EnumLabelMiddle: (*plan).addLabel, EnumLabelRenamed: (*plan).renameLabel,
		DomainStricter: (*plan).loosenDomain, DomainLooser: (*plan).tightenDomain,
		PrimaryKeyDiffers: (*plan).primaryKey, PrimaryKeyMissing: (*plan).primaryKey,
		UniqueDestination: (*plan).dropIndex, UniqueSource: (*plan).createUnique,
		ExclusionOfOne: (*plan).dropConstraint, ExclusionSource: (*plan).addConstraint, CheckDestination: (*plan).dropConstraint,
		CheckSource: (*plan).addConstraint, ForeignKeyMissing: (*plan).addConstraint, ConstraintAttribute: (*plan).validateConstraint,
		IndexMissing: (*plan).createIndex, IndexInvalid: (*plan).rebuildIndex, IdentityIndex: (*plan).replicaIdentity,
		TriggerFires: (*plan).silenceTrigger, TriggerMissing: (*plan).createTrigger, RuleFires: (*plan).silenceRule,
		SequenceDiffers: (*plan).alterSequence, UnloggedThere: (*plan).setLogged, PartitionMissing: (*plan).attachPartition,
		PartitionGone: (*plan).detachPartition, TableDropped: (*plan).dropTable, Appearance: (*plan).appearance,
	}
}

// add completes a step with what it is for.
func (p *plan) add(s Step) {
	s.Table, s.Kind, s.Column = p.difference.Destination, p.difference.Kind, p.difference.Column
	if s.Why == "" {
		s.Why = p.difference.Reason
	}
	p.steps = append(p.steps, s)
}

// alter begins ALTER TABLE of the destination's table.
func (p *plan) alter(format string, args ...any) string {
	return "ALTER TABLE " + quoteName(p.difference.Destination) + " " + fmt.Sprintf(format, args...)
}

// alterColumn is alter for what a partition or child cannot have otherwise than
// its parent: the columns it inherits.
func (p *plan) alterColumn(inherited bool, format string, args ...any) string {
	table := p.difference.Destination
	if d := p.k.Destination; inherited && d.Partition != nil && d.Partition.Root != nil {
		table = *d.Partition.Root
	} else if inherited && len(d.Inherits) == 1 {
		table = d.Inherits[0]
	}
	return "ALTER TABLE " + quoteName(table) + " " + fmt.Sprintf(format, args...)
}

// inherited tells whether the destination's column is its parent's.
func inherited(d *TableDifference) bool {
	c, ok := d.target.(*catalog.ColumnDescription)
	return ok && c != nil && c.Inherited
}

// target is a source column's name at the destination, quoted.
func (p *plan) target(source string) string {
	if name, copied := p.k.Mapping.Column(source); copied {
		return dump.QuoteIdent(name)
	}
	return dump.QuoteIdent(source)
}

// column is the column a difference is about, quoted, as it is called at the
// destination once renames are done.
func (p *plan) column(d *TableDifference) string {
	if c, ok := d.source.(*catalog.ColumnDescription); ok && c != nil {
		return p.target(c.Name)
	}
	return dump.QuoteIdent(d.target.(*catalog.ColumnDescription).Name)
}

// targets is target for several columns, unquoted.
func (p *plan) targets(source []string) []string {
	out := make([]string, len(source))
	for i, c := range source {
		out[i] = c
		if name, copied := p.k.Mapping.Column(c); copied {
			out[i] = name
		}
	}
	return out
}

// typeText is the type of a source's column as the destination names it.
func (p *plan) typeText(c *catalog.ColumnDescription) string {
	text := c.TypeText
	if c.Type.Schema != "pg_catalog" && p.k.object(c.Type) != c.Type {
		text = texts{schemas: p.k.sql.schemas}.rename(text)
	}
	return text
}

// collate is the COLLATE clause of a source's column.
func (p *plan) collate(c *catalog.ColumnDescription) string {
	if c.Collation == nil || *c.Collation == (catalog.Name{Schema: "pg_catalog", Name: "default"}) {
		return ""
	}
	return " COLLATE " + quoteName(p.k.object(*c.Collation))
}

func (p *plan) partitioned() bool {
	return p.k.Destination != nil && p.k.Destination.Relkind == "p"
}

// addColumn adds a column so that old rows hold what the source's hold.
func (p *plan) addColumn(d *TableDifference) {
	c := d.source.(*catalog.ColumnDescription)
	name := p.target(c.Name)
	ofParent := c.Inherited && (p.k.Destination.Partition != nil || len(p.k.Destination.Inherits) == 1)
	drop := p.alterColumn(ofParent, "DROP COLUMN %s", name)
	unlessThere := ""
	if ofParent { // another partition may have had it added
		unlessThere = "IF NOT EXISTS "
	}
	add := p.alterColumn(ofParent, "ADD COLUMN %s%s %s%s", unlessThere, name, p.typeText(c), p.collate(c))
	notNull := ""
	if c.NotNull {
		notNull = " NOT NULL"
	}
	if c.Generated != "" && p.k.sql.needsGone(c.Default) {
		return // the destination cannot compute it
	}
	expression := p.k.sql.rename(c.Default)
	switch d.Kind {
	case AddedGenerated:
		stored := c.Generated != "v"
		// What it is computed from has to be there, with its type.
		step := Step{SQL: add + " " + p.k.sql.rename(generatedText(c)) + notNull, Inverse: drop, Lock: AccessExclusive, Rewrites: stored}
		p.computed = append(p.computed, func() {
			p.difference, p.k = d, d.comparison
			p.add(step)
		})
	case AddedConstant:
		value := "DEFAULT " + expression
		if c.HasMissing {
			value = "DEFAULT " + dump.QuoteLiteral(c.Missing)
		}
		p.add(Step{SQL: add + " " + value + notNull, Inverse: drop, Lock: AccessExclusive})
		if c.HasMissing {
			p.setDefault(name, expression, Step{Why: "the default of new rows"})
		}
	case AddedDomain:
		if c.Default != "" {
			add += " DEFAULT " + expression
		}
		p.add(Step{SQL: add + notNull, Inverse: drop, Lock: AccessExclusive, Rewrites: true, Resync: c.DefaultVolatility == "v"})
	case AddedNull:
		p.add(Step{SQL: add, Inverse: drop, Lock: AccessExclusive})
	default: // values that only a copy brings
		p.add(Step{SQL: add, Inverse: drop, Lock: AccessExclusive, Resync: true})
		if c.NotNull {
			p.setNotNull(c, true)
		}
		switch sequence := p.k.ownedSequence(p.k.Source, c.Name); {
		case c.Identity != "":
			p.add(Step{SQL: p.alter("ALTER COLUMN %s ADD %s%s", name, identityText(c), sequenceOptions(sequence)), Inverse: p.alter("ALTER COLUMN %s DROP IDENTITY", name), Lock: AccessExclusive, After: true})
		case sequence != nil && strings.HasPrefix(c.Default, "nextval("):
			p.ownSequence(sequence, name, true)
		case c.Default != "":
			p.setDefault(name, expression, Step{Why: "the default of new rows"})
		}
	}
}

// setDefault adds the step that gives a column a default, or takes it.
func (p *plan) setDefault(name, expression string, s Step) {
	s.SQL, s.Lock = p.alter("ALTER COLUMN %s DROP DEFAULT", name), AccessExclusive
	if expression != "" {
		s.SQL = p.alter("ALTER COLUMN %s SET DEFAULT %s", name, expression)
	}
	p.add(s)
}

// setNotNull adds the steps that make a column NOT NULL without reading the
// table under a lock that excludes writers: a validated check proves it.
func (p *plan) setNotNull(c *catalog.ColumnDescription, after bool) {
	name, check := p.target(c.Name), dump.QuoteIdent(fmt.Sprintf("pgdrover_not_null_%d", c.Number))
	drop := p.alter("DROP CONSTRAINT %s", check)
	for _, s := range []Step{
		{SQL: p.alter("ADD CONSTRAINT %s CHECK (%s IS NOT NULL) NOT VALID", check, name), Inverse: drop, Lock: AccessExclusive, Why: "the check holds for new rows"},
		{SQL: p.alter("VALIDATE CONSTRAINT %s", check), Lock: ShareUpdateExclusive, Scans: true, Why: "the check is proved for old rows, while they can be written"},
		{SQL: p.alter("ALTER COLUMN %s SET NOT NULL", name), Inverse: p.alter("ALTER COLUMN %s DROP NOT NULL", name), Lock: AccessExclusive, Why: "proved by the check, without reading the table"},
		{SQL: drop, Lock: AccessExclusive, Why: "the check has done its work"},
	} {
		s.After = after
		p.add(s)
	}
}

func sequenceOptions(s *catalog.SequenceDescription) string {
	if s == nil {
		return ""
	}
	return " (" + sequenceText(s) + ")"
}

// sequenceText is how a sequence counts, without its type: bounds that are the
// type's own are left to it.
func sequenceText(s *catalog.SequenceDescription) string {
	cycle := "NO CYCLE"
	if s.Cycle {
		cycle = "CYCLE"
	}
	lowest, highest := int64(1), largest[s.Type]
	if s.Increment < 0 {
		lowest, highest = -largest[s.Type]-1, -1
	}
	minimum, maximum := fmt.Sprintf("MINVALUE %d", s.Min), fmt.Sprintf("MAXVALUE %d", s.Max)
	if s.Min == lowest {
		minimum = "NO MINVALUE"
	}
	if s.Max == highest {
		maximum = "NO MAXVALUE"
	}
	return fmt.Sprintf("INCREMENT BY %d %s %s START WITH %d CACHE %d %s", s.Increment, minimum, maximum, s.Start, s.Cache, cycle)
}

// largest has the largest value of the types of sequences.
var largest = map[string]int64{"smallint": math.MaxInt16, "integer": math.MaxInt32, "bigint": math.MaxInt64}

// ownSequence makes the sequence of a serial column, which has to be in its
// table's schema.
func (p *plan) ownSequence(s *catalog.SequenceDescription, column string, after bool) {
	name := quoteName(catalog.Name{Schema: p.difference.Destination.Schema, Name: p.freeName(s.Sequence.Name)})
	p.add(Step{SQL: fmt.Sprintf("CREATE SEQUENCE %s AS %s %s OWNED BY %s.%s", name, s.Type, sequenceText(s), quoteName(p.difference.Destination), column),
		Inverse: "DROP SEQUENCE " + name, Lock: AccessShare, After: after})
	p.setDefault(column, "nextval("+dump.QuoteLiteral(name)+"::regclass)", Step{After: after, Why: "new rows are numbered by the sequence"})
}

func (p *plan) dropNotNull(d *TableDifference) {
	c := d.target.(*catalog.ColumnDescription)
	if c.NotNull {
		name := p.column(d)
		p.add(Step{SQL: p.alterColumn(inherited(d), "ALTER COLUMN %s DROP NOT NULL", name), Inverse: p.alterColumn(inherited(d), "ALTER COLUMN %s SET NOT NULL", name), Lock: AccessExclusive})
	}
}

// removeColumn does what the policy says of a column the source has dropped;
// without a word it makes the destination like the source.
func (p *plan) removeColumn(d *TableDifference) {
	c := d.target.(*catalog.ColumnDescription)
	switch p.policy.removed(c.Name) {
	case removedPreserve:
		if d.Kind == RemovedRequired { // a default is a value too
			p.dropNotNull(d)
		}
	case removedNull:
		p.dropNotNull(d)
		if c.Default != "" && c.Generated == "" {
			p.add(Step{SQL: p.alterColumn(inherited(d), "ALTER COLUMN %s DROP DEFAULT", p.column(d)), Inverse: p.alterColumn(inherited(d), "ALTER COLUMN %s SET DEFAULT %s", p.column(d), c.Default),
				Lock: AccessExclusive, Why: "new rows have NULL in it"})
		}
	default:
		p.add(Step{SQL: p.alterColumn(c.Inherited, "DROP COLUMN IF EXISTS %s", dump.QuoteIdent(c.Name)), Lock: AccessExclusive, Lossy: true, Why: "the source has no such column any more"})
	}
}

// renames orders the renames so that every name is free when it is given; of
// names that are exchanged one waits under a third.
func (p *plan) renames() {
	left := p.renamed
	taken := map[string]bool{}
	for _, d := range left {
		taken[d.TargetHas] = true
	}
	rename := func(d *TableDifference, from, to string) {
		p.difference, p.k = d, d.comparison
		p.add(Step{SQL: p.alterColumn(inherited(d), "RENAME COLUMN %s TO %s", dump.QuoteIdent(from), dump.QuoteIdent(to)), Inverse: p.alterColumn(inherited(d), "RENAME COLUMN %s TO %s", dump.QuoteIdent(to), dump.QuoteIdent(from)), Lock: AccessExclusive})
	}
	var renames []Step
	last := p.steps
	p.steps = nil
	for _, d := range left {
		if taken[d.SourceHas] || d.comparison.Destination.Column(d.SourceHas) == nil {
			continue
		}
		// A column that the source has dropped has the name here: it goes first, or
		// is kept under another one.
		ofColumn := func(s Step) bool {
			return s.Column == d.SourceHas && (s.Kind == RemovedColumn || s.Kind == RemovedRequired)
		}
		dropped := false
		for _, s := range last {
			if ofColumn(s) {
				p.steps = append(p.steps, s)
				dropped = dropped || s.Lossy
			}
		}
		last = slices.DeleteFunc(slices.Clone(last), ofColumn)
		if !dropped {
			rename(d, d.SourceHas, fmt.Sprintf("pgdrover_%d_%.40s", d.source.(*catalog.ColumnDescription).Number, d.SourceHas))
		}
	}
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(d *TableDifference) bool { return !taken[d.SourceHas] })
		if i < 0 {
			waits := *left[0]
			rename(&waits, waits.TargetHas, fmt.Sprintf("pgdrover_renamed_%d", waits.source.(*catalog.ColumnDescription).Number))
			delete(taken, waits.TargetHas)
			waits.TargetHas = fmt.Sprintf("pgdrover_renamed_%d", waits.source.(*catalog.ColumnDescription).Number)
			left = append(slices.Clone(left[1:]), &waits)
			continue
		}
		rename(left[i], left[i].TargetHas, left[i].SourceHas)
		delete(taken, left[i].TargetHas)
		left = slices.Delete(slices.Clone(left), i, i+1)
	}
	renames = p.steps
	p.steps = append(renames, last...) // other steps speak of the new names
}
