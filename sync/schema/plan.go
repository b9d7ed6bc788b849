package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
)

// PlanOptions say what a plan is to contain.
type PlanOptions struct {
	Phase          dump.Phase
	NoOwner        bool
	NoPrivileges   bool
	Concurrently   string // "auto", "always", "never"
	SequenceMargin int64  // values left out ahead of the source's last_value
	WidenKeys      bool
	OnlyPublished  bool                             // scope = "publication"
	Canonical      func(*dump.Entry) (string, bool) // see drift.Rules
	KeysAfterRows  bool                             // see Source.Phases
	Gate           *Gate                            // tables that are being filled while the plan runs
	Without        Without                          // what the destination is meant not to have
}

// Plan is what one shard lacks in one phase.
type Plan struct {
	Phase      dump.Phase
	Shard      int
	Statements []*Statement
	Left       []string // what scope = "publication" leaves out although a published table has it
}

// Drift lists the statements whose object exists and differs.
func (p *Plan) Drift() []*Statement {
	var out []*Statement
	for _, s := range p.Statements {
		if s.Outcome == Differs {
			out = append(out, s)
		}
	}
	return out
}

// Build plans a phase for one shard: each entry of the phase that the shard
// lacks becomes statements, each that it has is compared. It is pure.
func Build(source *Source, destination *Destination, opts PlanOptions) (*Plan, error) {
	phases, err := source.Phases(opts.KeysAfterRows)
	if err != nil {
		return nil, err
	}
	b := &builder{
		source: source, destination: destination, opts: opts, phases: phases,
		rules: Rules(source, destination.Shards, opts),
		plan:  &Plan{Phase: opts.Phase, Shard: destination.Server.Shard},
		left:  opts.Without.of(source.Archive.Entries),
		last:  map[int]int{},
		byID:  make(map[int]*dump.Entry, len(source.Archive.Entries)),
	}
	for i := range source.Archive.Entries {
		e := &source.Archive.Entries[i]
		b.byID[e.DumpID] = e
	}
	if opts.OnlyPublished {
		if err := source.publishes(); err != nil {
			return nil, err
		}
		b.scope, b.plan.Left = source.published(b.byID)
	}
	b.pairs = drift.Pair(source.Archive.Entries, destination.Archive.Entries)
	b.findLate()
	b.entries()
	switch opts.Phase {
	case dump.PostData:
		b.validations()
		b.refreshes()
		b.analyzes()
	case dump.Cutover:
		b.validations()
		b.sequences()
	case dump.PostCutover:
		b.reverse()
	}
	b.lateEntries()
	return b.plan, nil
}

// Rules are the rules by which the source's entries and a destination's are
// compared.
func Rules(source *Source, shards int, opts PlanOptions) drift.Rules {
	return drift.Rules{
		IgnoreOwner: opts.NoOwner, IgnorePrivileges: opts.NoPrivileges,
		Canonical: opts.Canonical, Expect: expectation(source, shards, opts),
	}
}

// builder makes a plan.
type builder struct {
	source      *Source
	destination *Destination
	opts        PlanOptions
	phases      map[int]dump.Phase
	rules       drift.Rules
	pairs       drift.Pairs
	scope       map[int]bool // dump ids, nil for the whole database
	left        map[int]bool // dump ids that the destination is meant not to have
	byID        map[int]*dump.Entry
	plan        *Plan
	late        map[int]bool
	last        map[int]int // dump id → ordinal of the entry's last statement
	validate    []validation
	refreshed   map[catalog.Name]bool  // materialized views that the plan fills
	onTable     map[catalog.Name][]int // made by statementsOn
}

// entries plans the entries of the phase in the archive's order, but for those
// that act on what is made after them.
func (b *builder) entries() {
	b.each(func(e *dump.Entry) {
		if !b.late[e.DumpID] {
			b.entry(e)
		}
	})
}

