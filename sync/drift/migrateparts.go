package drift

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func (p *plan) silenceTrigger(d *TableDifference) {
	t := d.target.(*catalog.TriggerDescription)
	word := map[string]string{"A": "ALWAYS", "R": "REPLICA"}[t.Enabled]
	p.add(Step{SQL: p.alter("ENABLE TRIGGER %s", dump.QuoteIdent(t.Name)), Inverse: p.alter("ENABLE %s TRIGGER %s", word, dump.QuoteIdent(t.Name)), Lock: ShareRowExclusive})
}

func (p *plan) silenceRule(d *TableDifference) {
	t := d.target.(*catalog.RuleDescription)
	word := map[string]string{"A": "ALWAYS", "R": "REPLICA"}[t.Enabled]
	p.add(Step{SQL: p.alter("ENABLE RULE %s", dump.QuoteIdent(t.Name)), Inverse: p.alter("ENABLE %s RULE %s", word, dump.QuoteIdent(t.Name)), Lock: AccessExclusive})
}

// createTrigger makes a trigger of the source, such that it does not fire for
// rows of the stream.
func (p *plan) createTrigger(d *TableDifference) {
	s := d.source.(*catalog.TriggerDescription)
	if s.Inherited && p.k.Destination.Partition != nil {
		return
	}
	name := dump.QuoteIdent(s.Name)
	drop := fmt.Sprintf("DROP TRIGGER %s ON %s", name, quoteName(d.Destination))
	if d.target != nil {
		p.add(Step{SQL: drop, Inverse: d.target.(*catalog.TriggerDescription).Definition, Lock: AccessExclusive})
	}
	// The texts with and without the table's name part where that begins.
	i := 0
	for i < len(s.Rest) && i < len(s.Definition) && s.Rest[i] == s.Definition[i] {
		i++
	}
	p.add(Step{SQL: p.k.sql.rename(s.Definition[:i]) + quoteName(d.Destination) + " " + p.k.sql.rename(s.Rest[i:]), Inverse: drop, Lock: ShareRowExclusive})
	if s.Enabled == "D" {
		p.add(Step{SQL: p.alter("DISABLE TRIGGER %s", name), Lock: ShareRowExclusive})
	}
}

func (p *plan) alterSequence(d *TableDifference) {
	s := d.source.(*catalog.SequenceDescription)
	t, _ := d.target.(*catalog.SequenceDescription)
	if t == nil {
		return // made with the default that uses it
	}
	alter := func(target *catalog.SequenceDescription) string {
		as := ""
		if s.Type != t.Type && strings.HasPrefix(d.SourceHas, "AS ") {
			as = "AS " + target.Type + " "
		}
		if t.Identity { // its type is the column's
			return p.alter("ALTER COLUMN %s SET %s", p.target(s.Column), strings.NewReplacer(" NO MINVALUE", " SET NO MINVALUE", " NO MAXVALUE", " SET NO MAXVALUE", " MINVALUE", " SET MINVALUE", " MAXVALUE", " SET MAXVALUE", " START", " SET START", " CACHE", " SET CACHE",
				" NO CYCLE", " SET NO CYCLE", " CYCLE", " SET CYCLE").Replace(sequenceText(target)))
		}
		return fmt.Sprintf("ALTER SEQUENCE %s %s%s", quoteName(t.Sequence), as, sequenceText(target))
	}
	lock := NoLock
	if t.Identity {
		lock = AccessExclusive
	}
	p.add(Step{SQL: alter(s), Inverse: alter(t), Lock: lock})
}

func (p *plan) setLogged(*TableDifference) {
	p.add(Step{SQL: p.alter("SET LOGGED"), Inverse: p.alter("SET UNLOGGED"), Lock: AccessExclusive, Rewrites: true, Indexes: indexesOf(p.k.Destination, "", true)})
}

// attachPartition makes a partition beside its parent and attaches it, which
// locks less than CREATE TABLE … PARTITION OF.
func (p *plan) attachPartition(d *TableDifference) {
	s := d.source.(*catalog.PartitionDescription)
	if s.Relkind != "r" {
		return // itself partitioned: its key is not known here
	}
	name := quoteName(p.k.Mapping.Table(s.Table))
	p.add(Step{SQL: fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (LIKE %s INCLUDING ALL EXCLUDING IDENTITY)", name, quoteName(d.Destination)), Inverse: "DROP TABLE " + name, Lock: AccessShare})
	p.add(Step{SQL: p.alter("ATTACH PARTITION %s %s", name, s.Bound), Inverse: p.alter("DETACH PARTITION %s", name), Lock: ShareUpdateExclusive})
}

// detachPartition takes a partition out of the table and keeps it. Rows can be
// written meanwhile, unless there is a default partition, which CONCURRENTLY
// does not go with.
func (p *plan) detachPartition(d *TableDifference) {
	t := d.target.(*catalog.PartitionDescription)
	step := Step{SQL: p.alter("DETACH PARTITION %s", quoteName(t.Table)), Inverse: p.alter("ATTACH PARTITION %s %s", quoteName(t.Table), t.Bound), Lock: AccessExclusive}
	if p.k.Destination.Server >= 140000 && !hasDefault(p.k.Destination) {
		step.SQL, step.Lock, step.Alone = step.SQL+" CONCURRENTLY", ShareUpdateExclusive, true
	}
	p.add(step)
}

func (p *plan) dropTable(d *TableDifference) {
	p.add(Step{SQL: "DROP TABLE " + quoteName(d.Destination), Lock: AccessExclusive, Lossy: true})
}

// appearance makes alike what can be without a thought of roles and disks.
func (p *plan) appearance(d *TableDifference) {
	s, t := p.k.Source, p.k.Destination
	comment := func(object, text string) string {
		if text == "" {
			return fmt.Sprintf("COMMENT ON %s IS NULL", object)
		}
		return fmt.Sprintf("COMMENT ON %s IS %s", object, dump.QuoteLiteral(text))
	}
	switch d.Object {
	case "comment":
		object := "TABLE " + quoteName(d.Destination)
		if d.Column != "" {
			object = "COLUMN " + quoteName(d.Destination) + "." + p.column(d)
		}
		p.add(Step{SQL: comment(object, d.SourceHas), Inverse: comment(object, d.TargetHas), Lock: ShareUpdateExclusive})
	case "options":
		p.options("", s.Options, t.Options)
	case "forced row level security":
		words := map[bool]string{true: "FORCE", false: "NO FORCE"}
		p.add(Step{SQL: p.alter("%s ROW LEVEL SECURITY", words[s.ForceRowSecurity]), Inverse: p.alter("%s ROW LEVEL SECURITY", words[t.ForceRowSecurity]), Lock: AccessExclusive})
	}
}
