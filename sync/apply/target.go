package apply

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/shard"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Target is how the changes of one shape of one source relation are applied. It
// is never changed; any number of goroutines may use it.
type Target struct {
	Source *stream.Relation
	Table  catalog.Name // at the destination
	From   stream.LSN   // the gate: changes of transactions with a FinalLSN below are left out

	// Until is where somebody else's part begins: changes of transactions with a
	// FinalLSN from it on are left out; 0 for none.
	Until stream.LSN

	only     string // "ONLY " unless the destination is partitioned
	name     string // quoted
	columns  []column
	names    []string // what the destination calls them, "" for one that it does not have
	kept     []int    // positions in a tuple of what the destination has
	casting  bool     // values are cast at the destination: COPY cannot do that
	identity []int    // positions in a tuple that tell rows apart; empty for every column
	mode     mode
	extras   []string // quoted names of the destination's own columns, which an UPDATE must keep
	guarded  bool     // an INSERT has to look whether the row is there
	watched  bool     // it has a column of identity ALWAYS that is no part of the identity
	key      *shard.Key
	keyAt    int // the sharding column's position in a tuple
	shared   bool
}

// mode is how changes of a table are brought together.
type mode byte

const (
	folded  mode = iota // by the key: one statement for many rows
	runs                // rows without key: INSERTs together, the others one by one
	ordered             // one by one: the key is not known to be unique
)

// TargetOptions are the parts of NewTarget that are no shapes.
type TargetOptions struct {
	From  stream.LSN // where the table's copy was made; 0 for everything
	Until stream.LSN // where it is stopped, of one that is: see Target.Until
	Key   *shard.Key // nil if every shard has all rows
	// SameTypes says that there is one destination, or that types made by users
	// and extensions have the same OIDs in all of them.
	SameTypes bool
	// Shared says that the table's rows come from other shards of the source too:
	// a TRUNCATE of one of them, which would empty it, stops it.
	Shared bool
	// Casts are the destination's types by columns of the source, for those whose
	// values the destination's type does not take as they are.
	Casts map[string]string
	// Mapping says what is not the same at the destination; nil if everything is.
	// Key goes by the destination's names.
	Mapping *mapping.Table
}

// NewTarget joins a shape of a source relation with its destination. The error
// says how they do not fit, and what would make them.
func NewTarget(source *stream.Relation, sourceTypes catalog.Types, destination *catalog.Relation, destinationTypes catalog.Types, options TargetOptions) (*Target, *pgerror.Error) {
	t := &Target{
		Source: source, Table: destination.Table, From: options.From, Until: options.Until, key: options.Key, keyAt: -1, shared: options.Shared,
		name: dump.QuoteIdent(destination.Table.Schema) + "." + dump.QuoteIdent(destination.Table.Name),
	}
	switch destination.Relkind {
	case 'r':
		t.only = "ONLY "
	case 'p':
	default:
		return nil, pgerror.New(wrongObjectType, "%s is not a table at the destination", t.name)
	}
	if err := t.addColumns(sourceTypes, destination, destinationTypes, options); err != nil {
		return nil, err
	}
	if err := t.checkOthers(destination); err != nil {
		return nil, err
	}
	if err := t.setIdentity(destination); err != nil {
		return nil, err
	}
	if err := t.setKey(); err != nil {
		return nil, err
	}
	return t, nil
}

// SQLSTATE codes of shapes that do not fit; the names are those of errcodes.txt.
const (
	wrongObjectType   = "42809"
	undefinedColumn   = "42703"
	datatypeMismatch  = "42804"
	notNullViolation  = "23502"
	invalidTableShape = "42P16"
	limitExceeded     = "54000"
)

