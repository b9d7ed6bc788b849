package dump

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listing gives the archive as pg_restore --list --verbose shows its entries.
func listing(a *Archive) string {
	// pg_restore shows every line break of a name as a space, and what is
	// absent as a hyphen.
	oneLine := strings.NewReplacer("\n", " ", "\r", " ")
	var list strings.Builder
	for _, e := range a.Entries {
		namespace := e.Namespace
		if namespace == "" {
			namespace = "-"
		}
		fmt.Fprintf(&list, "%d; %d %d %s %s %s %s\n", e.DumpID, e.TableOID, e.OID, e.Kind,
			oneLine.Replace(namespace), oneLine.Replace(e.Tag), oneLine.Replace(e.Owner))
		if len(e.Dependencies) > 0 {
			list.WriteString(";\tdepends on:")
			for _, id := range e.Dependencies {
				fmt.Fprintf(&list, " %d", id)
			}
			list.WriteString("\n")
		}
	}
	return list.String()
}

// entriesOf removes the head of pg_restore's list.
func entriesOf(t *testing.T, list string) string {
	t.Helper()
	_, entries, found := strings.Cut(list, "; Selected TOC Entries:\n;\n")
	if !found {
		t.Fatalf("not a list of pg_restore:\n%s", list)
	}
	return entries
}

// The archives in testdata were written by pg_dump 15, 16 and 18 from
// everything.sql, the lists by pg_restore --list --verbose of the same version.
func TestReadRealArchives(t *testing.T) {
	for name, want := range map[string]Archive{
		"pg15": {Format: Version{1, 14, 0}, ServerVersion: "15.18 (Debian 15.18-0+deb12u1)", DumpVersion: "15.18 (Debian 15.18-0+deb12u1)"},
		"pg16": {Format: Version{1, 15, 0}, ServerVersion: "16.14", DumpVersion: "16.14"},
		"pg18": {Format: Version{1, 16, 0}, ServerVersion: "18.4", DumpVersion: "18.4"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name+".dump"))
			if err != nil {
				t.Fatal(err)
			}
			list, err := os.ReadFile(filepath.Join("testdata", name+".list"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Read(bytes.NewReader(data), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != want.Format || got.Database != "everything" || got.ServerVersion != want.ServerVersion || got.DumpVersion != want.DumpVersion {
				t.Errorf("%s of %s %s by %s", got.Format, got.Database, got.ServerVersion, got.DumpVersion)
			}
			if diff := cmp.Diff(entriesOf(t, string(list)), listing(got)); diff != "" {
				t.Error(diff)
			}
			if written := got.Created.Format("2006-01-02 15:04:05"); !strings.Contains(string(list), "created at "+written+" ") {
				t.Errorf("created %s", written)
			}
			checkEntries(t, got)
		})
	}
}

// checkEntries is what holds of every archive of everything.sql.
func checkEntries(t *testing.T, a *Archive) {
	t.Helper()
	unique := make(map[Key]bool)
	for i, key := range a.Keys() {
		e := a.Entries[i]
		if unique[key] {
			t.Errorf("%+v: two entries have this key", key)
		}
		unique[key] = true
		if _, err := PhaseOf(e.Kind); err != nil {
			t.Error(err)
		}
		if strings.Contains(e.Display(), "hunter2") {
			t.Errorf("secret shown: %s", e.Display())
		}
		if e.Kind == KindTable && a.Format.atLeast(Version{1, 16, 0}) {
			if partitioned := strings.Contains(e.Definition, "PARTITION BY"); partitioned != (e.Relkind == 'p') {
				t.Errorf("%s: relkind %q", e.Tag, e.Relkind)
			}
		}
		if e.Tag == "in_heap2" && e.AccessMethod != "heap2" || e.Tag == "customers" && e.Kind == KindTable && e.AccessMethod != "heap" {
			t.Errorf("%s: access method %q", e.Tag, e.AccessMethod)
		}
		if section := e.Section; section < SectionNone || section > SectionPostData {
			t.Errorf("%s %s: %s", e.Kind, e.Tag, section)
		}
	}
	if !strings.Contains(joinDefinitions(a), "hunter2") {
		t.Error("the archive has no secret: the test of Display proves nothing")
	}
}

func joinDefinitions(a *Archive) string {
	var all strings.Builder
	for _, e := range a.Entries {
		all.WriteString(e.Definition)
	}
	return all.String()
}
