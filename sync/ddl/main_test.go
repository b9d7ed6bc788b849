package ddl

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/stream"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// onMajors runs a test on Debian's server and on the newer one.
func onMajors(t *testing.T, f func(t *testing.T, c *pgtest.Cluster)) {
	t.Helper()
	t.Parallel()
	for _, major := range []int{0, -1} {
		name := "base"
		if major < 0 {
			name = "newer"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if major < 0 {
				major = pgtest.Newer(t).Major
			}
			f(t, pgtest.Shared(t, major))
		})
	}
}

func server(d *pgtest.Database) config.Server {
	return config.Server{
		Cluster: "source", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: "postgres",
		TLSVerify: config.TLSDisabled, ConnectTimeout: 10 * time.Second,
	}
}

func open(t *testing.T, d *pgtest.Database) *pgx.Conn {
	t.Helper()
	conn, err := connect.Open(t.Context(), server(d), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

const publication = `Weird ""Pub"" $1, it's`

// source is a database with event triggers, a publication and a reader of it.
type source struct {
	t        *testing.T
	d        *pgtest.Database
	conn     *pgx.Conn
	reader   *stream.Reader
	registry *Registry
}

// newSource makes a database. Without clause everything is published.
func newSource(t *testing.T, c *pgtest.Cluster, triggers bool, ddl, clause string) *source {
	t.Helper()
	return newSourceIn(t, c.CreateDatabase(t), triggers, ddl, clause)
}

func newSourceIn(t *testing.T, d *pgtest.Database, triggers bool, ddl, clause string) *source {
	t.Helper()
	s := &source{t: t, d: d}
	s.d.Exec(t, "CREATE TABLE done (i int)")
	s.d.Exec(t, ddl)
	s.conn = open(t, s.d)
	if clause == "" {
		clause = "FOR ALL TABLES"
	}
	s.d.Exec(t, "CREATE PUBLICATION "+pgtest.Quote(publication)+" "+clause)
	if triggers {
		must(t, Install(t.Context(), s.conn))
	}
	slot := "ddl_" + strings.TrimLeft(s.d.Name[max(0, len(s.d.Name)-40):], "_")
	exporter, err := stream.CreateSlot(t.Context(), server(s.d), slot, stream.SlotOptions{})
	must(t, err)
	exporter.Close(t.Context())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's has ended
		defer cancel()
		must(t, d.TryExec(ctx, "SELECT pg_drop_replication_slot($1)", slot))
	})
	s.reader, err = stream.Open(t.Context(), stream.Options{Server: server(s.d), Slot: slot, Publications: []string{publication}, SpillDirectory: t.TempDir()})
	must(t, err)
	t.Cleanup(func() { must(t, s.reader.Close()) })
	s.registry = s.record()
	return s
}

// record makes a registry of what there is now.
func (s *source) record() *Registry {
	s.t.Helper()
	r := NewRegistry([]string{publication})
	for _, d := range describe(s.t, s.conn, s.tables()...) {
		r.Record(d)
	}
	types, err := ReadTypes(s.t.Context(), s.conn)
	must(s.t, err)
	for oid, d := range types {
		r.RecordType(oid, d)
	}
	p, err := ReadPublication(s.t.Context(), s.conn, publication)
	must(s.t, err)
	r.RecordPublication(p)
	return r
}