// lateEntries plans default privileges and event triggers, and what belongs to
// them, each after everything else: they act on what is made while they exist.
func (b *builder) lateEntries() {
	b.each(func(e *dump.Entry) {
		if b.late[e.DumpID] {
			from := len(b.plan.Statements)
			b.entry(e)
			for _, s := range b.plan.Statements[from:] {
				s.Barrier = true
			}
		}
	})
}

// bytes is how much a table holds, or will hold when its statements run.
func (b *builder) bytes(table catalog.Name) int64 {
	return max(b.destination.Sizes[table].Bytes, b.opts.Gate.weight(table))
}

// each calls plan for the entries of this phase that are in scope.
func (b *builder) each(plan func(*dump.Entry)) {
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		if b.phases[e.DumpID] == b.opts.Phase && b.rules.Compared(e) && b.inScope(e) {
			plan(e)
		}
	}
}

// findLate marks the entries that have to come last in their phase.
func (b *builder) findLate() {
	b.late = map[int]bool{}
	for i := range b.source.Archive.Entries {
		e := &b.source.Archive.Entries[i]
		late := e.Kind == dump.KindDefaultACL || e.Kind == dump.KindEventTrigger
		for _, dependency := range e.Dependencies {
			late = late || b.late[dependency]
		}
		if late {
			b.late[e.DumpID] = true
		}
	}
}

func (b *builder) inScope(e *dump.Entry) bool {
	return (b.scope == nil || b.scope[e.DumpID]) && !b.left[e.DumpID]
}

// entry plans one entry: to be created, existing, or differing.
func (b *builder) entry(e *dump.Entry) {
	other := b.pairs.Of(e)
	if other == nil {
		b.create(e)
		return
	}
	what := b.rules.Equal(e, other)
	text := slices.Equal(what, []drift.What{drift.Definition})
	switch {
	case len(what) == 0:
		b.existed(e)
	case text && (b.unvalidated(e, other) || b.unfinished(e, other)):
		// What is missing of it was planned.
	case untouched(e, other, what):
		b.create(e)
	default:
		b.differs(e, other, what)
	}
}

// untouched tells whether what the shard has is what initdb gave every
// database, so that the source's own takes its place: the schema public and
// its comment.
func untouched(e, other *dump.Entry, what []drift.What) bool {
	switch {
	case e.Kind == dump.KindSchema && e.Tag == "public":
		return slices.Equal(what, []drift.What{drift.Owner})
	case e.Kind == dump.KindComment:
		return strings.HasSuffix(strings.TrimSpace(other.Definition), "IS 'standard public schema';")
	}
	return false
}

// create plans the statements of an entry that the shard lacks.
func (b *builder) create(e *dump.Entry) {
	switch e.Kind {
	case dump.KindIndex:
		b.createIndex(e)
		return
	case dump.KindConstraint:
		b.createConstraint(e)
		return
	case dump.KindForeignKey, dump.KindCheckConstraint:
		b.createCheck(e)
		return
	}
	s := b.statement(e, b.text(e))
	// The table of contents does not tell every dependency of what comes before
	// the rows (a grant on an extension's function needs its schema): pg_restore
	// runs these one after another too. Keys are made by createConstraint. Two
	// sessions that create tables side by side were measured to be slower than
	// one: each has to take in what the other does to the catalogs.
	s.Serial = b.opts.Phase == dump.PreData && e.Kind != dump.KindIndexAttach
	b.add(e, s)
}

// existed records that the shard has the entry's object, and that it is equal.
func (b *builder) existed(e *dump.Entry) {
	s := b.statement(e, b.text(e))
	s.Outcome = Existed
	b.add(e, s)
}

// differs records drift.
func (b *builder) differs(e, other *dump.Entry, what []drift.What) {
	s := b.statement(e, b.text(e))
	s.Outcome = Differs
	s.Err = driftError(e, other, what, b.source, b.destination)
	b.add(e, s)
}

