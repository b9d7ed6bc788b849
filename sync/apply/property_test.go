package apply_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// record is a row of the model.
type record struct {
	id int
	u  int // 0 for NULL
	v  string
}

func (r record) values() []val {
	u := null
	if r.u != 0 {
		u = num(r.u)
	}
	return []val{num(r.id), u, text(r.v)}
}

// model is a source table with a primary key and a unique column: it makes only
// changes that a source can make.
type model struct {
	rows map[int]record
	full bool
}

func (m *model) uFree(u, except int) bool {
	if u == 0 {
		return true
	}
	for _, r := range m.rows {
		if r.u == u && r.id != except {
			return false
		}
	}
	return true
}

// change draws one change and makes it; nil if the draw cannot be made.
func (m *model) change(t *rapid.T, rel *stream.Relation) *stream.Change {
	id := rapid.IntRange(1, 8).Draw(t, "id")
	u := rapid.IntRange(0, 6).Draw(t, "u")
	v := rapid.SampledFrom([]string{"", "a", "b", "quite\tlong\\"}).Draw(t, "v")
	before, there := m.rows[id]
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2, 3:
		if there || !m.uFree(u, 0) {
			return nil
		}
		m.rows[id] = record{id, u, v}
		c := ins(rel, m.rows[id].values()...)
		return &c
	case 4, 5, 6, 7:
		to := id
		if rapid.IntRange(0, 3).Draw(t, "moves") == 0 {
			to = rapid.IntRange(1, 8).Draw(t, "to")
		}
		_, taken := m.rows[to]
		if !there || !m.uFree(u, id) || taken && to != id {
			return nil
		}
		after := record{to, u, v}
		values := after.values()
		if rapid.Bool().Draw(t, "toasted") {
			after.v, values[2] = before.v, same
		}
		delete(m.rows, id)
		m.rows[to] = after
		c := upd(rel, values...)
		switch {
		case m.full:
			c = updOld(rel, before.values(), values...)
		case to != id:
			c = updOld(rel, []val{num(id), null, null}, values...)
		}
		return &c
	default:
		if !there {
			return nil
		}
		delete(m.rows, id)
		old := []val{num(id), null, null}
		if m.full {
			old = before.values()
		}
		c := del(rel, old...)
		return &c
	}
}

func insertRows(rows []record) string {
	var b strings.Builder
	b.WriteString("TRUNCATE t; DELETE FROM pgdrover.progress;")
	for _, r := range rows {
		fmt.Fprintf(&b, "INSERT INTO t VALUES (%d, nullif(%d, 0), E'%s');", r.id, r.u, strings.NewReplacer("\t", `\t`, `\`, `\\`).Replace(r.v))
	}
	return b.String()
}

// TestFoldedIsExact: whatever a source does, and whatever keys the destination
// has lost or has too many, the folded way ends with the same rows, the same
// stop at the same transaction, as one change after the other.
func TestFoldedIsExact(t *testing.T) {
	t.Parallel()
	for _, ddl := range []string{
		"CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v text)",
		"CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v text, extra int DEFAULT 7)",
		"CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u int UNIQUE, v text); ALTER TABLE t REPLICA IDENTITY FULL",
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			c := pgtest.Shared(t, 0)
			source := c.CreateDatabase(t)
			source.Exec(t, strings.Replace(ddl, ", extra int DEFAULT 7", "", 1))
			relations, types := shapes(t, source, "t")
			rel := published(relations["t"], relations["t"].Identity)
			var dbs [2]*pgtest.Database
			var conns [2]*tables
			for i := range dbs {
				dbs[i] = destination(t, c, ddl)
				conns[i] = &tables{find: finder(t, source, dbs[i], types, nil)}
			}
			rapid.Check(t, func(rt *rapid.T) {
				m := &model{rows: map[int]record{}, full: rel.Identity == 'f'}
				var initial []record
				for id := 1; id <= 8; id++ {
					if rapid.Bool().Draw(rt, "initial") {
						r := record{id, 0, fmt.Sprint("i", id)}
						if id <= 6 {
							r.u = id
						}
						m.rows[id] = r
						initial = append(initial, r)
					}
				}
				switch broken := rapid.IntRange(1, 40).Draw(rt, "broken"); {
				case broken <= 8 && len(m.rows[broken].v) > 0:
					initial = slices.DeleteFunc(initial, func(r record) bool { return r.id == broken })
				case broken <= 8:
					initial = append(initial, record{broken, 0, "extra"})
				}
				var clock clock
				var txs []*stream.Transaction
				for range rapid.IntRange(1, 6).Draw(rt, "transactions") {
					var changes []stream.Change
					for range rapid.IntRange(1, 10).Draw(rt, "changes") {
						if c := m.change(rt, rel); c != nil {
							changes = append(changes, *c)
						}
					}
					txs = append(txs, clock.tx(changes...))
				}
				group := rapid.SampledFrom([]int{2, 5, 1000}).Draw(rt, "group")
				var rows [2][]string
				var stops [2]string
				for i, db := range dbs {
					sql := insertRows(initial)
					if strings.Contains(ddl, "ALWAYS") {
						sql = strings.ReplaceAll(sql, "t VALUES", "t OVERRIDING SYSTEM VALUE VALUES")
					}
					if strings.Contains(ddl, "extra") {
						sql += "UPDATE t SET extra = id"
					}
					db.Exec(t, sql)
					conns[i].stopped = nil
					o := options(conns[i], server(db, 0))
					o.GroupRows = group
					a := apply.New(o)
					if i == 1 {
						a.ExactOnly()
					}
					s := newSource(txs...)
					s.end = errEnd
					if err := a.Run(t.Context(), s); !errors.Is(err, errEnd) {
						rt.Fatalf("Run: %v", err)
					}
					rows[i] = db.Rows(t, "TABLE t ORDER BY id")
					if s, ok := conns[i].stop("t"); ok {
						stops[i] = fmt.Sprintf("%s at %s: %s\n%s", s.err.Code, s.at, s.err.Message, s.err.Detail)
					}
				}
				if stops[0] != stops[1] {
					rt.Fatalf("folded stops %q, exact %q", stops[0], stops[1])
				}
				if diff := cmp.Diff(rows[1], rows[0]); diff != "" {
					rt.Fatalf("the tables differ (-exact +folded):\n%s", diff)
				}
				if stops[0] == "" && len(rows[0]) != len(m.rows) {
					// An extra row that no change met stays.
					if len(rows[0]) != len(m.rows)+1 && len(rows[0]) != len(m.rows)-1 {
						rt.Fatalf("%d rows instead of %d", len(rows[0]), len(m.rows))
					}
				}
			})
		})
	}
}

var errEnd = fmt.Errorf("the source has ended")
