package relay_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// talk makes conversations at random, the same for the same seed.
type talk struct {
	random *rand.Rand
	// blocks allows what statement mode refuses: transaction blocks and what
	// outlasts a transaction.
	blocks bool
	// bound: a Bind of this exchange has made the portal without a name. To use what a
	// simple query has left of it in a transaction that has failed crashes PostgreSQL.
	bound bool
}

// pick gives one of several.
func pick[T any](t *talk, of []T) T { return of[t.random.IntN(len(of))] }

// What the conversations are made of. Whether a statement succeeds is no matter: the answer
// is to be the server's.
var (
	talkStatements = []string{
		"SELECT 1", "SELECT 'ü', NULL, ''", "SELECT id, name FROM item ORDER BY id", "SELECT count(*) FROM item", "SELECT 1/0", "SELEC", "",
		"INSERT INTO item VALUES (10, 'ten')", "INSERT INTO item VALUES (1, 'twice')", "INSERT INTO item VALUES (11, NULL)", "UPDATE item SET name = name || '.' WHERE id = 1",
		"DELETE FROM item WHERE id >= 10", "SELECT repeat('x', 40000)", "SELECT n, repeat('r', n) FROM generate_series(1, 300) AS n",
		"DO $$ BEGIN RAISE NOTICE 'a notice'; END $$", "DO $$ BEGIN RAISE EXCEPTION 'an error' USING HINT = 'h', DETAIL = 'd', ERRCODE = 'P0042'; END $$",
		"SHOW DateStyle", "SHOW work_mem", "SET work_mem TO '5MB'", "RESET work_mem", "SET LOCAL work_mem TO '6MB'", "SET DateStyle TO 'German'", "RESET ALL", "SELECT DATE '2030-02-01'",
		"SET nothing_known TO 1", "COPY (SELECT generate_series(1, 50)) TO STDOUT", "DROP TABLE IF EXISTS nowhere", "VALUES (1), (2), (3)",
	}
	talkBlocks = []string{
		"BEGIN", "BEGIN READ ONLY", "COMMIT", "ROLLBACK", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "RELEASE s", "COMMIT AND CHAIN", "BEGIN; SELECT 1", "SELECT 1; COMMIT; SELECT 2",
		"DECLARE c CURSOR FOR SELECT generate_series(1, 20)", "FETCH 3 FROM c", "MOVE 2 IN c", "CLOSE c", "DECLARE h CURSOR WITH HOLD FOR SELECT generate_series(1, 5)", "FETCH 2 FROM h", "CLOSE h",
		"PREPARE q1 AS SELECT 'q1', $1::int", "EXECUTE q1(4)", "DEALLOCATE q1", "DEALLOCATE ALL", "DISCARD ALL", "CREATE TEMP TABLE IF NOT EXISTS mine (a int)", "INSERT INTO mine VALUES (1)", "SELECT count(*) FROM mine", "DROP TABLE mine",
		"SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)", "SELECT pg_advisory_unlock_all()", "SET search_path TO pg_catalog", "LISTEN ch", "UNLISTEN *", "CLOSE ALL",
	}
	talkParses  = []string{"SELECT 1", "SELECT $1::int + 1", "SELECT id, name FROM item WHERE id >= $1 ORDER BY id", "SELECT generate_series(1, 30)", "INSERT INTO item VALUES ($1, 'p')", "SELEC", "SELECT 1/0", "SET work_mem TO '7MB'", "SHOW work_mem", "COPY (SELECT 1) TO STDOUT", ""}
	talkNames   = []string{"", "", "a", "b", "c"}
	talkPortals = []string{"", "", "", "p"}
)

func (t *talk) statement() string {
	if t.blocks && t.random.IntN(2) == 0 {
		return pick(t, talkBlocks)
	}
	return pick(t, talkStatements)
}

// simple is one query string.
func (t *talk) simple() step {
	sql := t.statement()
	for t.random.IntN(5) == 0 {
		sql += "; " + pick(t, talkStatements)
	}
	return ask(sql)
}

