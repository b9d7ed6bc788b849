package relay_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// step is what a client sends at once, and how many ReadyForQuery it waits for.
type step struct {
	ready int
	send  []pgproto3.FrontendMessage
}

func ask(sql string) step { return step{1, []pgproto3.FrontendMessage{query(sql)}} }

func extended(messages ...pgproto3.FrontendMessage) step {
	return step{1, append(messages, syncing)}
}

// run1 parses, binds, describes and executes a statement.
func run1(sql string, parameters ...string) step {
	values := make([][]byte, len(parameters))
	for i, p := range parameters {
		values[i] = []byte(p)
	}
	return extended(parse("", sql), &pgproto3.Bind{Parameters: values}, &pgproto3.Describe{ObjectType: 'P'}, execute)
}

// conversations are what is said to a server directly and through the proxy. They
// leave nothing behind.
var conversations = map[string][]step{
	"values":       {ask("SELECT 1, NULL, '', 'ü', ARRAY[1,2], '{\"a\":1}'::jsonb, '1.5'::numeric, now() - now()"), run1("SELECT $1::int + 1, $2::text", "41", "x")},
	"several":      {ask("SELECT 1; SELECT 2; SELECT 3/0; SELECT 4"), ask("SELECT 1; ; SELECT 2;;"), ask(""), ask(" ; "), ask("-- nothing")},
	"error fields": {ask("SELECT 1 FROM nowhere"), ask("INSERT INTO item VALUES (1, 'x'); INSERT INTO item VALUES (1, 'y')"), ask("INSERT INTO item VALUES (2, NULL)"), ask("SELEC 1"), ask("DO $$ BEGIN RAISE EXCEPTION 'm' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'P0123', COLUMN = 'c', TABLE = 't', SCHEMA = 's', DATATYPE = 'dt', CONSTRAINT = 'co'; END $$")},
	"notices":      {ask("DO $$ BEGIN FOR i IN 1..50 LOOP RAISE NOTICE 'notice %', i; END LOOP; END $$"), ask("DO $$ BEGIN RAISE WARNING '%', repeat('w', 30000); END $$"), ask("DROP TABLE IF EXISTS nowhere")},
	"transactions": {ask("BEGIN"), ask("INSERT INTO item VALUES (5, 'x')"), ask("SAVEPOINT a"), ask("SELECT 1/0"), ask("SELECT 1"), ask("ROLLBACK TO a"), ask("SELECT count(*) FROM item"), ask("ROLLBACK"), ask("COMMIT"), ask("BEGIN; SELECT 1"), ask("COMMIT AND CHAIN"), ask("ROLLBACK")},
	"deferred":     {ask("BEGIN; INSERT INTO child VALUES (99)"), ask("COMMIT"), run1("INSERT INTO child VALUES (99)"), ask("SELECT count(*) FROM child")},
	"portals": {ask("BEGIN"), extended(parse("p", "SELECT generate_series(1, 10)"), &pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "p"}, &pgproto3.Execute{Portal: "c", MaxRows: 3}),
		extended(&pgproto3.Execute{Portal: "c", MaxRows: 3}), extended(&pgproto3.Describe{ObjectType: 'P', Name: "c"}, &pgproto3.Execute{Portal: "c"}, &pgproto3.Close{ObjectType: 'P', Name: "c"}, &pgproto3.Execute{Portal: "c"}), ask("ROLLBACK"), extended(closing("p"))},
	"cursors":    {ask("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT generate_series(1, 100)"), ask("FETCH 3 FROM c"), ask("MOVE 10 IN c"), ask("FETCH PRIOR FROM c"), ask("CLOSE c; COMMIT")},
	"large rows": {ask("SELECT repeat('x', 1000000), generate_series(1, 3)"), ask("SELECT repeat('y', 16379 - n) FROM generate_series(0, 40) AS n"), run1("SELECT $1::text", strings.Repeat("z", 300_000))},
	"many rows":  {ask("SELECT n, repeat('r', n % 200) FROM generate_series(1, 5000) AS n")},
	"long text":  {ask("SELECT " + strings.Repeat("1 + ", 40_000) + "1"), extended(parse("long", "SELECT "+strings.Repeat("1 + ", 10_000)+"1"), bind("long"), execute, closing("long"))},
	"copy out":   {ask("COPY (SELECT generate_series(1, 2000)) TO STDOUT"), ask("COPY (SELECT 1/(3-n) FROM generate_series(1, 5) AS n) TO STDOUT"), run1("COPY (SELECT 1) TO STDOUT (FORMAT binary)")},
	"copy in":    {{1, []pgproto3.FrontendMessage{query("BEGIN")}}, {1, []pgproto3.FrontendMessage{query("COPY item FROM STDIN"), &pgproto3.CopyData{Data: []byte("10\ta\n11\tb\n")}, &pgproto3.CopyDone{}}}, ask("SELECT * FROM item WHERE id >= 10 ORDER BY id"), ask("ROLLBACK")},
	"copy that fails": {{1, []pgproto3.FrontendMessage{query("COPY item FROM STDIN"), &pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyData{Data: []byte("1\ta\n")}, &pgproto3.CopyDone{}}},
		{1, []pgproto3.FrontendMessage{query("COPY item FROM STDIN"), &pgproto3.CopyFail{Message: "no more"}}}, {1, []pgproto3.FrontendMessage{query("COPY nowhere FROM STDIN"), &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}}}, ask("SELECT 1")},
	"copy by the extended protocol": {{1, []pgproto3.FrontendMessage{parse("", "COPY item FROM STDIN"), bind(""), execute, syncing, &pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyDone{}, syncing}},
		{1, []pgproto3.FrontendMessage{query("BEGIN")}}, {1, []pgproto3.FrontendMessage{parse("", "COPY item FROM STDIN"), bind(""), execute, &pgproto3.CopyData{Data: []byte("10\ta\n")}, &pgproto3.CopyDone{}, syncing}}, ask("ROLLBACK")},
	"pipelines": {{3, []pgproto3.FrontendMessage{parse("", "SELECT 1"), bind(""), execute, syncing, parse("", "SELECT 1/0"), bind(""), execute, bind(""), execute, syncing, query("SELECT 3")}},
		{1, []pgproto3.FrontendMessage{parse("q", "SELECT 1"), bind("q"), execute, parse("r", "SELEC"), closing("q"), bind("q"), execute, query("SELECT 'ignored'"), syncing}},
		extended(bind("q"), execute, closing("q")), {2, []pgproto3.FrontendMessage{query("SELECT 1/0"), query("SELECT 2")}}, {4, []pgproto3.FrontendMessage{syncing, syncing, query(""), syncing}}},
	"a pipeline's transaction": {extended(parse("", "INSERT INTO item VALUES (20, 'x')"), bind(""), execute, parse("", "SELECT 1/0"), bind(""), execute), ask("SELECT count(*) FROM item"),
		{2, []pgproto3.FrontendMessage{parse("", "BEGIN"), bind(""), execute, syncing, parse("", "SELECT count(*) FROM item"), bind(""), execute, syncing}}, ask("ROLLBACK")},
	"binary":          {extended(parse("", "SELECT $1::int8, $2::float8, now()::date - now()::date"), &pgproto3.Bind{ParameterFormatCodes: []int16{1}, Parameters: [][]byte{{0, 0, 0, 0, 0, 0, 0, 7}, {0x40, 9, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18}}, ResultFormatCodes: []int16{1}}, execute)},
	"descriptions":    {extended(parse("d", "SELECT id, name FROM item WHERE id = $1"), describe("d"), closing("d")), extended(parse("d", "INSERT INTO item VALUES ($1, $2)"), describe("d"), closing("d"))},
	"function call":   {{1, []pgproto3.FrontendMessage{&pgproto3.FunctionCall{Function: 1598, ArgFormatCodes: []uint16{}, Arguments: [][]byte{}, ResultFormatCode: 5}}}, {1, []pgproto3.FrontendMessage{&pgproto3.FunctionCall{Function: 2621 + 1<<20}}}, ask("SELECT 1")},
	"settings":        {ask("SET DateStyle TO 'German'"), ask("SHOW DateStyle"), ask("SET TIME ZONE 'UTC'; SELECT 1"), ask("RESET DateStyle"), ask("RESET ALL"), ask("SET nothing_known = 1"), ask("SET work_mem = 'x'")},
	"prepared by SQL": {ask("PREPARE s AS SELECT $1::int"), ask("EXECUTE s(4)"), ask("PREPARE s AS SELECT 1"), extended(bind("s"), execute), ask("DEALLOCATE s"), ask("EXECUTE s(4)"), ask("DEALLOCATE s")},
	"wrong order":     {extended(execute), extended(&pgproto3.Describe{ObjectType: 'P', Name: "nobody"}), extended(bind("nobody"), execute), {1, []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyDone{}, query("SELECT 1")}}, extended(&pgproto3.Close{ObjectType: 'P', Name: "nobody"})},
}

