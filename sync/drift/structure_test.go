package drift

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func preserve(columns ...string) config.ColumnDrift {
	return config.ColumnDrift{PreserveColumns: columns}
}

// shownElsewhere are the kinds that no scenario shows, and what does.
var shownElsewhere = map[Kind]string{
	TypeDeclared:       "TestMappedTable",
	GeneratedSent:      "TestWithoutServer: PostgreSQL 18",
	CollationVersion:   "TestWithoutServer",
	ExtensionVersion:   "TestWithoutServer",
	EncodingOfDatabase: "TestEncoding",
	IdentityNotCopied:  "TestMappedTable",
	IndexInvalid:       "TestInvalidIndex",
	SourceShards:       "TestOfShard",
}

func TestEveryKindIsShown(t *testing.T) {
	t.Parallel()
	shown := map[Kind]bool{}
	for _, s := range scenarios {
		shown[s.kind] = true
	}
	kinds := map[Kind]bool{}
	for _, c := range Cases {
		if kinds[c.Kind] {
			t.Errorf("%s has two rows", c.Kind)
		}
		kinds[c.Kind] = true
		if !shown[c.Kind] && shownElsewhere[c.Kind] == "" {
			t.Errorf("nothing shows %s to be right", c.Kind)
		}
		if (c.Fix == "") != (c.Lock == NoLock && !c.Rewrites && c.Migrates == "" && fixes[c.Kind] == nil) && c.Kind != TableMissing && c.Kind != TypeSafe {
			t.Errorf("%s: fix %q, lock %q", c.Kind, c.Fix, c.Lock)
		}
	}
}

// structureTest has a source and a destination.
type structureTest struct {
	source, destination *pgx.Conn
	random              bool // types that only one side uses are not known to Migrate: rewrites may be others
}

// TestStructure shows on real servers that the verdict of every kind of
// difference is right, and that what Migrate plans costs what it says and
// makes the difference go away.
func TestStructure(t *testing.T) {
	t.Parallel()
	for i, inst := range pgtest.Majors(t) {
		t.Run(fmt.Sprint(inst.Major), func(t *testing.T) {
			if i > 0 {
				pgtest.Long(t)
			}
			t.Parallel()
			e := &structureTest{}
			e.source, e.destination = open(t, pgtest.Shared(t, inst.Major).CreateDatabase(t)), open(t, pgtest.Shared(t, inst.Major).CreateDatabase(t))
			exec(t, e.destination, "SET session_replication_role = replica")
			locks := map[Kind]Lock{}
			rewrites, scans := map[Kind]bool{}, map[Kind]bool{}
			for i, s := range scenarios {
				schema := fmt.Sprintf(`s%d "x" $1`, i)
				t.Run(strings.TrimSpace(fmt.Sprintf("%s %s", s.kind, s.name)), func(t *testing.T) {
					for _, step := range e.run(t, s, schema) {
						locks[step.Kind] = locks[step.Kind].Stronger(step.Lock)
						rewrites[step.Kind] = rewrites[step.Kind] || step.Rewrites
						scans[step.Kind] = scans[step.Kind] || step.Scans
					}
				})
			}
			for _, c := range Cases {
				if _, ok := locks[c.Kind]; ok && c.Kind != TypeWarn && c.Kind != TypeUnsafe {
					if locks[c.Kind] != c.Lock || rewrites[c.Kind] != c.Rewrites || scans[c.Kind] != c.Scans {
						t.Errorf("%s: the row says lock %q, rewrites %t, scans %t; the steps have %q, %t, %t", c.Kind, c.Lock, c.Rewrites, c.Scans, locks[c.Kind], rewrites[c.Kind], scans[c.Kind])
					}
				}
			}
		})
	}
}

func (e *structureTest) describe(t *testing.T, conn *pgx.Conn, schema string) *catalog.TableDescription {
	t.Helper()
	name := catalog.Name{Schema: schema, Name: "t"}
	found, err := catalog.DescribeTables(t.Context(), conn, []catalog.Name{name})
	if err != nil {
		t.Fatal(err)
	}
	return found[name]
}

