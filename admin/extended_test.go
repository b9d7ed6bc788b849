package admin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func parse(name, query string, oids ...uint32) pgproto3.FrontendMessage {
	return &pgproto3.Parse{Name: name, Query: query, ParameterOIDs: oids}
}

func bind(portal, statement string, parameters ...[]byte) pgproto3.FrontendMessage {
	return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement, Parameters: parameters}
}

func describeMessage(kind byte, name string) pgproto3.FrontendMessage {
	return &pgproto3.Describe{ObjectType: kind, Name: name}
}

func closeMessage(kind byte, name string) pgproto3.FrontendMessage {
	return &pgproto3.Close{ObjectType: kind, Name: name}
}

func execute(portal string, rows uint32) pgproto3.FrontendMessage {
	return &pgproto3.Execute{Portal: portal, MaxRows: rows}
}

var (
	syncMessage  = &pgproto3.Sync{}
	flushMessage = &pgproto3.Flush{}
)

func threeTasks() ([]mirror.Task, []*pgerror.Error, error) {
	return []mirror.Task{{ID: 3}, {ID: 2}, {ID: 1}}, nil, nil
}

// TestExtendedProtocol is a conversation; each turn ends with Sync.
func TestExtendedProtocol(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.stopTask = func(id mirror.TaskID) error {
		if id != 7 {
			return pgerror.New(pgerror.UndefinedObject, "there is no task %d", id)
		}
		return nil
	}
	type messages []pgproto3.FrontendMessage
	c := s.connect("admin", nil).ready()
	for i, turn := range []struct {
		send messages
		want string
	}{
		{messages{parse("", "SHOW VERSION"), bind("", ""), describeMessage('P', ""), execute("", 0)}, "1 2 T:version D:pgdrover 0.1.0 C:SHOW Z:I"},
		{messages{parse("", ""), bind("", ""), describeMessage('P', ""), execute("", 0)}, "1 2 n I Z:I"},
		{messages{parse("s", "STOP_TASK $1"), describeMessage('S', "s")}, "1 t T:stop_task Z:I"},
		{messages{bind("", "s", []byte("7")), execute("", 0)}, "2 D:OK C:STOP_TASK Z:I"},
		{messages{bind("", "s", []byte("8")), execute("", 0), execute("", 0), parse("x", "SHOW VERSION")}, "2 ERROR:42704 Z:I"},
		{messages{bind("", "s", nil), execute("", 0)}, "2 ERROR:22004 Z:I"},
		{messages{bind("", "s")}, "ERROR:08P01 Z:I"},
		{messages{bind("", "x")}, "ERROR:26000 Z:I"},
		{messages{parse("s", "SHOW VERSION")}, "ERROR:42P05 Z:I"},
		{messages{closeMessage('S', "s"), closeMessage('S', "nobody"), parse("s", "SHOW VERSION")}, "3 3 1 Z:I"},
		{messages{execute("nobody", 0)}, "ERROR:34000 Z:I"},
		{messages{describeMessage('P', "nobody")}, "ERROR:34000 Z:I"},
		{messages{describeMessage('S', "nobody")}, "ERROR:26000 Z:I"},
		{messages{describeMessage('?', "")}, "ERROR:08P01 Z:I"},
		{messages{closeMessage('?', "")}, "ERROR:08P01 Z:I"},
		{messages{parse("", "SHOW VERSION; SHOW VERSION")}, "ERROR:42601 Z:I"},
		{messages{parse("", "SHOV"), bind("", ""), execute("", 0), &pgproto3.Query{String: "SHOW VERSION"}}, "ERROR:42601 Z:I"},
		{messages{parse("", strings.Repeat(" ", longestPrepared)+"SHOW VERSION")}, "ERROR:54000 Z:I"},
		{messages{bind("p", "s"), bind("p", "s")}, "2 ERROR:42P03 Z:I"},
		{messages{bind("p", "s"), execute("p", 0), closeMessage('P', "p"), execute("p", 0)}, "2 D:pgdrover 0.1.0 C:SHOW 3 ERROR:34000 Z:I"},
		{messages{&pgproto3.Bind{PreparedStatement: "s", ResultFormatCodes: []int16{2}}}, "ERROR:22023 Z:I"},
		{messages{&pgproto3.Bind{PreparedStatement: "s", ResultFormatCodes: []int16{0, 0}}}, "ERROR:08P01 Z:I"},
		{messages{parse("", "RELOAD"), bind("", ""), describeMessage('P', ""), execute("", 0), execute("", 0)}, "1 2 n NOTICE:00000 C:RELOAD ERROR:55000 Z:I"},
		{messages{parse("", "BEGIN"), bind("", ""), execute("", 0)}, "1 2 C:BEGIN Z:T"},
		{messages{bind("p", "s"), execute("p", 0)}, "2 D:pgdrover 0.1.0 C:SHOW Z:T"},
		{messages{execute("p", 0)}, "C:SHOW Z:T"}, // inside BEGIN the portal is still there, at its end
		{messages{parse("", "SHOV")}, "ERROR:42601 Z:E"},
		{messages{parse("", "SHOW VERSION")}, "ERROR:25P02 Z:E"},
		{messages{bind("", "s")}, "ERROR:25P02 Z:E"},
		{messages{parse("", "COMMIT"), bind("", ""), execute("", 0)}, "1 2 C:ROLLBACK Z:I"},
		{messages{parse("", "DISCARD ALL"), bind("", ""), execute("", 0), bind("", "s")}, "1 2 C:DISCARD ALL ERROR:26000 Z:I"},
		{messages{parse("a", "SELECT $1::text AS x, $2", 0, 25), bind("", "a", []byte("y"), nil), describeMessage('P', ""), execute("", 0)}, "1 2 T:x,?column? D:y,NULL C:SELECT 1 Z:I"},
	} {
		c.send(append(turn.send, syncMessage)...)
		if got := strings.Join(c.until("Z:"), " "); got != turn.want {
			t.Errorf("turn %d, %+v:\n got %s\nwant %s", i, turn.send[0], got, turn.want)
		}
	}
}