func (s *source) tables() []catalog.Name {
	var out []catalog.Name
	for _, row := range s.d.Rows(s.t, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND nspname NOT IN ('pgdrover', 'information_schema') AND nspname !~ '^pg_'`) {
		schema, name, _ := strings.Cut(row, "|")
		out = append(out, catalog.Name{Schema: schema, Name: name})
	}
	return out
}

func describe(t *testing.T, conn *pgx.Conn, names ...catalog.Name) map[catalog.Name]*catalog.TableDescription {
	t.Helper()
	out, err := catalog.DescribeTables(t.Context(), conn, names)
	must(t, err)
	return out
}

// step is something that came out of the stream.
type step struct {
	text  string
	event *Event // nil for a row
}

// steps ends what was done at the source and gives what has come since the last
// call. Transactions are separated by a step without a text.
func (s *source) steps() []step {
	s.t.Helper()
	s.d.Exec(s.t, "INSERT INTO done VALUES (1)")
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	var out []step
	for {
		tx, err := s.reader.Next(ctx)
		must(s.t, err)
		ended := false
		must(s.t, tx.Each(func(c *stream.Change) error {
			switch {
			case c.Kind == stream.Message && c.Logical.Prefix == Prefix:
				e, err := Decode(slices.Clone(c.Logical.Content))
				if err != nil {
					return fmt.Errorf("%w: %s", err, c.Logical.Content)
				}
				out = append(out, step{describeEvent(&e), &e})
			case c.Relation != nil && c.Relation.Name == "done":
				ended = true
			case c.Relation != nil:
				out = append(out, step{fmt.Sprintf("%c %s(%s)", c.Kind, c.Relation.Name, columnsOf(c.Relation)), nil})
			}
			return nil
		}))
		mark := tx.Mark()
		tx.Release()
		if ended {
			return out
		}
		if !mark {
			out = append(out, step{})
		}
	}
}

func columnsOf(r *stream.Relation) string {
	names := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		names[i] = c.Name
	}
	return strings.Join(names, ",")
}

func describeEvent(e *Event) string {
	s := string(e.Kind) + " " + e.Tag
	if e.Name.Name != "" {
		s += " " + e.Name.String()
	}
	switch {
	case e.After != nil:
		names := make([]string, len(e.After.Columns))
		for i, c := range e.After.Columns {
			names[i] = c.Name
		}
		s += "(" + strings.Join(names, ",") + ")"
	case e.Type != nil:
		s += fmt.Sprintf(" %s %q", e.Type.Kind, e.Type.Labels)
	case e.Publication != nil:
		for _, m := range e.Publication.Tables {
			s += " [" + m.Table.String() + strings.Join(m.Columns, ",") + m.Filter + "]"
		}
	case e.Kind == RewriteEvent:
		s += fmt.Sprintf(" reason %d", e.Reason)
	}
	if e.Plain {
		s += " plain"
	}
	for _, d := range e.Dropped {
		s += fmt.Sprintf(" %s %q", d.Type, d.Names)
	}
	for _, t := range e.Tables {
		s += " " + t.Name
	}
	if e.Failure != nil {
		s += " failure " + e.Failure.Code
	}
	return s
}

func lines(steps []step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.text)
	}
	return out
}

var inBetween = regexp.MustCompile(`pgdrover_\d+_`)

func kinds(changes []Change) []string {
	var out []string
	for i := range changes {
		c := &changes[i]
		v, _ := Judge(c)
		what := c.Table.Name
		switch {
		case c.To != nil:
			what += "." + c.To.Name
		case c.From != nil:
			what += "." + c.From.Name
		case c.Object != "" || c.NewName != "":
			what += " " + strings.TrimSpace(c.Object+" "+c.NewName)
		case c.Type != nil:
			what = c.Type.Type.Name
		}
		what = inBetween.ReplaceAllString(what, "pgdrover_")
		out = append(out, fmt.Sprintf("%s %s: %s", c.Kind, strings.TrimSpace(what), v))
	}
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeRole makes a role that is dropped at the end of the test.
func makeRole(t *testing.T, d *pgtest.Database, role, options string) {
	t.Helper()
	d.Exec(t, "CREATE ROLE "+pgtest.Quote(role)+" "+options)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's has ended
		defer cancel()
		must(t, d.TryExec(ctx, "REASSIGN OWNED BY "+pgtest.Quote(role)+" TO postgres; DROP OWNED BY "+pgtest.Quote(role)+"; DROP ROLE "+pgtest.Quote(role)))
	})
}