func (e *structureTest) run(t *testing.T, s scenario, schema string) []Step {
	in := func(sql string) string {
		return strings.ReplaceAll(strings.ReplaceAll(sql, `"@p1"`, quoteName(catalog.Name{Name: schema})), "@", quoteName(catalog.Name{Name: schema}))
	}
	publication := strings.ReplaceAll(s.publication, "@p1", schema)
	for _, conn := range []*pgx.Conn{e.source, e.destination} {
		exec(t, conn, in(`CREATE SCHEMA @; `+s.both))
	}
	exec(t, e.source, in(s.source))
	exec(t, e.destination, in(s.destination))
	var before *catalog.TableDescription
	if s.changed != "" {
		before = e.describe(t, e.source, schema)
		exec(t, e.source, in(s.changed))
	}
	exec(t, e.source, in(s.rows))
	compare := func() ([]TableDifference, *catalog.TableDescription, *catalog.TableDescription) {
		source, destination := e.describe(t, e.source, schema), e.describe(t, e.destination, schema)
		return Comparison{Source: source, Destination: destination, Before: before, Publication: publication}.Differences(), source, destination
	}
	differences, source, destination := compare()
	wanted(t, differences, s)
	if source == nil || destination == nil || source.Persistence == "u" {
		return e.migrate(t, s, Migrate(differences, s.policy), schema, nil)
	}
	e.becomes(t, s, source, destination, in)
	was, planned := Fingerprint(destination), Migrate(differences, s.policy)
	steps := e.migrate(t, s, planned, schema, func() {
		_, source, destination := compare()
		if got, err := e.copyRows(t, source, destination, true); got != "" || err != nil {
			t.Errorf("after the steps the rows are copied again: %s %v", got, err)
		}
	})
	if !s.remains && !slices.ContainsFunc(steps, func(x Step) bool { return x.Resync }) && source.Column("v") != nil {
		e.oldRows(t, schema)
	}
	before = source // the destination is right now
	left, source, destination := compare()
	for _, d := range left {
		if (d.Kind == s.kind || d.Verdict.Stops()) && !s.remains && !slices.Contains(s.also, d.Kind) {
			t.Errorf("after the steps there is still %s", &d)
		}
	}
	if !s.remains {
		if got, err := e.copyRows(t, source, destination, true); got != "" || err != nil {
			t.Errorf("after the steps rows do not arrive: %s %v", got, err)
		}
	}
	e.undo(t, schema, planned, was)
	if s.remains && len(slices.DeleteFunc(slices.Clone(steps), func(x Step) bool { return x.Kind != s.kind })) > 0 {
		t.Errorf("said to have no steps: %+v", steps)
	}
	return steps
}

// undo runs the inverses of the steps, where all have one, and checks that the
// destination is then as it was.
func (e *structureTest) undo(t *testing.T, schema string, steps []Step, was [32]byte) {
	t.Helper()
	if len(steps) == 0 || slices.ContainsFunc(steps, func(s Step) bool { return s.Inverse == "" }) {
		return
	}
	exec(t, e.destination, "TRUNCATE "+quoteName(catalog.Name{Schema: schema, Name: "t"}))
	for _, s := range slices.Backward(steps) {
		exec(t, e.destination, s.Inverse)
	}
	// What a column or constraint is called and where it stands may be other.
	if now := e.describe(t, e.destination, schema); Fingerprint(now) != was {
		t.Errorf("after %q is undone the destination is not as it was: %s", steps[len(steps)-1].SQL, Canonical(now))
	}
}

// oldRows checks that rows that were at the destination before the steps hold
// what the source's hold.
func (e *structureTest) oldRows(t *testing.T, schema string) {
	t.Helper()
	source, destination := e.describe(t, e.source, schema), e.describe(t, e.destination, schema)
	var columns []string
	for _, c := range source.Columns {
		columns = append(columns, c.Name)
	}
	have := rowTexts(t, e.source, source, columns)
	for _, row := range rowTexts(t, e.destination, destination, columns) {
		if !slices.Contains(have, row) {
			t.Errorf("an old row is %q, the source has %q", row, have)
		}
	}
}