func driftError(e, other *dump.Entry, what []drift.What, source *Source, destination *Destination) *pgerror.Error {
	words := make([]string, len(what))
	var detail strings.Builder
	for i, w := range what {
		words[i] = strings.ReplaceAll(string(w), "_", " ")
		here, there := shownSide(e, w), shownSide(other, w)
		fmt.Fprintf(&detail, "%s on the source: %s\n%s on the destination: %s\n", words[i], here, words[i], there)
	}
	return pgerror.New(pgerror.DuplicateObject, "%s %s exists on %q shard %d and differs in its %s",
		strings.ToLower(string(e.Kind)), quoteTag(e), destination.Server.Cluster, destination.Server.Shard, strings.Join(words, ", ")).
		WithDetail("%s", strings.TrimSpace(detail.String())).
		WithHint("SHOW SCHEMA_DIFF %s %s; tells every difference. Change or drop the object on the destination and run the phase again, or leave it as it is: SCHEMA_SYNC with IGNORE ERRORS, COPY_DATA with SKIP SCHEMA",
			dump.QuoteIdent(source.Server.Cluster), dump.QuoteIdent(destination.Server.Cluster))
}

func shownSide(e *dump.Entry, what drift.What) string {
	switch what {
	case drift.Owner:
		return e.Owner
	case drift.Tablespace:
		return e.Tablespace
	case drift.AccessMethod:
		return e.AccessMethod
	}
	return strings.TrimSpace(e.Display())
}

// quoteTag names an entry's object in a message.
func quoteTag(e *dump.Entry) string {
	if e.Namespace == "" {
		return fmt.Sprintf("%q", e.Tag)
	}
	return fmt.Sprintf("%q in schema %q", e.Tag, e.Namespace)
}

// statement makes the statement of an entry, without an ordinal.
func (b *builder) statement(e *dump.Entry, sql string) *Statement {
	table := b.tableOf(e)
	s := &Statement{
		Phase: b.opts.Phase, Shard: b.destination.Server.Shard, Kind: string(e.Kind),
		Schema: e.Namespace, Table: table.Name, Object: e.Tag, SQL: sql, Display: sql,
		Lock: lockOf(e),
	}
	if shown := e.Display(); shown != e.Definition {
		s.Display = strings.Replace(sql, strings.TrimSpace(e.Definition), strings.TrimSpace(shown), 1)
	}
	if s.Lock != NoLock && table.Name != "" {
		s.Locks = []RelationLock{{Relation: table, Mode: s.Lock}}
	}
	if to := b.source.Constraints[e.OID].References; e.Kind == dump.KindForeignKey && to.Name != "" {
		s.Locks = append(s.Locks, RelationLock{Relation: to, Mode: s.Lock})
	}
	return s
}

// add gives s its place, and what has to be done before it.
func (b *builder) add(e *dump.Entry, s *Statement) *Statement {
	s.Ordinal = len(b.plan.Statements) + 1
	s.AfterSerial = b.opts.Phase == dump.PreData && !s.Serial
	if e != nil {
		for _, dependency := range e.Dependencies {
			if ordinal, ok := b.last[dependency]; ok {
				s.Requires = append(s.Requires, ordinal)
			}
		}
		b.last[e.DumpID] = s.Ordinal
	}
	for _, lock := range s.Locks {
		filled := b.destination.Sizes[lock.Relation].Bytes > 0 && b.opts.Gate.weight(lock.Relation) == 0
		s.Alone = s.Alone || filled && lock.Mode.Conflicts(RowExclusive)
	}
	b.plan.Statements = append(b.plan.Statements, s)
	return s
}

