package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Way is one way out of a stop.
type Way struct {
	Number      int      `json:"number"` // from 1
	Text        string   `json:"text"`   // what it does, and what it costs
	Recommended bool     `json:"recommended,omitempty"`
	SQL         []string `json:"sql,omitempty"`      // to be run there by hand, instead of the commands that say so
	Then        []string `json:"then,omitempty"`     // commands that are needed behind SQL
	On          string   `json:"on,omitempty"`       // where: "source" or "destination"
	Commands    []string `json:"commands,omitempty"` // of the admin database, in order
	Flag        string   `json:"flag,omitempty"`     // of the command line, for the same
	Lossy       bool     `json:"lossy,omitempty"`    // values are lost or changed
}

// ways lists the ways out of a judgement's stops.
func ways(j *Judgement, p Policy) []Way {
	w := &wayList{judgement: j, policy: p, mirror: quoteIfNeeded(p.Mirror), table: commandName(j.Table)}
	var stops []TableDifference
	for _, x := range j.Differences {
		if x.Final.Stops() || x.Final == Apply {
			stops = append(stops, x.TableDifference)
		}
	}
	if j.Approval {
		w.add(Way{Text: "let the planned statements run", SQL: sqlOf(j.Steps), On: "destination", Commands: []string{fmt.Sprintf("APPROVE %s %s", w.mirror, w.table)}, Lossy: lossy(j.Steps)})
	}
	w.migrate(stops)
	w.onSource(stops)
	w.again(stops)
	w.hatches(stops)
	if j.Would != Apply && !j.Approval { // who recommends loses nothing
		slices.SortStableFunc(w.ways, func(a, b Way) int { return boolInt(a.Lossy) - boolInt(b.Lossy) })
	}
	for i := range w.ways {
		w.ways[i].Number, w.ways[i].Recommended = i+1, i == 0
	}
	return w.ways
}

type wayList struct {
	judgement     *Judgement
	policy        Policy
	mirror, table string
	ways          []Way
}

func (w *wayList) add(way Way) { w.ways = append(w.ways, way) }

func (w *wayList) resync() string { return fmt.Sprintf("RESYNC %s %s", w.mirror, w.table) }
func (w *wayList) retry() string  { return "RETRY MIRROR " + w.mirror }

// alterMirror is the command that changes an option of the mirror for columns.
func (w *wayList) alterMirror(option string, columns []string) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = w.table + "." + quoteIfNeeded(c)
	}
	return fmt.Sprintf("ALTER MIRROR %s WITH (%s = %s)", w.mirror, option, dump.QuoteLiteral(strings.Join(names, ", ")))
}

func sqlOf(steps []Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.SQL+";")
	}
	return out
}

func lossy(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Lossy })
}

// migrate is the way of altering the destination, which is the recommended one
// wherever statements resolve every stop.
func (w *wayList) migrate(stops []TableDifference) {
	steps := Migrate(stops, w.policy)
	if len(steps) == 0 {
		return
	}
	way := Way{Text: "alter the destination to match the source", SQL: sqlOf(steps), On: "destination", Lossy: lossy(steps)}
	sync := fmt.Sprintf("SYNC_SCHEMA %s %s", w.mirror, w.table)
	if way.Lossy {
		sync += " FORCE"
		way.Text += "; values that the destination has are lost or changed"
	}
	way.Commands = []string{sync}
	if slices.ContainsFunc(steps, func(s Step) bool { return s.Resync }) {
		// What waits for the copy is refused before it: NOT NULL of a column that is empty.
		way.SQL, way.Then = sqlOf(slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.After })), []string{w.resync()}
		way.Text += ", and copy the table again for the values that are not in the stream"
	}
	if slices.ContainsFunc(steps, func(s Step) bool { return s.Rewrites }) {
		way.Text += "; a statement writes the table anew under ACCESS EXCLUSIVE"
	}
	w.add(way)
}