func TestPortalSuspended(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.tasks = threeTasks
	c := s.connect("admin", nil).ready()
	c.send(parse("", "SHOW TASKS"), bind("", ""), execute("", 2), flushMessage)
	got := strings.Join(c.until("s"), " ")
	c.send(execute("", 1), execute("", 1), syncMessage, execute("", 0), syncMessage)
	got += " " + strings.Join(c.until("Z:"), " ") + " " + strings.Join(c.until("Z:"), " ")
	row := func(id int) string { return fmt.Sprintf("D:%d,root", id) }
	for _, cut := range []string{row(3), row(2), row(1)} {
		before, after, found := strings.Cut(got, cut)
		if !found {
			t.Fatalf("no %s in %s", cut, got)
		}
		_, after, _ = strings.Cut(after, " ")
		for !strings.HasPrefix(after, "D:") && !strings.HasPrefix(after, "s ") && !strings.HasPrefix(after, "C:") {
			_, after, _ = strings.Cut(after, " ") // the rest of the row
		}
		got = before + after
	}
	if want := "1 2 s C:SHOW C:SHOW Z:I ERROR:34000 Z:I"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestErrorIsSentBeforeSync: a client that sent Flush waits for the error.
func TestErrorIsSentBeforeSync(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	c.send(parse("", "SHOV"), flushMessage)
	c.until("ERROR:42601")
	c.send(syncMessage)
	c.until("Z:I")
}

func TestParameterTypes(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var requests []mirror.SchemaSyncRequest
	s.engine.schemaSync = func(r mirror.SchemaSyncRequest) (mirror.Started, error) {
		requests = append(requests, r)
		return mirror.Started{Task: 1}, nil
	}
	var stopped []mirror.TaskID
	s.engine.stopTask = func(id mirror.TaskID) error { stopped = append(stopped, id); return nil }
	c := s.connect("admin", nil).ready()

	c.send(parse("", "SCHEMA_SYNC PRE $2 $1 $2 DRY RUN"), describeMessage('S', ""), parse("", "STOP_TASK $1"), describeMessage('S', ""), syncMessage)
	var oids []string
	for {
		m, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*pgproto3.ParameterDescription); ok {
			oids = append(oids, fmt.Sprint(d.ParameterOIDs))
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			break
		}
	}
	if got := strings.Join(oids, " "); got != "[25 25] [20]" {
		t.Errorf("parameter types %s", got)
	}

	weird := `"Weird ""Name"" $1"`
	c.send(parse("", "SCHEMA_SYNC PRE $2 $1 $2 NO OWNER", 1043), bind("", "", []byte(weird), []byte("b")), execute("", 0), syncMessage)
	c.until("Z:I")
	want := mirror.SchemaSyncRequest{Phase: dump.PreData, Source: "b", Destination: weird, Publication: "b", NoOwner: true}
	if len(requests) != 1 || requests[0] != want {
		t.Errorf("request %+v, want %+v", requests, want)
	}

	for oid, value := range map[uint32]string{
		20: "\x00\x00\x00\x00\x00\x00\x00\x07", 23: "\x00\x00\x00\x07", 21: "\x00\x07", 25: "7", 1043: "7",
	} {
		c.send(parse("", "STOP_TASK $1", oid), &pgproto3.Bind{ParameterFormatCodes: []int16{1}, Parameters: [][]byte{[]byte(value)}}, execute("", 0), syncMessage)
		if got := strings.Join(c.until("Z:"), " "); got != "1 2 D:OK C:STOP_TASK Z:I" {
			t.Errorf("type %d: %s", oid, got)
		}
	}
	if len(stopped) != 5 || stopped[0] != 7 || stopped[4] != 7 {
		t.Errorf("stopped %v", stopped)
	}
	for _, test := range []struct {
		oid   uint32
		value string
		want  string
	}{{20, "\x07", "22P03"}, {1184, "\x00", "0A000"}, {25, "\xff", "22021"}} {
		c.send(parse("", "STOP_TASK $1", test.oid), &pgproto3.Bind{ParameterFormatCodes: []int16{1}, Parameters: [][]byte{[]byte(test.value)}}, syncMessage)
		if got := strings.Join(c.until("Z:"), " "); got != "1 ERROR:"+test.want+" Z:I" {
			t.Errorf("type %d: %s", test.oid, got)
		}
	}
}

// TestHeldIsBounded: a session cannot make the server remember without end, and
// what it drops is free again.
func TestHeldIsBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("monitoring", nil).ready()
	text := "SHOW VERSION" + strings.Repeat(" ", longestPrepared-100)
	refused := false
	for i := 0; i < 2*mostHeld/longestPrepared && !refused; i++ {
		c.send(parse(fmt.Sprint(i), text), syncMessage)
		refused = strings.Join(c.until("Z:"), " ") == "ERROR:53400 Z:I"
	}
	if !refused {
		t.Fatal("statements are not bounded")
	}
	c.query("DEALLOCATE ALL")
	c.send(parse("again", text), syncMessage)
	if got := strings.Join(c.until("Z:"), " "); got != "1 Z:I" {
		t.Errorf("after DEALLOCATE ALL: %s", got)
	}
}