// text is what pg_restore would run for an entry: its definition with the
// settings it was made under, then its owner.
func (b *builder) text(e *dump.Entry) string {
	var sql strings.Builder
	after := b.settings(e, &sql)
	sql.WriteString(strings.TrimSpace(e.Definition))
	sql.WriteString(after)
	if method, ok := e.AccessMethodSQL(); ok {
		sql.WriteString("\n\n" + method + ";")
	}
	if widen := b.widening(e); widen != "" {
		sql.WriteString("\n\n" + widen)
	}
	if owner := b.owner(e); owner != "" {
		sql.WriteString("\n\n" + owner)
	}
	return sql.String()
}

// settings writes the SET commands that a definition leaves to the session and
// returns those that undo them.
func (b *builder) settings(e *dump.Entry, sql *strings.Builder) (after string) {
	if e.Tablespace != "" {
		fmt.Fprintf(sql, "SET default_tablespace = %s;\n", dump.QuoteIdent(e.Tablespace))
		after += "\nSET default_tablespace = '';"
	}
	if e.AccessMethod != "" && e.AccessMethod != "heap" && e.Relkind != 'p' {
		fmt.Fprintf(sql, "SET default_table_access_method = %s;\n", dump.QuoteIdent(e.AccessMethod))
		after += "\nSET default_table_access_method = heap;"
	}
	return after
}

// owner is the ALTER … OWNER TO of an entry. What the schema admin makes
// belongs to it already; only what pg_dump writes as a comment in place of a
// CREATE (the schema public) was made by somebody else.
func (b *builder) owner(e *dump.Entry) string {
	sql, ok := e.OwnerSQL()
	made := !strings.HasPrefix(e.Definition, "--")
	if !ok || b.opts.NoOwner || (made && e.Owner == b.destination.Facts.User) {
		return ""
	}
	return sql + ";"
}

// tableOf is the table that an entry belongs to, or is.
func (b *builder) tableOf(e *dump.Entry) catalog.Name {
	switch e.Kind {
	case dump.KindTable, dump.KindForeignTable, dump.KindView, dump.KindMaterializedView, dump.KindTableAttach:
		return catalog.Name{Schema: e.Namespace, Name: e.Tag}
	case dump.KindIndex:
		return b.source.Indexes[e.OID].Table
	case dump.KindConstraint, dump.KindForeignKey, dump.KindCheckConstraint:
		return b.source.Constraints[e.OID].Table
	}
	for _, id := range e.Dependencies {
		switch d := b.byID[id]; {
		case d == nil:
		case d.Kind == dump.KindTable, d.Kind == dump.KindForeignTable, d.Kind == dump.KindView, d.Kind == dump.KindMaterializedView:
			return catalog.Name{Schema: d.Namespace, Name: d.Tag}
		}
	}
	return catalog.Name{}
}

// lockOf is the strongest lock that creating an entry takes on the table it
// belongs to (manual, Explicit Locking; AlterTableGetLockLevel in tablecmds.c).
// What is new cannot be locked by anybody else.
func lockOf(e *dump.Entry) LockMode {
	switch e.Kind {
	case dump.KindIndex:
		return Share
	case dump.KindForeignKey, dump.KindTrigger:
		return ShareRowExclusive
	case dump.KindConstraint, dump.KindCheckConstraint, dump.KindRule, dump.KindPolicy, dump.KindRowSecurity,
		dump.KindDefault, dump.KindTableAttach:
		return AccessExclusive
	case dump.KindStatistics, dump.KindIndexAttach, dump.KindPublicationTable, dump.KindComment,
		dump.KindACL, dump.KindSecurityLabel, dump.KindSequenceOwnedBy:
		return ShareUpdateExclusive
	case dump.KindSequence:
		if strings.HasPrefix(e.Definition, "ALTER TABLE") { // ADD GENERATED … AS IDENTITY
			return AccessExclusive
		}
	}
	return NoLock
}

// qualified quotes a schema-qualified name.
func qualified(schema, name string) string {
	if schema == "" {
		return dump.QuoteIdent(name)
	}
	return dump.QuoteIdent(schema) + "." + dump.QuoteIdent(name)
}
