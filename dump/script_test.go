package dump

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func everything(t *testing.T) string {
	t.Helper()
	sql, err := os.ReadFile("testdata/everything.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(sql)
}

// The entries are those that pg_restore lists, and in its order their
// definitions and owners are the whole of the script that it writes.
func TestArchiveIsPgRestoresScript(t *testing.T) {
	s := startServer(t)
	s.create(t, "script", "", everything(t))
	for _, options := range [][]string{{}, {"--quote-all-identifiers"}} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			data := []byte(s.tool(t, nil, "pg_dump", append(options, "--schema-only", "--format=custom", "script")...))
			archive, err := Read(bytes.NewReader(data), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(entriesOf(t, s.tool(t, data, "pg_restore", "--list", "--verbose")), listing(archive)); diff != "" {
				t.Error(diff)
			}
			checkEntries(t, archive)
			compareScript(t, s.tool(t, data, "pg_restore", "--file=-"), archive)
		})
	}
}

var (
	entryHead = regexp.MustCompile(`(?s)\A(.*?)(?:\A|\n)--\n-- Name: [^\n]*; Type: ([^;\n]*); Schema: [^\n]*\n--\n\n`)
	// What pg_restore writes between entries and in the script's head.
	between   = regexp.MustCompile(`\A(?:\n|--[^\n]*\n|SET [^\n]*;(?:\n|\z)|\\(?:un)?restrict [^\n]*\n|SELECT pg_catalog\.set_config\('search_path'[^\n]*;\n)*\z`)
	ownerLine = regexp.MustCompile(`(?s)\AALTER .*? OWNER TO [^\n]*;\n\n`)
)

// compareScript takes the script apart entry by entry.
func compareScript(t *testing.T, script string, a *Archive) {
	t.Helper()
	owners := 0
	for _, e := range inRestoreOrder(a) {
		head := entryHead.FindStringSubmatch(script)
		if head == nil || head[2] != string(e.Kind) || !between.MatchString(head[1]) {
			t.Fatalf("%s %s: the script goes on with\n%.300s", e.Kind, e.Tag, script)
		}
		script = script[len(head[0]):]
		rest, found := strings.CutPrefix(script, e.Definition+"\n\n")
		if !found {
			t.Fatalf("%s %s: definition\n%s\nthe script has\n%.300s", e.Kind, e.Tag, e.Definition, script)
		}
		script = rest
		statement, owned := e.OwnerSQL()
		line := ownerLine.FindString(script)
		if owned != (line != "") {
			t.Fatalf("%s %s: OwnerSQL %q, the script has %q", e.Kind, e.Tag, statement, line)
		}
		script = script[len(line):]
		if owned {
			owners++
			got, want := unquoted(statement+";"), unquoted(strings.TrimSpace(line))
			if oldName, isRelation := strings.CutPrefix(want, "ALTER TABLE "); isRelation {
				want = "ALTER " + string(e.Kind) + " " + oldName // before 16 it called all of them tables
			}
			if got != want {
				t.Errorf("%s %s:\n got %s\nwant %s", e.Kind, e.Tag, got, want)
			}
		}
	}
	if !between.MatchString(script) {
		t.Errorf("the script also has\n%s", script)
	}
	if owners < 40 {
		t.Errorf("only %d owners compared", owners)
	}
}

// unquoted removes the quotes that fmtId leaves away.
func unquoted(sql string) string {
	return regexp.MustCompile(`"([a-z_][a-z0-9_]*)"`).ReplaceAllString(sql, "$1")
}

// inRestoreOrder gives what pg_restore writes, in its order: grants after the
// objects, event triggers last (_tocEntryRestorePass in pg_backup_archiver.c).
func inRestoreOrder(a *Archive) []Entry {
	var passes [3][]Entry
	for _, e := range a.Entries {
		switch phase, _ := PhaseOf(e.Kind); {
		case phase == Session, e.Kind == KindDatabase, e.Kind == KindDatabaseProperties:
			// in the script's head, or with --create alone
		case e.Kind == KindACL, e.Kind == KindDefaultACL:
			passes[1] = append(passes[1], e)
		case e.Kind == KindEventTrigger, strings.HasPrefix(e.Tag, "EVENT TRIGGER "):
			passes[2] = append(passes[2], e)
		default:
			passes[0] = append(passes[0], e)
		}
	}
	return slices.Concat(passes[:]...)
}

// pg_restore, which knows the old formats too, reads what the tests' encoder
// writes: so Read and the encoder are not wrong in the same way.
func TestEncoderWritesWhatPgRestoreReads(t *testing.T) {
	s := startServer(t)
	for _, version := range allFormats {
		if version.Minor > newestFormatOf(s.binary.Major) {
			continue
		}
		a := sampleArchive(version)
		a.Entries[3].WithOIDs = false
		if got, want := listing(a), entriesOf(t, s.tool(t, encode(a), "pg_restore", "--list", "--verbose")); got != want {
			t.Errorf("%s:\n%s", version, cmp.Diff(want, got))
		}
	}
}

func newestFormatOf(major int) int {
	switch {
	case major >= 17:
		return 16
	case major == 16:
		return 15
	}
	return 14
}