// message is one of the extended protocol.
func (t *talk) message() pgproto3.FrontendMessage {
	name, portal, used := pick(t, talkNames), pick(t, talkPortals), "p"
	if t.bound {
		used = portal
	}
	switch t.random.IntN(10) {
	case 0, 1:
		sql := pick(t, talkParses)
		if t.blocks && t.random.IntN(4) == 0 {
			sql = pick(t, []string{"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s"})
		}
		return parse(name, sql)
	case 2, 3, 4:
		t.bound = t.bound || portal == ""
		b := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: name}
		if t.random.IntN(2) == 0 {
			b.Parameters = [][]byte{[]byte(strconv.Itoa(t.random.IntN(20)))}
		}
		return b
	case 5:
		return describe(name)
	case 6:
		return &pgproto3.Describe{ObjectType: 'P', Name: used}
	case 7:
		if t.random.IntN(2) == 0 {
			return &pgproto3.Close{ObjectType: 'P', Name: used}
		}
		return closing(name)
	}
	return &pgproto3.Execute{Portal: used, MaxRows: uint32(t.random.IntN(3) * 2)}
}

// pipeline is several exchanges of the extended protocol at once, a query perhaps between
// them.
func (t *talk) pipeline() step {
	var out step
	for range 1 + t.random.IntN(3) {
		t.bound = false
		for range 1 + t.random.IntN(6) {
			switch t.random.IntN(12) {
			case 0:
				out.send = append(out.send, flush)
			case 1, 2: // what makes sense
				name := pick(t, talkNames)
				t.bound = true
				out.send = append(out.send, parse(name, pick(t, talkParses)), bind(name), execute)
			default:
				out.send = append(out.send, t.message())
			}
		}
		out.send = append(out.send, syncing)
		out.ready++
		if t.random.IntN(4) == 0 {
			out.send = append(out.send, query(pick(t, talkStatements)))
			out.ready++
		}
	}
	return out
}

// copyIn is a COPY FROM STDIN of either protocol, with rows that are good or not.
func (t *talk) copyIn() step {
	out := step{ready: 1}
	extended := t.random.IntN(2) == 0
	if extended {
		out.send = append(out.send, parse("", "COPY item FROM STDIN"), bind(""), execute)
	} else {
		out.send = append(out.send, query(pick(t, []string{"COPY item FROM STDIN", "COPY nowhere FROM STDIN", "COPY item FROM STDIN; SELECT 1"})))
	}
	for i := range t.random.IntN(4) {
		row := fmt.Sprintf("%d\trow\n", 20+i)
		if t.random.IntN(5) == 0 {
			row = "not a row\n"
		}
		out.send = append(out.send, &pgproto3.CopyData{Data: []byte(strings.Repeat(row, 1+t.random.IntN(2)))})
	}
	if t.random.IntN(3) == 0 {
		out.send = append(out.send, &pgproto3.CopyFail{Message: "no more"})
	} else {
		out.send = append(out.send, &pgproto3.CopyDone{})
	}
	if extended { // nobody is to run it again without rows
		out.send = append(out.send, syncing, closing(""), syncing)
		out.ready++
	}
	return out
}

// conversation begins with the same rows and ends outside of transactions.
func (t *talk) conversation(n int) []step {
	out := []step{ask("TRUNCATE item; INSERT INTO item VALUES (1, 'one'), (2, 'two')")}
	for range n {
		switch t.random.IntN(8) {
		case 0, 1, 2:
			out = append(out, t.simple())
		case 3:
			out = append(out, t.copyIn())
		default:
			out = append(out, t.pipeline())
		}
	}
	return append(out, ask("ROLLBACK"), ask("SELECT * FROM item ORDER BY id"))
}

// write tells what a step sends.
func (s step) write() string {
	var out []string
	for _, m := range s.send {
		out = append(out, strings.TrimPrefix(fmt.Sprintf("%T%+v", m, m), "*pgproto3."))
	}
	return strings.Join(out, "\n   ")
}

