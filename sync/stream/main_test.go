package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// server is how the product reaches a test's database.
func server(d *pgtest.Database) config.Server {
	return config.Server{
		Cluster: "source", Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name, User: "postgres",
		TLSVerify: config.TLSDisabled, ConnectTimeout: 10 * time.Second,
	}
}

// onMajors runs a test on Debian's server and on the newer one.
func onMajors(t *testing.T, f func(t *testing.T, c *pgtest.Cluster)) {
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

const publication = `Weird ""Pub"" $1, it's`

// source makes a database with a publication for all its tables and a slot.
func source(t testing.TB, c *pgtest.Cluster, ddl string) (d *pgtest.Database, slot string) {
	t.Helper()
	d = c.CreateDatabase(t)
	d.Exec(t, ddl)
	slot = prepare(t, d)
	return d, slot
}

func prepare(t testing.TB, d *pgtest.Database) (slot string) {
	t.Helper()
	d.Exec(t, "CREATE PUBLICATION "+pgtest.Quote(publication)+" FOR ALL TABLES")
	slot = "slot_" + strings.TrimLeft(d.Name[max(0, len(d.Name)-40):], "_")
	exporter, err := CreateSlot(t.Context(), server(d), slot, SlotOptions{})
	if err != nil {
		t.Fatal(err)
	}
	exporter.Close(t.Context())
	return slot
}

func options(t testing.TB, d *pgtest.Database, slot string) Options {
	return Options{Server: server(d), Slot: slot, Publications: []string{publication}, SpillDirectory: t.TempDir()}
}

// open opens a reader that is closed at the end of the test.
func openReader(t testing.TB, o Options) *Reader {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the reader: %v", err)
		}
	})
	return r
}

// next gives the next transaction, marks left out, within a minute.
func next(t testing.TB, r *Reader) *Transaction {
	t.Helper()
	for {
		tx := nextOrMark(t, r)
		if !tx.Mark() {
			return tx
		}
	}
}

func nextOrMark(t testing.TB, r *Reader) *Transaction {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tx, err := r.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return tx
}

// failure gives the error that the stream ends with.
func failure(t testing.TB, r *Reader) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		tx, err := r.Next(ctx)
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Fatal("the stream does not end")
			}
			return err
		}
		tx.Release()
	}
}

// lines describes the changes of a transaction, one line each.
func lines(t testing.TB, tx *Transaction) []string {
	t.Helper()
	var out []string
	if err := tx.Each(func(c *Change) error { out = append(out, line(c)); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func line(c *Change) string {
	switch c.Kind {
	case Truncate:
		names := make([]string, len(c.Truncated.Relations))
		for i, r := range c.Truncated.Relations {
			names[i] = r.Name
		}
		return fmt.Sprintf("T %s cascade=%v restart=%v", strings.Join(names, ","), c.Truncated.Cascade, c.Truncated.RestartIdentity)
	case Message:
		return fmt.Sprintf("M %s %s", c.Logical.Prefix, c.Logical.Content)
	}
	s := fmt.Sprintf("%c %s", c.Kind, c.Relation.Name)
	if c.Old != nil {
		mark := "K"
		if c.OldFull {
			mark = "O"
		}
		s += " " + mark + values(c.Old)
	}
	if c.New != nil {
		s += " N" + values(c.New)
	}
	return s
}

func values(t Tuple) string {
	var parts []string
	for len(t) > 0 {
		format, value, rest := t.Next()
		switch format {
		case Null:
			parts = append(parts, "NULL")
		case Unchanged:
			parts = append(parts, "unchanged")
		case Binary:
			parts = append(parts, fmt.Sprintf("\\x%x", value))
		default:
			if len(value) > 40 {
				value = fmt.Appendf(nil, "%s…%d", value[:10], len(value))
			}
			parts = append(parts, string(value))
		}
		t = rest
	}
	return "(" + strings.Join(parts, ",") + ")"
}

func installationOf(major int) pgcluster.Installation { return pgcluster.Installation{Major: major} }

// syncBuffer is a buffer for what several goroutines write.
type syncBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
