package schema

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// validation is a constraint that has to be validated.
type validation struct {
	entry  *dump.Entry
	after  *Statement // that adds it, nil if it is there
	weight int64
}

// createCheck plans a foreign key or check constraint. On a table with rows it
// is added NOT VALID, which needs its lock for a moment only, and validated by
// a statement of its own, under a lock that lets readers and writers pass.
func (b *builder) createCheck(e *dump.Entry) {
	k, known := b.source.Constraints[e.OID]
	weight := b.destination.Sizes[k.Table].Bytes
	if !known || weight == 0 || !k.Validated || !notValidAllowed(k) {
		s := b.statement(e, b.text(e))
		s.Weight = weight
		b.add(e, s)
		return
	}
	s := b.add(e, b.statement(e, notValid(e.Definition)))
	b.validate = append(b.validate, validation{entry: e, after: s, weight: weight})
}

// notValidAllowed tells whether a constraint can be added NOT VALID: a foreign
// key of a partitioned table cannot before PostgreSQL 18.
func notValidAllowed(k catalog.Constraint) bool { return k.Type != 'f' || k.Relkind == 'r' }

// notValid puts NOT VALID at the end of pg_dump's ALTER TABLE … ADD CONSTRAINT,
// which is one statement and ends with its only unquoted semicolon.
func notValid(definition string) string {
	return strings.TrimSuffix(strings.TrimSpace(definition), ";") + " NOT VALID;"
}

// unvalidated handles a constraint that an earlier run has added NOT VALID: it
// exists, what is missing is its VALIDATE.
func (b *builder) unvalidated(e, other *dump.Entry) bool {
	if !isNotValidOf(e, other) {
		return false
	}
	b.existed(e)
	b.needsValidation(e)
	return true
}

func isNotValidOf(e, other *dump.Entry) bool {
	return (e.Kind == dump.KindForeignKey || e.Kind == dump.KindCheckConstraint) &&
		notValid(e.Definition) == strings.TrimSpace(other.Definition)
}

func (b *builder) needsValidation(e *dump.Entry) {
	k := b.source.Constraints[e.OID]
	b.validate = append(b.validate, validation{entry: e, weight: b.destination.Sizes[k.Table].Bytes})
}

// validations plans the VALIDATEs of this phase. In the cutover phase these
// are those of constraints that earlier phases have left NOT VALID.
func (b *builder) validations() {
	if b.opts.Phase == dump.Cutover {
		b.leftNotValid()
	}
	for _, v := range b.validate {
		k := b.source.Constraints[v.entry.OID]
		s := b.statement(v.entry, fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s;",
			qualified(k.Table.Schema, k.Table.Name), dump.QuoteIdent(k.Name)))
		s.Kind, s.Lock, s.Weight = KindValidate, ShareUpdateExclusive, v.weight
		s.Locks = []RelationLock{{Relation: k.Table, Mode: ShareUpdateExclusive}}
		if k.References.Name != "" {
			s.Locks = append(s.Locks, RelationLock{Relation: k.References, Mode: RowShare})
		}
		b.add(nil, s)
		if v.after != nil {
			s.Requires = append(s.Requires, v.after.Ordinal)
		}
	}
}

func (b *builder) leftNotValid() {
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		other := b.pairs.Of(e)
		if other != nil && b.inScope(e) && b.phases[e.DumpID] < dump.Cutover && isNotValidOf(e, other) {
			b.needsValidation(e)
		}
	}
}

// refreshes plans the filling of materialized views that hold their contents on
// the source and not yet here, each after those it reads.
func (b *builder) refreshes() {
	refresh := map[int]*Statement{} // dump id of the view → its REFRESH
	b.refreshed = map[catalog.Name]bool{}
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		name := catalog.Name{Schema: e.Namespace, Name: e.Tag}
		if e.Kind != dump.KindMaterializedView || !b.inScope(e) || !b.source.Populated[name] || b.destination.Sizes[name].Populated {
			continue
		}
		s := b.statement(e, "REFRESH MATERIALIZED VIEW "+qualified(e.Namespace, e.Tag)+";")
		s.Kind, s.Lock = KindRefresh, AccessExclusive
		s.Locks = []RelationLock{{Relation: name, Mode: AccessExclusive}}
		b.add(nil, s)
		if created, ok := b.last[e.DumpID]; ok {
			s.Requires = append(s.Requires, created)
		}
		for id := range b.ancestors(e) {
			if first := refresh[id]; first != nil {
				s.Requires = append(s.Requires, first.Ordinal)
			}
		}
		// Its cost is that of the query behind it, which nobody knows: take it
		// for the size it has on the source.
		s.Weight = max(1, b.destination.Sizes[name].Bytes)
		refresh[e.DumpID] = s
		b.refreshed[name] = true
	}
}

// ancestors gives the dump ids of everything e depends on, through any number
// of steps.
func (b *builder) ancestors(e *dump.Entry) map[int]bool {
	seen := map[int]bool{}
	queue := append([]int(nil), e.Dependencies...)
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if d := b.byID[id]; d != nil && !seen[id] {
			seen[id] = true
			queue = append(queue, d.Dependencies...)
		}
	}
	return seen
}

// analyzes plans ANALYZE for every table that holds rows: without statistics
// the first queries after a switch would scan.
func (b *builder) analyzes() {
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		name := catalog.Name{Schema: e.Namespace, Name: e.Tag}
		size := b.destination.Sizes[name]
		if (e.Kind != dump.KindTable && e.Kind != dump.KindMaterializedView) || !b.inScope(e) || (size.Bytes == 0 && !b.refreshed[name]) {
			continue
		}
		s := b.statement(e, "ANALYZE "+qualified(e.Namespace, e.Tag)+";")
		s.Kind, s.Lock, s.Weight = KindAnalyze, ShareUpdateExclusive, max(1, size.Bytes/64) // it samples
		s.Locks = []RelationLock{{Relation: name, Mode: ShareUpdateExclusive}}
		s.Requires = b.statementsOn(name)
		b.add(nil, s)
	}
}

// statementsOn gives the ordinals of what this plan does to a relation:
// expression indexes and extended statistics must exist before ANALYZE.
func (b *builder) statementsOn(name catalog.Name) []int {
	if b.onTable == nil {
		b.onTable = map[catalog.Name][]int{}
		for _, s := range b.plan.Statements {
			for _, lock := range s.Locks[:min(1, len(s.Locks))] {
				b.onTable[lock.Relation] = append(b.onTable[lock.Relation], s.Ordinal)
			}
		}
	}
	return b.onTable[name]
}