// What differs: the names of statements on servers, which messages quote, and of the error
// about one that exists already where in the server it was found.
var (
	ownNames = regexp.MustCompile(`prepared statement \\"[^"]*\\"`)
	foundBy  = regexp.MustCompile(`\\x00Fprepare\.c\\x00L[0-9]+\\x00RStorePreparedStatement`)
)

// Conversations at random are answered through the proxy as they are by the server.
// RELAY_SEED has other ones than the usual.
func TestRandomConversations(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	seed, n := uint64(1), 10
	if os.Getenv("PGDROVER_LONG_TESTS") != "" {
		n = 60
	}
	if s := os.Getenv("RELAY_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for i, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t, 0).CreateDatabase(t)
			d.Exec(t, "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL)")
			s := standOn(t, d, setup{mode: mode, general: "default_pool_size = 3"})
			for k := range n {
				talk := &talk{random: rand.New(rand.NewPCG(seed, uint64(i*1_000_000+k))), blocks: mode != config.ModeStatement}
				steps := talk.conversation(12)
				straight := speakTo(t, d.DSN())
				want := tell(t, d, straight, steps)
				straight.conn.Close()
				through := s.speak()
				got := tell(t, d, through, steps)
				through.conn.Close()
				for at := range steps {
					diff := cmp.Diff(want[at], got[at])
					if diff == "" {
						continue
					}
					if parsedAlready(want[at], got[at]) {
						break // what they know of statements differs from here on
					}
					for _, before := range steps[max(0, at-6) : at+1] {
						t.Log("say: " + before.write())
					}
					t.Fatalf("seed %d, conversation %d, step %d (-server +proxy):\n%.3000s", seed, k, at, diff)
				}
			}
		})
	}
}

// parsedAlready tells whether answers differ only because servers have a statement that a
// client parses: the proxy says ParseComplete, though the server would have refused the text
// by now (its table is gone, the transaction is aborted). The exchange fails all the same, at
// what follows.
func parsedAlready(server, proxy []string) bool {
	s, p := exchanges(server), exchanges(proxy)
	if len(s) != len(p) {
		return false
	}
	for i := range s {
		if slices.Equal(s[i], p[i]) {
			continue
		}
		isError := func(m string) bool { return strings.HasPrefix(m, "E ") }
		es, ep := slices.IndexFunc(s[i], isError), slices.IndexFunc(p[i], isError)
		if es < 0 || ep <= es || !slices.Equal(s[i][:es], p[i][:es]) || !slices.Equal(s[i][es+1:], p[i][ep+1:]) {
			return false
		}
		for _, more := range p[i][es:ep] {
			if more != `1 ""` && more != `3 ""` {
				return false
			}
		}
	}
	return true
}

// exchanges cuts answers behind each ReadyForQuery.
func exchanges(answers []string) (out [][]string) {
	for from, i := 0, 0; i < len(answers); i++ {
		if strings.HasPrefix(answers[i], "Z ") || i == len(answers)-1 {
			out = append(out, answers[from:i+1])
			from = i + 1
		}
	}
	return out
}

// tell says a conversation and gives the answers to each step, without what must differ.
func tell(t *testing.T, d *pgtest.Database, f *frontend, steps []step) [][]string {
	t.Helper()
	out := make([][]string, len(steps))
	at := 0
	defer func() {
		if out[len(out)-1] == nil {
			stacks := make([]byte, 1<<20)
			t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
			for i, s := range steps[:at+1] {
				t.Logf("step %d: %s", i, s.write())
			}
			t.Log(pgtest.Value[string](t, d, "SELECT string_agg(pid || ' ' || state || ' ' || coalesce(wait_event, '') || ' ' || query, E'\n') FROM pg_stat_activity WHERE datname = current_database()"))
		}
	}()
	for i, s := range steps {
		at = i
		for _, m := range s.send {
			f.Send(m)
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		out[i] = hearRaw(t, f.conn, s.ready, false)
		for j, m := range out[i] {
			out[i][j] = foundBy.ReplaceAllString(ownNames.ReplaceAllString(m, "prepared statement n"), "")
		}
	}
	return out
}