func (t *Target) addColumns(sourceTypes catalog.Types, destination *catalog.Relation, destinationTypes catalog.Types, options TargetOptions) *pgerror.Error {
	if err := t.setNames(options.Mapping); err != nil {
		return err
	}
	t.columns = make([]column, len(t.Source.Columns))
	for i, from := range t.Source.Columns {
		if t.names[i] == "" {
			t.columns[i] = column{name: dump.QuoteIdent(from.Name), skip: true}
			continue
		}
		t.kept = append(t.kept, i)
		name, at := dump.QuoteIdent(t.names[i]), destination.Position(t.names[i])
		if at < 0 {
			return pgerror.New(undefinedColumn, "column %s of %s does not exist at the destination", name, t.name).
				WithDetail("The source has it as %s.", typeText(sourceTypes, from.Type, from.Modifier)).
				WithHint("ALTER TABLE %s ADD COLUMN %s %s;", t.name, name, typeText(sourceTypes, from.Type, from.Modifier))
		}
		to := destination.Columns[at]
		if to.Generated != 0 {
			return pgerror.New(invalidTableShape, "column %s of %s is generated at the destination, but the source sends its values", name, t.name).
				WithHint("ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", t.name, name)
		}
		if m, _ := options.Mapping.Column(from.Name); m.Cast != "" {
			if err := t.castColumn(i, m.Cast, sourceTypes, destinationTypes, to, options.SameTypes); err != nil {
				return err
			}
			continue
		}
		c, why := newColumn(sourceTypes, from, destinationTypes, to, options.SameTypes)
		if cast := options.Casts[from.Name]; why != "" && cast != "" {
			if err := t.castColumn(i, cast, sourceTypes, destinationTypes, to, options.SameTypes); err == nil {
				continue
			}
		}
		if why != "" {
			return pgerror.New(datatypeMismatch, "column %s of %s differs in type: %s", name, t.name, why).
				WithDetail("The source has %s, the destination %s.", typeText(sourceTypes, from.Type, from.Modifier), to.TypeText).
				WithHint("ALTER TABLE %s ALTER COLUMN %s TYPE %s%s;", t.name, name, typeText(sourceTypes, from.Type, from.Modifier), using(sourceTypes, from, destinationTypes, to, name))
		}
		t.columns[i] = c
	}
	return nil
}

// setNames finds what the destination calls the columns.
func (t *Target) setNames(m *mapping.Table) *pgerror.Error {
	t.names = make([]string, len(t.Source.Columns))
	for i, c := range t.Source.Columns {
		t.names[i] = c.Name
	}
	if m.SameColumns() {
		return nil
	}
	if _, err := m.Columns(t.names); err != nil {
		return err
	}
	for i, name := range t.names {
		c, carried := m.Column(name)
		t.names[i] = ""
		if carried {
			t.names[i] = c.Destination
		}
	}
	return nil
}

// castColumn sets a column that the mapping casts.
func (t *Target) castColumn(i int, declared string, sourceTypes, destinationTypes catalog.Types, to catalog.Column, sameTypes bool) *pgerror.Error {
	c, why := newCastColumn(declared, sourceTypes, t.Source.Columns[i].Type, destinationTypes, to, sameTypes)
	if why != "" {
		return pgerror.New(datatypeMismatch, "column %s of %s cannot be cast: %s", dump.QuoteIdent(to.Name), t.name, why).
			WithDetail("The source has %s, the destination %s.", typeText(sourceTypes, t.Source.Columns[i].Type, t.Source.Columns[i].Modifier), to.TypeText).
			WithHint("correct cast_columns of [[mirrors.tables]] schema = %q, name = %q, or the type: ALTER TABLE %s ALTER COLUMN %s TYPE ...;",
				t.Source.Schema, t.Source.Name, t.name, dump.QuoteIdent(to.Name))
	}
	t.columns[i] = c
	t.casting = t.casting || c.cast != ""
	return nil
}

// checkOthers looks at the columns that the source does not send.
func (t *Target) checkOthers(destination *catalog.Relation) *pgerror.Error {
	for _, c := range destination.Columns {
		if slices.Contains(t.names, c.Name) || c.Generated != 0 {
			continue
		}
		if c.NotNull && !c.HasDefault && c.Identity == 0 {
			return pgerror.New(notNullViolation, "column %s of %s gets no values: the source does not send it", dump.QuoteIdent(c.Name), t.name).
				WithDetail("It is NOT NULL and has no default.").
				WithHint("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL;", t.name, dump.QuoteIdent(c.Name))
		}
		t.extras = append(t.extras, dump.QuoteIdent(c.Name))
	}
	return nil
}

