package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

var allFormats = []Version{{1, 12, 0}, {1, 13, 0}, {1, 14, 0}, {1, 15, 0}, {1, 16, 0}}

// sampleArchive has what an archive of version v can hold.
func sampleArchive(v Version) *Archive {
	a := &Archive{
		Format: v, Database: "shop", ServerVersion: "15.18", DumpVersion: "17.2",
		Created: time.Date(2026, time.February, 28, 23, 59, 58, 0, time.Local),
		Entries: []Entry{
			{DumpID: 3001, Tag: "ENCODING", Kind: KindEncoding, Section: SectionPreData, Definition: "SET client_encoding = 'UTF8';\n"},
			{DumpID: 5, TableOID: 2615, OID: 2200, Tag: "public", Kind: KindSchema, Section: SectionPreData, Owner: "pg_database_owner",
				Definition: "-- *not* creating schema, since initdb creates it\n", Drop: "-- *not* dropping schema, since initdb creates it\n"},
			{DumpID: 210, TableOID: 1259, OID: 4294967295, Tag: `Weird "Name" $1`, Kind: KindTable, Section: SectionPreData, Namespace: "public",
				Owner: "o", Tablespace: "fast", AccessMethod: "heap", Relkind: 'p', Dependencies: []int{5, 6, 70000},
				Definition: "CREATE TABLE public.\"Weird \"\"Name\"\" $1\" (id int);\n", Drop: "DROP TABLE public.\"Weird \"\"Name\"\" $1\";\n"},
			{DumpID: 211, TableOID: 1259, OID: 1, Tag: "t", Kind: KindTableData, Section: SectionData, HasData: true, Copy: "COPY public.t FROM stdin;\n",
				Owner: "o", WithOIDs: true, Dependencies: []int{210}},
			{DumpID: 212, Tag: "long", Kind: KindFunction, Section: SectionPreData, Definition: strings.Repeat("long text\n", 50_000), Owner: strings.Repeat("o", 100)},
		},
	}
	for i := range a.Entries {
		if !v.atLeast(Version{1, 14, 0}) {
			a.Entries[i].AccessMethod = ""
		}
		if !v.atLeast(Version{1, 16, 0}) {
			a.Entries[i].Relkind = 0
		}
	}
	return a
}