// wanted checks that exactly the differences of a scenario are found.
func wanted(t *testing.T, differences []TableDifference, s scenario) {
	t.Helper()
	found := false
	for _, d := range differences {
		switch {
		case d.Kind == s.kind:
			found = true
		case d.Verdict != OK && !slices.Contains(s.also, d.Kind):
			t.Errorf("also found: %s", &d)
		}
		if CaseOf(d.Kind).Kind != d.Kind || d.Reason == "" {
			t.Errorf("no reason: %s", &d)
		}
	}
	if !found {
		t.Fatalf("not found among %+v", differences)
	}
}

// becomes copies the rows as they are and checks what is said to become of them.
func (e *structureTest) becomes(t *testing.T, s scenario, source, destination *catalog.TableDescription, in func(string) string) {
	t.Helper()
	got, err := e.copyRows(t, source, destination, s.proof != "")
	if s.stream != "" {
		_, err = e.destination.PgConn().Exec(t.Context(), in(s.stream)).ReadAll()
	}
	what := ""
	switch {
	case err != nil:
		what = "refused"
	case got != "":
		what = "changed"
	}
	if what != s.becomes {
		t.Errorf("rows: %q (%s, %v), want %q", what, got, err, s.becomes)
	}
	c := CaseOf(s.kind)
	switch {
	case (c.Verdict == OK || c.Verdict == Warn) && s.becomes != "":
		t.Errorf("the verdict %s is wrong: rows are %s", c.Verdict, s.becomes)
	case c.Refuses != (s.becomes == "refused") && c.Kind != TypeUnsafe && c.Kind != CollationOfKey && c.Kind != PrimaryKeyDiffers && s.name != "and required" && c.Kind != TypeDefinition:
		t.Errorf("said to be refused %t: rows are %q", c.Refuses, s.becomes)
	}
	if s.proof != "" {
		var ok bool
		if err := e.destination.QueryRow(t.Context(), in(s.proof)).Scan(&ok); err != nil || !ok {
			t.Errorf("%s: %t %v", s.proof, ok, err)
		}
	}
}

// copyRows empties the table and brings all rows over as the stream does: in
// text, into the columns of the same names that take values, as a replica. It
// says how both differ afterwards, over all columns of the source, and keeps
// the rows or goes back to those that were there.
func (e *structureTest) copyRows(t *testing.T, source, destination *catalog.TableDescription, keep bool) (string, error) {
	t.Helper()
	var columns, all []string
	for _, c := range source.Columns {
		all = append(all, c.Name)
		if d := destination.Column(c.Name); c.Generated == "" && d != nil && d.Generated == "" {
			columns = append(columns, c.Name)
		}
	}
	from := quoteName(source.Table)
	var rows bytes.Buffer
	if _, err := e.source.PgConn().CopyTo(t.Context(), &rows, fmt.Sprintf("COPY (SELECT %s FROM ONLY %s) TO STDOUT", quoteNames(columns), from)); err != nil && source.Relkind != "p" {
		t.Fatal(err)
	}
	if source.Relkind == "p" {
		rows.Reset()
		if _, err := e.source.PgConn().CopyTo(t.Context(), &rows, fmt.Sprintf("COPY (SELECT %s FROM %s) TO STDOUT", quoteNames(columns), from)); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, e.destination, "BEGIN; TRUNCATE "+quoteName(destination.Table))
	if slices.ContainsFunc(destination.Rules, func(r catalog.RuleDescription) bool { return fires(r.Enabled) }) {
		// COPY passes rules by; the stream's INSERT does not.
		for _, row := range strings.Split(strings.TrimSpace(rows.String()), "\n") {
			exec(t, e.destination, fmt.Sprintf("INSERT INTO %s (%s) VALUES ('%s')", quoteName(destination.Table), quoteNames(columns), strings.ReplaceAll(row, "\t", "', '")))
		}
	} else if _, err := e.destination.PgConn().CopyFrom(t.Context(), &rows, fmt.Sprintf("COPY %s (%s) FROM STDIN", quoteName(destination.Table), quoteNames(columns))); err != nil {
		exec(t, e.destination, "ROLLBACK")
		return "", err
	}
	sent, arrived := rowTexts(t, e.source, source, all), rowTexts(t, e.destination, destination, all)
	exec(t, e.destination, map[bool]string{true: "COMMIT", false: "ROLLBACK"}[keep])
	if !slices.Equal(sent, arrived) {
		return fmt.Sprintf("source %q, destination %q", sent, arrived), nil
	}
	return "", nil
}

