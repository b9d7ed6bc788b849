package ddl

import "slices"

// Verdict is what a change means for the rows of the destination.
type Verdict string

// The verdicts, from the lightest to the heaviest. Of several changes of one
// table the heaviest counts, after the statements of all of them.
const (
	// Metadata: rows go on as before; what is recorded of the table changes.
	Metadata Verdict = "metadata"
	// Apply: the destination runs the statements at this position, and goes on.
	Apply Verdict = "apply"
	// Keep: nothing comes for the table any more; the destination keeps it.
	Keep Verdict = "keep"
	// Copy: a table is to be copied for the first time, from a slot of its own.
	Copy Verdict = "copy"
	// Resync: the statements are run, then the rows are copied again: what they
	// hold now was not in the stream.
	Resync Verdict = "resync"
	// Poll: what has changed has to be read from the catalogs; until then the
	// table waits.
	Poll Verdict = "poll"
	// Stop: somebody has to decide.
	Stop Verdict = "stop"
)

var verdicts = []Verdict{Metadata, Apply, Keep, Copy, Resync, Poll, Stop}

// Heavier gives the heavier of two verdicts.
func (v Verdict) Heavier(other Verdict) Verdict {
	if slices.Index(verdicts, other) > slices.Index(verdicts, v) {
		return other
	}
	return v
}

// Rule is one row of the table of verdicts.
type Rule struct {
	Kind ChangeKind
	// When narrows it down; nil for always. The first rule that fits counts.
	When    func(*Change) bool
	Verdict Verdict
	Reason  string
}

// Rules are the verdicts. They rest on one fact: at the position of a change the
// rows of the destination are those of the source before it.
var Rules = []Rule{
	{TypeCreated, nil, Apply, "columns may have it from here on"},
	{TypeRenamed, nil, Apply, "it is the same type"},
	{TypeAltered, nil, Apply, "no table that is followed uses it"},
	{EnumLabelAdded, nil, Apply, "rows may hold the label from here on; at its place, or the order of values would be another one"},
	{EnumLabelRenamed, nil, Apply, "rows are sent with the new label from here on"},
	{EnumLabelsUnclear, nil, Stop, "labels were renamed so that which became which, or what rows in between mean, cannot be told"},
	{CompositeAltered, compositeRetyped, Stop, "the server alters the type of an attribute only where no column uses it; the destination may use it"},
	{CompositeAltered, nil, Apply, "values have other attributes from here on, older ones NULL in those that were added"},
	{DomainAltered, nil, Apply, "the source has checked its rows, and the destination has the same"},

	{TableDropped, nil, Keep, "the source's table is gone; its rows here may be all that is left"},
	{TableRecreated, nil, Copy, "it is another table with the same name; the old one stays until the copy is complete"},
	{TableCreated, func(c *Change) bool { return len(c.After.Publications) == 0 }, Metadata, "it is not published"},
	{TableCreated, nil, Copy, "rows that it had before it was published are not in the stream"},
	{TableRewritten, nil, Resync, "ALTER COLUMN … TYPE … USING may have given every row other values, and a rewrite is not in the stream"},
	{RowsUnclear, nil, Resync, "rows that came in between may hold values of either column"},
	{TableUnclear, nil, Poll, "it was altered, and there is no image of it"},

	{ColumnAdded, added(OldNull), Apply, "older rows hold NULL on both sides"},
	{ColumnAdded, added(OldConstant), Apply, "older rows hold one value, which the catalog tells, whatever the default gives now"},
	{ColumnAdded, added(OldComputed), Apply, "the same expression gives the same values"},
	{ColumnAdded, nil, Resync, "each older row has got a value of its own by a rewrite, which is not in the stream"},
	{ColumnDropped, nil, Apply, "nothing comes for the column any more; unless told otherwise the destination keeps it and its values"},
	{ColumnRenamed, nil, Apply, "it is the same attribute number: the same column"},
	{ColumnRetyped, func(c *Change) bool { return !c.Rewritten }, Apply, "the table was not rewritten: the values are what they were"},
	{ColumnRetyped, func(c *Change) bool { return c.Plain && sameEverywhere(c) }, Apply, "the same conversion of the same values, without USING, gives the same"},
	{ColumnRetyped, nil, Resync, "the table was rewritten, perhaps by USING or by a conversion that depends on settings, and a rewrite is not in the stream"},
	{ColumnDefault, nil, Apply, "rows come with their values; the default counts after a cutover"},
	{ColumnNotNull, nil, Apply, "the source has checked its rows, and the destination has the same"},
	{ColumnIdentity, nil, Apply, "rows come with their values; identity counts after a cutover"},
	{ColumnGenerated, nil, Apply, "the same expression gives the same values"},

	{IndexDropped, nil, Apply, "a unique index that the source no longer has would refuse its rows"},
	{ConstraintDropped, nil, Apply, "a constraint that the source no longer has would refuse its rows"},
	{IndexRenamed, nil, Apply, "it is the same index"},
	{ConstraintRenamed, nil, Apply, "it is the same constraint"},
	{IndexCreated, nil, Apply, "the source has built it over the same rows"},
	{PrimaryKeyChanged, nil, Apply, "the rows are the same, so the key that is unique there is unique here; without one the source refuses UPDATE and DELETE itself"},
	{ConstraintAdded, nil, Apply, "the source has checked its rows, and the destination has the same"},
	{ConstraintAltered, nil, Apply, "rows stay as they are"},
	{IdentityChanged, func(c *Change) bool { return len(c.After.IdentityColumns()) == 0 }, Metadata, "only inserts come: the source refuses UPDATE and DELETE itself"},
	{IdentityChanged, nil, Apply, "rows stay as they are; by what they are found is told with each of them"},
	{PersistenceChanged, func(c *Change) bool { return c.After.Persistence != "p" }, Stop, "an unlogged table writes no log: its changes can no longer be followed"},
	{PersistenceChanged, nil, Resync, "what was written while the table was unlogged is not in the stream"},

	{PartitionAttached, nil, Apply, "the rows are the same before and after"},
	{PartitionDetached, viaRoot, Stop, "its rows leave the partitioned table without a DELETE in the stream"},
	{PartitionDetached, nil, Apply, "the rows are the same before and after"},

	{Published, nil, Resync, "what was written before it was published is not in the stream"},
	{Unpublished, nil, Keep, "its changes are no longer in the stream"},
	{PublishedOperations, losesOperations, Stop, "some kinds of changes are no longer in the stream, and no copy could make up for it"},
	{PublishedOperations, nil, Resync, "changes of the kinds that were not published are missing"},
	{PublishedFilter, nil, Resync, "which rows are published has changed, and the stream does not tell which came or went by that"},
	{PublishedColumns, widensColumns, Resync, "the values that older rows hold in columns that are published only now were not in the stream"},
	{PublishedColumns, nil, Stop, "some columns are no longer published: their values here would stay as they are for ever"},
	{PublishedViaRoot, nil, Resync, "rows are published under another table's name from here on"},
	{PublicationRenamed, nil, Stop, "the stream asks for it by its old name"},
	{PublicationDropped, nil, Stop, "nothing is published any more"},
	{PublicationUnreadable, nil, Poll, "it was altered, and there is no image of it"},

	{TableMoved, nil, Apply, "it is the same OID: the same table"},
	{TableRenamed, nil, Apply, "it is the same OID: the same table"},
	{EverythingUnclear, nil, Poll, "something was altered that the event triggers could not tell"},
}