// onSource are the ways that begin at the source.
func (w *wayList) onSource(stops []TableDifference) {
	for i := range stops {
		d := &stops[i]
		switch d.Kind {
		case NotPublished:
			w.add(Way{Text: "add the table to the publication; its rows are copied then", On: "source",
				SQL: []string{fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", dump.QuoteIdent(d.Object), quoteName(d.Table))}, Commands: []string{w.resync()}})
		case UnloggedSource:
			w.add(Way{Text: "write the table to the WAL from now on; it is copied then", On: "source", SQL: []string{fmt.Sprintf("ALTER TABLE %s SET LOGGED;", quoteName(d.Table))}, Commands: []string{w.resync()}})
		case GeneratedSource:
			if d.comparison != nil && d.comparison.Source.Server >= 180000 && d.comparison.Publication != "" {
				w.add(Way{Text: "have the source publish what it computes", On: "source",
					SQL: []string{fmt.Sprintf("ALTER PUBLICATION %s SET (publish_generated_columns = stored);", dump.QuoteIdent(d.comparison.Publication))}, Commands: []string{w.resync()}})
			}
		case TypeDefinition, EncodingOfDatabase, IdentityNotCopied, RelationKind, SourceShards:
			w.add(Way{Text: advice[d.Kind], Commands: []string{fmt.Sprintf("SHOW SCHEMA_DIFF %s %s", w.mirror, w.table), w.retry()}})
		}
	}
}

// advice is for differences that no statement resolves.
var advice = map[Kind]string{
	TypeDefinition:     "give the type the same definition on both sides, by hand, then go on",
	EncodingOfDatabase: "mirror into a database with the encoding UTF8",
	IdentityNotCopied:  "let the mapping copy the columns that tell rows apart, or give the source another replica identity",
	SourceShards:       "make the table the same on every shard of the source, by hand, then go on",
	RelationKind:       "publish with publish_via_partition_root, or make the destination's table of the same kind",
}

// again is the way of copying the table anew.
func (w *wayList) again(stops []TableDifference) {
	for i := range stops {
		switch stops[i].Kind {
		case PublicationChanged, TableRecreated, ColumnRecreated:
			w.add(Way{Text: "copy the table again; the other tables go on", Commands: []string{w.resync()}})
			return
		case TableMissing:
			w.add(Way{Text: "create the table at the destination and copy it", Commands: []string{fmt.Sprintf("SYNC_SCHEMA %s %s", w.mirror, w.table)}})
			return
		}
	}
}

// hatches are the ways of going on with a difference, the dangerous ones last.
func (w *wayList) hatches(stops []TableDifference) {
	columns := func(kinds ...Kind) []string {
		var out []string
		for i := range stops {
			if slices.Contains(kinds, stops[i].Kind) {
				out = append(out, stops[i].Column)
			}
		}
		return out
	}
	flag := func(name string, columns []string, suffix func(string) string) string {
		names := make([]string, len(columns))
		for i, c := range columns {
			names[i] = w.table + "." + quoteIfNeeded(c) + suffix(c)
		}
		return "--" + name + "=" + strings.Join(names, ",")
	}
	none := func(string) string { return "" }
	if list := columns(AddedNull, AddedConstant, AddedVolatile, AddedIdentity, AddedGenerated, AddedNotNull, AddedDomain); len(list) > 0 {
		w.add(Way{Text: "go on without the column: its values are not at the destination, and a column added later needs a new copy of the table", Commands: []string{w.alterMirror("skip_columns", list), w.retry()},
			Flag: flag("skip-columns", list, none), Lossy: true})
	}
	if list := columns(RemovedColumn, RemovedRequired); len(list) > 0 {
		w.add(Way{Text: "keep the column with the values it has; new rows get NULL or its default", Commands: []string{w.alterMirror("preserve_columns", list), w.retry()}, Flag: flag("preserve-columns", list, none)})
		w.add(Way{Text: "keep the column, NULL in every row that is new from now on", Commands: []string{w.alterMirror("null_columns", list), w.retry()}, Flag: flag("null-removed-columns", list, none), Lossy: true})
	}
	if list := columns(ExtraColumn); len(list) > 0 {
		w.add(Way{Text: "allow columns that only the destination has", Commands: []string{fmt.Sprintf("ALTER MIRROR %s WITH (allow_schema_drift = (target_superset))", w.mirror), w.retry()}, Flag: "--allow-schema-drift=" + TargetSuperset})
	}
	if list := columns(TypeSafe, TypeWarn, TypeUnsafe); len(list) > 0 {
		types := map[string]string{}
		for i := range stops {
			types[stops[i].Column] = ":" + stops[i].TargetHas
		}
		w.add(Way{Text: "cast the values to the destination's type, whatever is lost; a value that it refuses stops the table again", Commands: []string{w.alterMirror("allow_type_casts", list), w.retry()},
			Flag: flag("allow-type-cast", list, func(c string) string { return types[c] }), Lossy: !slices.ContainsFunc(stops, func(d TableDifference) bool { return d.Kind == TypeSafe })})
	}
	for i := range stops {
		if stops[i].Kind == PartitionGone {
			w.add(Way{Text: "drop the partition with its rows at the destination too, by hand, then go on", On: "destination", SQL: []string{fmt.Sprintf("DROP TABLE %s;", partitionName(&stops[i]))}, Commands: []string{w.retry()}, Lossy: true})
		}
		if stops[i].Kind == TableDropped {
			w.add(Way{Text: "keep the destination's table and take it out of the mirror", Commands: []string{fmt.Sprintf("ALTER MIRROR %s DROP TABLE %s", w.mirror, w.table)}})
		}
	}
	if len(w.ways) == 0 {
		w.add(Way{Text: "resolve it by hand, then go on", Commands: []string{fmt.Sprintf("SHOW SCHEMA_DIFF %s %s", w.mirror, w.table), w.retry()}})
	}
}

// partitionName is the partition that a difference is about, for SQL.
func partitionName(d *TableDifference) string {
	if p, ok := d.target.(*catalog.PartitionDescription); ok {
		return quoteName(p.Table)
	}
	return d.Object
}

// commandName is a table's name for the admin database's grammar.
func commandName(n catalog.Name) string { return quoteIfNeeded(n.Schema) + "." + quoteIfNeeded(n.Name) }

// quoteIfNeeded leaves plain lower-case names as they are.
func quoteIfNeeded(name string) string {
	for i, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return dump.QuoteIdent(name)
		}
	}
	if name == "" {
		return dump.QuoteIdent(name)
	}
	return name
}

// Sides tells a difference with both definitions, in one line.
func (d *TableDifference) Sides() string {
	about := d.Column
	switch {
	case about == "":
		about = d.Object
	case d.Object != "":
		about += " (" + d.Object + ")"
	}
	if about == "" {
		about = d.Table.String()
	}
	return fmt.Sprintf("%s, %s: the source has %s, the destination has %s: %s", d.Kind, about, orNothing(d.SourceHas), orNothing(d.TargetHas), d.Reason)
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

// copied is the way with the command that copies the table again at its end, for
// a table whose changes are not kept.
func (j *Judgement) copied(w Way) Way {
	if len(w.Commands) == 0 || slices.ContainsFunc(w.Commands, func(c string) bool {
		return strings.HasPrefix(c, "RESYNC ") || strings.HasPrefix(c, "APPROVE ") || strings.Contains(c, " DROP TABLE ")
	}) {
		return w
	}
	mirror := quoteIfNeeded(j.Mirror)
	w.Commands = append(slices.Clone(w.Commands), fmt.Sprintf("RESYNC %s %s", mirror, commandName(j.Table)))
	return w
}

// CopyAgain gives the ways out of a table whose changes are not kept: each ends
// with its copy.
func (j *Judgement) CopyAgain() []Way {
	out := make([]Way, len(j.Ways))
	for i, w := range j.Ways {
		out[i] = j.copied(w)
	}
	return out
}

// WaysText writes the ways out as an operator reads them, one per line, the
// recommended one first. With again each ends with a new copy of the table.
func (j *Judgement) WaysText(again string) string {
	ways := j.Ways
	if again != "" {
		ways = j.CopyAgain()
	}
	lines := make([]string, len(ways))
	for i, w := range ways {
		lines[i] = w.String()
	}
	return strings.Join(lines, "\n")
}

// String writes a way on one line: what it does, its commands, and the SQL that
// does it by hand.
func (w Way) String() string {
	text := fmt.Sprintf("%d. ", w.Number)
	if w.Recommended {
		text += "(recommended) "
	}
	text += w.Text
	var how []string
	for _, c := range w.Commands {
		how = append(how, c+";")
	}
	if len(w.SQL) > 0 {
		where := "destination"
		if w.On != "" {
			where = w.On
		}
		by := "by hand, on the " + where + ": " + strings.Join(w.SQL, " ")
		for _, c := range w.Then {
			by += " then " + c + ";"
		}
		if w.On == "source" || len(how) == 0 {
			how = append([]string{by}, how...)
		} else {
			how = append(how, "or "+by)
		}
	}
	if len(how) > 0 {
		text += ": " + strings.Join(how, " ")
	}
	return text
}