// rowTexts gives the rows of a table, without those of its children, as text.
func rowTexts(t *testing.T, conn *pgx.Conn, table *catalog.TableDescription, columns []string) []string {
	t.Helper()
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = "'nothing'"
		if table.Column(c) != nil {
			list[i] = "coalesce(" + quoteNames([]string{c}) + "::pg_catalog.text, 'NULL')"
		}
	}
	only := "ONLY "
	if table.Relkind == "p" {
		only = ""
	}
	results, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf(`SELECT concat_ws('|', %s) FROM %s%s`, strings.Join(list, ", "), only, quoteName(table.Table))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, row := range results[0].Rows {
		out = append(out, string(row[0]))
	}
	return sorted(out)
}

// migrate runs the steps and checks what they say of themselves. again copies
// the table where they ask for it.
func (e *structureTest) migrate(t *testing.T, s scenario, steps []Step, schema string, again func()) []Step {
	t.Helper()
	copied := false
	for i, step := range steps {
		if step.After && !copied {
			again()
			copied = true
		}
		if !step.After && slices.ContainsFunc(steps[:i], func(x Step) bool { return x.After }) {
			t.Errorf("step %d waits for a copy, %d does not", i-1, i)
		}
		if step.Why == "" || step.Table.Name == "" {
			t.Errorf("incomplete: %+v", step)
		}
		e.step(t, step, schema)
	}
	if !copied && again != nil && slices.ContainsFunc(steps, func(x Step) bool { return x.Resync }) {
		again()
	}
	return steps
}

// modes are the lock modes of pg_locks.
var modes = map[string]Lock{"AccessShareLock": AccessShare, "ShareUpdateExclusiveLock": ShareUpdateExclusive, "ShareLock": ShareLock, "ShareRowExclusiveLock": ShareRowExclusive, "AccessExclusiveLock": AccessExclusive}

// step runs one statement and compares its lock and rewrite with what it says.
func (e *structureTest) step(t *testing.T, step Step, schema string) {
	t.Helper()
	if step.Alone {
		exec(t, e.destination, step.SQL)
		return
	}
	table := quoteName(catalog.Name{Schema: schema, Name: "t"})
	var before, after *uint32
	exec(t, e.destination, "BEGIN")
	defer exec(t, e.destination, "COMMIT")
	const file = "SELECT relfilenode FROM pg_class WHERE oid = to_regclass($1)"
	if err := e.destination.QueryRow(t.Context(), file, table).Scan(&before); err != nil {
		t.Fatal(err)
	}
	var oid uint32
	if err := e.destination.QueryRow(t.Context(), "SELECT $1::regclass::oid", table).Scan(&oid); err != nil {
		t.Fatal(err)
	}
	if _, err := e.destination.Exec(t.Context(), step.SQL); err != nil {
		exec(t, e.destination, "ROLLBACK; BEGIN")
		t.Errorf("%s: %v", step.SQL, err)
		return
	}
	rows, err := e.destination.Query(t.Context(), "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation = $1", oid)
	if err != nil {
		t.Fatal(err)
	}
	held, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	strongest := NoLock
	for _, mode := range held {
		strongest = strongest.Stronger(modes[mode])
	}
	if strongest != step.Lock {
		t.Errorf("%s: locks %q, said to lock %q", step.SQL, strongest, step.Lock)
	}
	if step.Kind == TableDropped {
		return
	}
	if err := e.destination.QueryRow(t.Context(), file, table).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if rewritten := *before != *after; rewritten != step.Rewrites && !e.random {
		t.Errorf("%s: rewrites %t, said to %t", step.SQL, rewritten, step.Rewrites)
	}
}