// masked is what differs between two runs of the same: process ids.
var masked = regexp.MustCompile(`\(PID [0-9]+\)`)

// hear gives the server's messages up to so many ReadyForQuery, byte for byte.
func hearRaw(t *testing.T, r io.Reader, ready int, reports bool) []string {
	t.Helper()
	var out []string
	head := make([]byte, 5)
	for ready > 0 {
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		if head[0] == 'Z' {
			ready--
		}
		if head[0] == 'S' && !reports {
			continue
		}
		out = append(out, masked.ReplaceAllString(fmt.Sprintf("%c %q", head[0], body), "(PID n)"))
	}
	return out
}

// converse says a conversation and gives all that was answered.
func converse(t *testing.T, f *frontend, steps []step, reports bool, between func(status byte)) []string {
	t.Helper()
	var out []string
	for _, s := range steps {
		for _, m := range s.send {
			f.Send(m)
		}
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		heard := hearRaw(t, f.conn, s.ready, reports)
		out = append(out, heard...)
		between(heard[len(heard)-1][3])
	}
	return out
}

// What a client is answered through the proxy is what it is answered by the server,
// byte for byte.
func TestAnswersAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL); CREATE TABLE child (id int REFERENCES item DEFERRABLE INITIALLY DEFERRED); INSERT INTO item VALUES (1, 'one')")
	run := func(t *testing.T, o setup, rotating bool) {
		s := standOn(t, d, o)
		for name, steps := range conversations {
			if o.mode == config.ModeStatement && usesTransactions(steps) {
				continue
			}
			want := converse(t, speakTo(t, d.DSN()), steps, !rotating, func(byte) {})
			between, others := func(byte) {}, func() {}
			if rotating {
				next := s.rotate()
				between, others = func(status byte) {
					if status == 'I' {
						next()
					}
				}, next
			}
			others()
			f := s.speak()
			got := converse(t, f, steps, !rotating, between)
			f.conn.Close()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-server +proxy):\n%.3000s", name, diff)
			}
		}
	}
	for name, o := range map[string]setup{
		"transaction": {}, "session": {mode: config.ModeSession}, "statement": {mode: config.ModeStatement},
		"names for all": {general: "prepared_statements = \"extended_anonymous\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "transaction" {
				pgtest.Long(t)
			}
			o.general += "\ndefault_pool_size = 40"
			run(t, o, false)
		})
	}
	t.Run("changing servers", func(t *testing.T) {
		t.Parallel()
		pgtest.Long(t)
		run(t, setup{general: "default_pool_size = 100"}, true)
	})
}