func added(old OldRows) func(*Change) bool {
	return func(c *Change) bool { return c.Old == old }
}

// Judge tells what a change means, and why.
func Judge(c *Change) (Verdict, string) {
	for i := range Rules {
		if r := &Rules[i]; r.Kind == c.Kind && (r.When == nil || r.When(c)) {
			return r.Verdict, r.Reason
		}
	}
	return Stop, "nothing is known of such a change"
}

// viaRoot tells whether the rows of the partition are published as its root's.
func viaRoot(c *Change) bool {
	for _, p := range c.Before.Publications {
		if p.ViaRoot {
			return true
		}
	}
	return false
}

func losesOperations(c *Change) bool {
	b, a := byPublication(c.Before)[c.Object], byPublication(c.After)[c.Object]
	return len(b) > 0 && len(a) > 0 && operations(b[0])&^operations(a[0]) != 0
}

// widensColumns tells whether nothing is left out that was published before.
func widensColumns(c *Change) bool {
	now := publishedColumns(c.After, byPublication(c.After)[c.Object])
	for _, name := range publishedColumns(c.Before, byPublication(c.Before)[c.Object]) {
		column := c.Before.Column(name)
		if to := c.After.ColumnNumbered(column.Number); to != nil && !slices.Contains(now, to.Name) {
			return false
		}
	}
	return true
}

// compositeRetyped tells whether an attribute has another type.
func compositeRetyped(c *Change) bool {
	for _, f := range c.Type.Fields {
		for _, b := range c.FromType.Fields {
			if b.Name == f.Name && b.TypeText != f.TypeText {
				return true
			}
		}
	}
	return false
}