// setIdentity decides how rows are told apart, and with that the mode.
func (t *Target) setIdentity(destination *catalog.Relation) *pgerror.Error {
	if t.Source.Identity == 'f' {
		t.mode = runs
		for _, key := range destination.Keys {
			if at := t.positions(destination, key); at != nil && !key.Deferrable {
				t.identity, t.mode = at, folded
				break
			}
		}
		return t.markIdentity()
	}
	for i, c := range t.Source.Columns {
		if c.Key {
			t.identity = append(t.identity, i)
		}
	}
	if err := t.markIdentity(); err != nil {
		return err
	}
	if len(t.identity) == 0 { // only INSERTs can come
		t.mode = runs
		return nil
	}
	t.mode = ordered
	usable := false
	for _, key := range destination.Keys {
		at := t.positions(destination, key)
		inside := at != nil && !slices.ContainsFunc(at, func(i int) bool { return !slices.Contains(t.identity, i) })
		if inside && !key.Deferrable {
			t.mode = folded
			return nil
		}
		around := !slices.ContainsFunc(t.identity, func(i int) bool { return !slices.Contains(t.all(destination, key), i) })
		usable = usable || inside || around
	}
	if usable {
		t.guarded = true
		return nil
	}
	names := make([]string, len(t.identity))
	for i, at := range t.identity {
		names[i] = t.columns[at].name
	}
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s has no key at the destination that tells the source's rows apart", t.name).
		WithDetail("The replica identity of the source has the columns %s.", strings.Join(names, ", ")).
		WithHint("ALTER TABLE %s ADD PRIMARY KEY (%s);", t.name, strings.Join(names, ", "))
}

// positions gives where the columns of a destination's key are in a tuple, nil
// if the source does not send all of them.
func (t *Target) positions(destination *catalog.Relation, key catalog.Key) []int {
	at := t.all(destination, key)
	if slices.Contains(at, -1) {
		return nil
	}
	slices.Sort(at)
	return at
}

func (t *Target) all(destination *catalog.Relation, key catalog.Key) []int {
	at := make([]int, len(key.Columns))
	for i, column := range key.Columns {
		at[i] = slices.Index(t.names, destination.Columns[column].Name)
	}
	return at
}

func (t *Target) markIdentity() *pgerror.Error {
	for _, i := range t.identity {
		c := &t.columns[i]
		c.identity = true
		switch {
		case c.skip:
			return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "column %s of %s is excluded, but it is part of the replica identity", c.name, t.quotedSource()).
				WithHint("remove it from exclude_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Schema, t.Source.Name)
		case c.merges:
			return pgerror.New(datatypeMismatch, "column %s of %s cannot be cast: it tells rows apart, and the cast could make two values one", c.name, t.name).
				WithHint("remove it from cast_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Schema, t.Source.Name)
		}
	}
	for i := range t.columns {
		t.watched = t.watched || (t.columns[i].always && !t.columns[i].identity)
	}
	return nil
}

// setKey finds the sharding column. An UPDATE may move a row to another shard;
// the shard it leaves is known by the old key alone.
func (t *Target) setKey() *pgerror.Error {
	if t.key == nil {
		return nil
	}
	if _, constant := t.key.Constant(); constant {
		return nil
	}
	t.keyAt = slices.Index(t.names, t.key.Column)
	source := dump.QuoteIdent(t.Source.Schema) + "." + dump.QuoteIdent(t.Source.Name)
	if t.keyAt < 0 {
		return pgerror.New(undefinedColumn, "the source does not send the sharding column %s of %s", dump.QuoteIdent(t.key.Column), source).
			WithHint("the publication's column list must have it, and the mirror's mapping must not exclude it")
	}
	if c := &t.columns[t.keyAt]; c.cast != "" || c.merges {
		return pgerror.New(datatypeMismatch, "column %s of %s cannot be cast: it is the sharding key, whose shard is found from the value that the source has", c.name, t.name).
			WithHint("remove it from cast_columns of [[mirrors.tables]] schema = %q, name = %q", t.Source.Schema, t.Source.Name)
	}
	if len(t.identity) > 0 && t.Source.Identity != 'f' && !t.columns[t.keyAt].identity {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the sharding column %s of %s is not part of the replica identity", dump.QuoteIdent(t.key.Column), source).
			WithDetail("Where the old version of a changed row is cannot be known without it.").
			WithHint("On the source: ALTER TABLE %s REPLICA IDENTITY FULL; or REPLICA IDENTITY USING INDEX with a unique index that has the column.", source)
	}
	return nil
}

// String names the target as messages do.
func (t *Target) String() string { return fmt.Sprintf("%s.%s", t.Source.Schema, t.Source.Name) }

// sourceName is what the mirror calls the table.
func (t *Target) sourceName() catalog.Name {
	return catalog.Name{Schema: t.Source.Schema, Name: t.Source.Name}
}

// quotedSource is sourceName as SQL has it.
func (t *Target) quotedSource() string {
	return dump.QuoteIdent(t.Source.Schema) + "." + dump.QuoteIdent(t.Source.Name)
}

// full tells whether a row is found by all of its values.
func (t *Target) full() bool { return t.mode == runs }
