package ddl

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

var record = flag.Bool("record", false, "record testdata/*.json from a real server")

func TestDecode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		content string
		want    Event
		code    string
	}{
		"a table": {content: `{"v":1,"kind":"table","tag":"ALTER TABLE","user":"u","fields":{"oid":5,"schema":"s","name":"t","relkind":"p","plain":true,"leaf_missing":{}},"image":{"oid":5}}`,
			want: Event{Kind: TableEvent, Tag: "ALTER TABLE", User: "u", OID: 5, Name: catalog.Name{Schema: "s", Name: "t"}, Relkind: "p", Plain: true,
				LeafMissing: map[string]string{}, After: &catalog.TableDescription{OID: 5}}},
		"a failure": {content: `{"v":1,"kind":"table","fields":{"oid":5},"image":null,"failure":{"code":"22012","message":"m"}}`,
			want: Event{Kind: TableEvent, OID: 5, Failure: &Failure{Code: "22012", Message: "m"}}},
		"a rewrite": {content: `{"v":1,"kind":"rewrite","fields":{"oid":5,"reason":4}}`, want: Event{Kind: RewriteEvent, OID: 5, Reason: RewriteColumn}},
		"a type":    {content: `{"v":1,"kind":"type","fields":{"oid":5},"image":{"kind":"e","labels":["x"]}}`, want: Event{Kind: TypeEvent, OID: 5, Type: &catalog.TypeDescription{Kind: "e", Labels: []string{"x"}}}},
		"dropped": {content: `{"v":1,"kind":"dropped","fields":{"dropped":[{"class":1259,"oid":5,"column":2,"type":"table column","names":["s","t","c"],"args":["p"]}]}}`,
			want: Event{Kind: DropEvent, Dropped: []Dropped{{Class: 1259, OID: 5, Column: 2, Type: "table column", Names: []string{"s", "t", "c"}, Args: []string{"p"}}}}},
		"unknown": {content: `{"v":1,"kind":"unknown","tag":"DROP TABLE","failure":{"code":"42883"}}`, want: Event{Kind: UnknownEvent, Tag: "DROP TABLE", Failure: &Failure{Code: "42883"}}},

		"of another version":    {content: `{"v":2,"kind":"later"}`, code: pgerror.FeatureNotSupported},
		"nothing":               {content: ``, code: pgerror.ProtocolViolation},
		"no JSON":               {content: `{"v":1`, code: pgerror.ProtocolViolation},
		"two":                   {content: `{"v":1,"kind":"unknown"}{}`, code: pgerror.ProtocolViolation},
		"an array":              {content: `[]`, code: pgerror.ProtocolViolation},
		"no UTF-8":              {content: "{\"v\":1,\"kind\":\"unknown\",\"tag\":\"\xff\"}", code: pgerror.ProtocolViolation},
		"no kind":               {content: `{"v":1}`, code: pgerror.ProtocolViolation},
		"a strange kind":        {content: `{"v":1,"kind":"x","fields":{"oid":5}}`, code: pgerror.ProtocolViolation},
		"no image":              {content: `{"v":1,"kind":"table","fields":{"oid":5}}`, code: pgerror.ProtocolViolation},
		"no OID":                {content: `{"v":1,"kind":"rewrite","fields":{"reason":4}}`, code: pgerror.ProtocolViolation},
		"an OID that is none":   {content: `{"v":1,"kind":"rewrite","fields":{"oid":4294967296}}`, code: pgerror.ProtocolViolation},
		"another table's image": {content: `{"v":1,"kind":"table","fields":{"oid":5},"image":{"oid":6}}`, code: pgerror.ProtocolViolation},
		"an image of nothing":   {content: `{"v":1,"kind":"rewrite","fields":{"oid":5},"image":{}}`, code: pgerror.ProtocolViolation},
		"an image of a number":  {content: `{"v":1,"kind":"table","fields":{"oid":5},"image":5}`, code: pgerror.ProtocolViolation},
		"too long":              {content: `{"v":1,"kind":"unknown","tag":"` + strings.Repeat("x", contentLimit) + `"}`, code: pgerror.ProtocolViolation},
		"too deep":              {content: `{"v":1,"kind":"type","fields":{"oid":5},"image":` + strings.Repeat("[", 1e6), code: pgerror.ProtocolViolation},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Decode([]byte(test.content))
			if pgerror.Code(err) != test.code {
				t.Fatalf("error %v, want %q", err, test.code)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// seeds are messages of a real server.
func seeds(tb testing.TB) map[string][]byte {
	tb.Helper()
	names, err := filepath.Glob("testdata/*.json")
	must(tb, err)
	out := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		must(tb, err)
		out[filepath.Base(name)] = data
	}
	if len(out) < 6 {
		tb.Fatalf("%d seeds", len(out))
	}
	return out
}

// What a server sent once can be read for ever.
func TestRecorded(t *testing.T) {
	t.Parallel()
	for name, data := range seeds(t) {
		e, err := Decode(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if kind, _, _ := strings.Cut(name, "-"); string(e.Kind) != kind {
			t.Errorf("%s is of kind %s", name, e.Kind)
		}
	}
}

// TestRecord makes testdata, with -record.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("-record makes testdata anew")
	}
	s := newSource(t, pgtest.Shared(t, 0), true, `CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE pair AS (a int); CREATE DOMAIN few AS int DEFAULT 1 CHECK (VALUE < 10); CREATE SCHEMA sc CREATE TABLE st (i int);
		CREATE TABLE t (id int PRIMARY KEY, m mood, p pair, f few); CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE p1 PARTITION OF p DEFAULT`, "")
	for _, sql := range []string{
		`ALTER TABLE t ADD "W ""x"" $1" timestamptz DEFAULT now(), ALTER id TYPE bigint`, `ALTER TYPE mood ADD VALUE 'glad'`, `ALTER DOMAIN few SET NOT NULL`, `ALTER TABLE p ADD v text DEFAULT 'x'`,
		`CREATE PUBLICATION pub FOR TABLE t (id, f) WHERE (id > 1)`, `ALTER SCHEMA sc RENAME TO scs`, `DROP TABLE p, t CASCADE`, `BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE z (i int); COMMIT`,
	} {
		s.d.Exec(t, sql)
	}
	s.d.Exec(t, "INSERT INTO done VALUES (1)")
	must(t, os.MkdirAll("testdata", 0o755))
	number := map[EventKind]int{}
	for ended := false; !ended; {
		tx, err := s.reader.Next(t.Context())
		must(t, err)
		must(t, tx.Each(func(c *stream.Change) error {
			if c.Kind != stream.Message {
				ended = c.Relation != nil && c.Relation.Name == "done"
				return nil
			}
			e, err := Decode(c.Logical.Content)
			must(t, err)
			number[e.Kind]++
			name := filepath.Join("testdata", string(e.Kind)+"-"+string(rune('a'+number[e.Kind]-1))+".json")
			return os.WriteFile(name, c.Logical.Content, 0o644)
		}))
		tx.Release()
	}
}

// Whatever a message says, there is an event or an error with a SQLSTATE; and
// a registry takes what is decoded, however strange.
func FuzzDecode(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	var recorded []*catalog.TableDescription
	for _, data := range seeds(f) {
		if e, err := Decode(data); err == nil && e.After != nil {
			recorded = append(recorded, e.After)
		}
	}
	f.Add([]byte(`{"v":1,"kind":"table","fields":{"oid":5,"relkind":"p"},"image":{"oid":5,"partition":{"oid":5},"publications":[{"name":"p"}]}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		e, err := Decode(content)
		if err != nil {
			if code := pgerror.Code(err); code != pgerror.ProtocolViolation && code != pgerror.FeatureNotSupported {
				t.Errorf("code %s: %v", code, err)
			}
			return
		}
		r := NewRegistry([]string{"pub", publication})
		for _, d := range recorded {
			r.Record(d)
		}
		changes := append(r.Observe(&e), r.EndTransaction()...)
		for i := range changes {
			if v, why := Judge(&changes[i]); v == "" || why == "" {
				t.Errorf("%s: %q %q", changes[i].Kind, v, why)
			}
		}
		Statements(changes, Destination{Indexes: true, ForeignKeys: true})
	})
}