// usesTransactions tells whether a conversation is not for statement mode.
func usesTransactions(steps []step) bool {
	for _, s := range steps {
		for _, m := range s.send {
			switch m := m.(type) {
			case *pgproto3.Query:
				if strings.HasPrefix(m.String, "BEGIN") || strings.HasPrefix(m.String, "PREPARE") {
					return true
				}
			case *pgproto3.Parse:
				if m.Query == "BEGIN" {
					return true
				}
			}
		}
	}
	return false
}

// The same bytes, torn anywhere, are the same conversation.
func TestWhereMessagesAreTornIsNoMatter(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL); CREATE TABLE child (id int REFERENCES item DEFERRABLE INITIALLY DEFERRED); INSERT INTO item VALUES (1, 'one')")
	s := standOn(t, d, setup{general: "default_pool_size = 20"})
	random := rand.New(rand.NewPCG(3, 4))
	names := []string{"pipelines", "copy in", "copy that fails", "transactions", "error fields"}
	if os.Getenv("PGDROVER_LONG_TESTS") != "" {
		names = nil
		for name := range conversations {
			names = append(names, name)
		}
	}
	for _, name := range names {
		want := converse(t, speakTo(t, d.DSN()), conversations[name], true, func(byte) {})
		f := s.speak()
		var got []string
		for _, step := range conversations[name] {
			var b []byte
			for _, m := range step.send {
				b, _ = m.Encode(b)
			}
			for len(b) > 0 {
				n := 1 + random.IntN(min(len(b), 1+len(b)/8))
				f.bytes(b[:n])
				b = b[n:]
			}
			got = append(got, hearRaw(t, f.conn, step.ready, true)...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-server +proxy):\n%.3000s", name, diff)
		}
	}
}