func TestReadEveryFormat(t *testing.T) {
	for _, version := range allFormats {
		for _, intSize := range []int{4, 8} {
			t.Run(fmt.Sprintf("%s integers of %d", version, intSize), func(t *testing.T) {
				want := sampleArchive(version)
				data := append(encodeWith(want, intSize), "data that follows"...)
				got, err := Read(iotest.OneByteReader(bytes.NewReader(data)), Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestReadAnyEntry(t *testing.T) {
	text := rapid.String()
	rapid.Check(t, func(t *rapid.T) {
		want := sampleArchive(rapid.SampledFrom(allFormats).Draw(t, "version"))
		want.Entries = nil
		for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
			e := Entry{
				DumpID: i + 1, TableOID: rapid.Uint32().Draw(t, "table"), OID: rapid.Uint32().Draw(t, "oid"),
				Tag: text.Draw(t, "tag"), Kind: KindTable, Section: SectionPreData, Definition: text.Draw(t, "definition"),
				Drop: text.Draw(t, "drop"), Copy: text.Draw(t, "copy"), Namespace: text.Draw(t, "namespace"),
				Tablespace: text.Draw(t, "tablespace"), Owner: text.Draw(t, "owner"),
				Dependencies: rapid.SliceOfN(rapid.IntRange(1, 1<<31-1), 1, 5).Draw(t, "dependencies"),
			}
			want.Entries = append(want.Entries, e)
		}
		got, err := Read(bytes.NewReader(encode(want)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Entries) == 0 {
			got.Entries = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Every archive that ends too early is an error: there is no shorter archive
// that could be taken for a whole one.
func TestReadTruncated(t *testing.T) {
	whole := encode(sampleArchive(newestFormat))
	for n := range 2000 {
		_, err := Read(bytes.NewReader(whole[:n]), Limits{})
		if !errors.Is(err, io.ErrUnexpectedEOF) || pgerror.Code(err) != dataCorrupted {
			t.Fatalf("first %d bytes: %v", n, err)
		}
		if detail := pgerror.From(err).Detail; detail != fmt.Sprintf("At byte %d.", n) {
			t.Fatalf("first %d bytes: detail %q", n, detail)
		}
	}
}

func TestReadErrors(t *testing.T) {
	sample := func(change func(a *Archive)) []byte {
		a := sampleArchive(newestFormat)
		change(a)
		return encode(a)
	}
	patched := func(at int, b byte) []byte {
		data := encode(sampleArchive(newestFormat))
		data[at] = b
		return data
	}
	head := len(encode(&Archive{Format: newestFormat, Database: "shop", ServerVersion: "15.18", DumpVersion: "17.2"})) - 5
	tests := []struct {
		name     string
		data     []byte
		limits   Limits
		code     string
		contains string // in message, detail and hint
	}{
		{"empty", nil, Limits{}, dataCorrupted, "ends too early"},
		{"plain text", []byte("--\n-- PostgreSQL database dump\n"), Limits{}, dataCorrupted, `begins with "--\n--" instead of "PGDMP"`},
		{"newer minor", sample(func(a *Archive) { a.Format.Minor = 17 }), Limits{}, pgerror.FeatureNotSupported, "format 1.17-0; this version of pgdrover reads 1.12 to 1.16"},
		{"newer major", sample(func(a *Archive) { a.Format = Version{2, 0, 0} }), Limits{}, pgerror.FeatureNotSupported, "pg_dump_path"},
		{"older", sample(func(a *Archive) { a.Format.Minor = 11 }), Limits{}, pgerror.FeatureNotSupported, "older than 1.12"},
		{"integers of 0 bytes", patched(8, 0), Limits{}, dataCorrupted, "integers of 0 bytes"},
		{"integers of 32 bytes", patched(8, 32), Limits{}, dataCorrupted, "integers of 32 bytes"},
		{"offsets of 0 bytes", patched(9, 0), Limits{}, dataCorrupted, "file offsets of 0 bytes"},
		{"tar", patched(10, 3), Limits{}, pgerror.FeatureNotSupported, "format 3, not 1 (custom)"},
		{"sign", patched(12, 7), Limits{}, dataCorrupted, "not an integer: sign 7"},
		{"negative count", patched(head, 1), Limits{}, dataCorrupted, "-5 entries"},
		{"huge count", patched(head+4, 0x7f), Limits{}, programLimitExceeded, "are more than the limit"},
		{"huge integer", patched(head+4, 0xff), Limits{}, dataCorrupted, "not an integer"},
		{"count over limit", sample(func(*Archive) {}), Limits{MaxEntries: 4}, programLimitExceeded, "5 entries in the table of contents are more than the limit of 4"},
		{"string over limit", sample(func(*Archive) {}), Limits{MaxString: 499_999}, programLimitExceeded, `entry 5 of 5 (FUNCTION "long"): string of 500000 bytes`},
		{"total over limit", sample(func(*Archive) {}), Limits{MaxTotal: 400_000}, programLimitExceeded, "larger than 400000 bytes"},
		{"dump ID", sample(func(a *Archive) { a.Entries[1].DumpID = 0 }), Limits{}, dataCorrupted, "entry 2 of 5"},
		{"no kind", sample(func(a *Archive) { a.Entries[1].Kind = "" }), Limits{}, dataCorrupted, "without a kind"},
		{"tag longer than the archive", truncatedTag(), Limits{}, dataCorrupted, "ends too early"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			archive, err := Read(bytes.NewReader(tt.data), tt.limits)
			if err == nil {
				t.Fatalf("no error but %v", archive)
			}
			e := pgerror.From(err)
			if e.Code != tt.code {
				t.Errorf("code %s, want %s", e.Code, tt.code)
			}
			all := e.Message + "\n" + e.Detail + "\n" + e.Hint
			if !strings.Contains(all, tt.contains) || !strings.Contains(e.Detail, "At byte ") {
				t.Errorf("%s\nlacks %q or the byte", all, tt.contains)
			}
		})
	}
}

// truncatedTag claims a tag of 60 MiB and ends.
func truncatedTag() []byte {
	a := sampleArchive(newestFormat)
	w := &encoder{version: a.Format, intSize: 4}
	w.head(a)
	w.integer(1)
	w.integer(1)
	w.integer(0)
	w.text("0")
	w.text("0")
	w.integer(60 << 20)
	return w.Bytes()
}

// What an archive only claims is not allocated.
func TestReadAllocatesWhatArrived(t *testing.T) {
	data := truncatedTag()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Read(bytes.NewReader(data), Limits{}); err == nil {
		t.Fatal("no error")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
		t.Errorf("%d bytes allocated for an archive of %d", got, len(data))
	}
}

func TestReadKeepsTheReadersError(t *testing.T) {
	broken := errors.New("broken pipe")
	whole := encode(sampleArchive(newestFormat))
	_, err := Read(io.MultiReader(bytes.NewReader(whole[:300]), iotest.ErrReader(broken)), Limits{})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for _, version := range allFormats {
		a := sampleArchive(version)
		a.Entries = a.Entries[:4]
		f.Add(encode(a))
	}
	files, err := filepath.Glob("testdata/*.dump")
	if err != nil || len(files) == 0 {
		f.Fatal("no archives in testdata: ", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 8<<10)])
	}
	limits := Limits{MaxEntries: 1000, MaxString: 1 << 20, MaxTotal: 4 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		archive, err := Read(bytes.NewReader(data), limits)
		if (archive == nil) == (err == nil) {
			t.Fatalf("archive %v, error %v", archive, err)
		}
		if err != nil {
			if e := pgerror.From(err); e.Code == pgerror.InternalError || e.Detail == "" {
				t.Fatalf("error without code or place: %v", err)
			}
			return
		}
		for _, e := range archive.Entries {
			e.Display()
			e.OwnerSQL()
			e.Statements()
		}
		if len(archive.Keys()) != len(archive.Entries) {
			t.Fatal("keys lost")
		}
		// What was read is what a writer would write again.
		again, err := Read(bytes.NewReader(encodeWith(archive, 4)), limits)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(archive.Entries, again.Entries); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	a := sampleArchive(newestFormat)
	table := a.Entries[2]
	a.Entries = nil
	for i := range 100_000 {
		table.DumpID = i + 1
		a.Entries = append(a.Entries, table)
	}
	data := encode(a)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(data), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
