package admin

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

func TestGreeting(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	got := s.connect("monitoring", map[string]string{
		"application_name": "probe", "client_encoding": "utf-8", "DateStyle": "ISO", "TimeZone": "Europe/Berlin",
		"options": "-c statement_timeout=5s --client-min-messages=warning -cextra_float_digits=3 -x",
	}).until("Z:")
	want := []string{
		"R", "K", "S:server_version=14.0 (pgdrover 0.1.0)", "S:server_encoding=UTF8", "S:client_encoding=UTF8",
		"S:standard_conforming_strings=on", "S:DateStyle=ISO, MDY", "S:IntervalStyle=postgres", "S:TimeZone=Europe/Berlin",
		"S:integer_datetimes=on", "S:is_superuser=off", "S:session_authorization=monitoring", "S:application_name=probe",
		"S:default_transaction_read_only=off", "S:in_hot_standby=off", "Z:I",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSimpleProtocol is a conversation: what is sent, and what comes back.
func TestSimpleProtocol(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", map[string]string{"options": "-c statement_timeout=5s"}).ready()
	for _, turn := range []struct{ query, want string }{
		{"", "I Z:I"},
		{" ; -- nothing\n;", "I Z:I"},
		{"SHOW VERSION; show server_version", "T:version D:pgdrover 0.1.0 C:SHOW T:server_version D:14.0 (pgdrover 0.1.0) C:SHOW Z:I"},
		{"SHOW VERSION; SHOV; SHOW VERSION", "T:version D:pgdrover 0.1.0 C:SHOW ERROR:42601 Z:I"},
		{"SHOW VERSION; 'x", "ERROR:42601 Z:I"},
		{"SHOW statement_timeout; SHOW port", "T:statement_timeout D:5s C:SHOW T:port D:6500 C:SHOW Z:I"},
		{"WAIT $1", "ERROR:42P02 Z:I"},
		{"SET TimeZone TO 'Asia/Tokyo'", "S:TimeZone=Asia/Tokyo C:SET Z:I"},
		{"set time zone utc", "S:TimeZone=utc C:SET Z:I"},
		{"RESET timezone; SHOW TIME ZONE", "S:TimeZone=UTC C:RESET T:TimeZone D:UTC C:SHOW Z:I"},
		{"SET application_name = DEFAULT", "S:application_name= C:SET Z:I"},
		{"SET NAMES 'UTF8'", "S:client_encoding=UTF8 C:SET Z:I"},
		{"SET client_encoding TO latin1", "ERROR:22023 Z:I"},
		{"SET server_version TO 15", "ERROR:55P02 Z:I"},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "C:SET Z:I"},
		{"SET SESSION search_path = a, \"B\"; SHOW search_path", "C:SET T:search_path D:a, \"B\" C:SHOW Z:I"},
		{"SET LOCAL extra_float_digits TO 3", "WARNING:25P01 C:SET Z:I"},
		{"SHOW TRANSACTION ISOLATION LEVEL", "T:transaction_isolation D:read committed C:SHOW Z:I"},
		{"DISCARD ALL; SHOW search_path", "C:DISCARD ALL T:search_path D:\"$user\", public C:SHOW Z:I"},
		{"DEALLOCATE ALL; UNLISTEN *; CLOSE ALL; RESET ALL", "C:DEALLOCATE ALL C:UNLISTEN C:CLOSE CURSOR ALL C:RESET Z:I"},
		{"DEALLOCATE x", "ERROR:26000 Z:I"},
		{"SELECT 1", "T:?column? D:1 C:SELECT 1 Z:I"},
		{"SET client_min_messages = error; COMMIT", "C:SET C:COMMIT Z:I"},
		{"SET client_min_messages = notice; COMMIT", "C:SET WARNING:25P01 C:COMMIT Z:I"},
	} {
		if got := c.query(turn.query); got != turn.want {
			t.Errorf("%s:\n got %s\nwant %s", turn.query, got, turn.want)
		}
	}
}

// TestTransactions walks the states of a transaction: from each, by each
// statement, to the next, with the tag that drivers look at.
func TestTransactions(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.stopTask = func(mirror.TaskID) error { return nil }
	for _, test := range []struct{ path, want string }{
		{"BEGIN", "C:BEGIN Z:T"},
		{"START TRANSACTION READ ONLY", "C:START TRANSACTION Z:T"},
		{"BEGIN|BEGIN", "WARNING:25001 C:BEGIN Z:T"},
		{"BEGIN|COMMIT", "C:COMMIT Z:I"},
		{"BEGIN|END WORK", "C:COMMIT Z:I"},
		{"BEGIN|ROLLBACK", "C:ROLLBACK Z:I"},
		{"BEGIN|SHOW VERSION", "T:version D:pgdrover 0.1.0 C:SHOW Z:T"},
		{"BEGIN|SHOV", "ERROR:42601 Z:E"},
		{"BEGIN|SHOV|SHOW VERSION", "ERROR:25P02 Z:E"},
		{"BEGIN|SHOV|SHOV", "ERROR:25P02 Z:E"},
		{"BEGIN|SHOV|BEGIN", "ERROR:25P02 Z:E"},
		{"BEGIN|SHOV|COMMIT", "C:ROLLBACK Z:I"},
		{"BEGIN|SHOV|ROLLBACK", "C:ROLLBACK Z:I"},
		{"BEGIN|SHOV|ABORT", "C:ROLLBACK Z:I"},
		{"BEGIN|SHOV|ROLLBACK|SHOW VERSION", "T:version D:pgdrover 0.1.0 C:SHOW Z:I"},
		{"COMMIT", "WARNING:25P01 C:COMMIT Z:I"},
		{"ROLLBACK", "WARNING:25P01 C:ROLLBACK Z:I"},
		{"SAVEPOINT a", "ERROR:25P01 Z:I"},
		{"BEGIN|SAVEPOINT a", "C:SAVEPOINT Z:T"},
		{"BEGIN|SAVEPOINT a|SHOV|ROLLBACK TO A", "C:ROLLBACK Z:T"},
		{"BEGIN|SAVEPOINT a|SHOV|ROLLBACK TO b", "ERROR:3B001 Z:E"},
		{"BEGIN|SAVEPOINT a|SHOV|RELEASE a", "ERROR:25P02 Z:E"},
		{"BEGIN|SAVEPOINT a|SAVEPOINT b|ROLLBACK TO SAVEPOINT a|RELEASE b", "ERROR:3B001 Z:E"},
		{"BEGIN|SAVEPOINT \"A\"|RELEASE SAVEPOINT \"A\"", "C:RELEASE Z:T"},
		{"BEGIN|STOP_TASK 1|ROLLBACK", "WARNING:01000 C:ROLLBACK Z:I"},
		{"BEGIN|STOP_TASK 1|COMMIT|BEGIN|ROLLBACK", "C:ROLLBACK Z:I"},
		{"BEGIN|DISCARD ALL", "ERROR:25001 Z:E"},
		{"BEGIN|SET LOCAL application_name = x|COMMIT", "S:application_name= C:COMMIT Z:I"},
		{"BEGIN|SET LOCAL row_security = off|SET LOCAL row_security = on|ROLLBACK|SHOW row_security", "T:row_security D:on C:SHOW Z:I"},
		{"SET row_security = off|BEGIN|SET LOCAL row_security = on|ROLLBACK|SHOW row_security", "T:row_security D:off C:SHOW Z:I"},
	} {
		c := s.connect("admin", nil).ready()
		var got string
		for _, statement := range strings.Split(test.path, "|") {
			got = c.query(statement)
		}
		if got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.path, got, test.want)
		}
	}
}

// TestReaders: a reader may SHOW and nothing else, whatever the command.
func TestReaders(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.engine.tasks = func() ([]mirror.Task, []*pgerror.Error, error) { return nil, nil, nil }
	c := s.connect("monitoring", nil).ready()
	for _, doc := range Reference() {
		if doc.Role == Reader {
			if !strings.HasPrefix(doc.Name, "SHOW") {
				t.Errorf("readers may run %s", doc.Name)
			}
			continue
		}
		e := c.refusal(doc.Example)
		if e.Code != pgerror.InsufficientPrivilege || e.Hint == "" {
			t.Errorf("%s: %+v", doc.Example, e)
		}
	}
	if got := c.query("SHOW TASKS"); !strings.HasSuffix(got, "C:SHOW Z:I") {
		t.Errorf("SHOW TASKS: %s", got)
	}
	if got := c.query("SET application_name TO x; BEGIN; COMMIT"); got != "S:application_name=x C:SET C:BEGIN C:COMMIT Z:I" {
		t.Errorf("session statements: %s", got)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	if got := c.query("RELOAD"); got != "NOTICE:00000 C:RELOAD Z:I" {
		t.Errorf("nothing changed: %s", got)
	}
	s.configuration.changes = config.Changes{
		Applied:      []config.Change{{Key: "schema_sync.index_jobs", Old: "2", New: "4"}},
		NeedsRestart: []config.Change{{Key: "general.port", Old: "6432", New: ""}},
	}
	s.configuration.problems = []config.Problem{{File: "pgdog.toml", Line: 3, Message: "odd"}}
	if got := c.query("RELOAD"); got != "WARNING:01000 NOTICE:00000 WARNING:01000 C:RELOAD Z:I" {
		t.Errorf("changes: %s", got)
	}
	s.configuration.err = &config.Error{Problems: []config.Problem{{File: "pgdog.toml", Line: 12, Key: "general.prot", Message: "unknown key"}}}
	if e := c.refusal("RELOAD"); e.Code != "F0000" || !strings.Contains(e.Message, "pgdog.toml:12: general.prot") {
		t.Errorf("error: %+v", e)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	if got := c.query("SET Schema_Sync.index_jobs = 5; SHOW schema_sync.index_jobs"); got != "C:SET T:schema_sync.index_jobs D:5 C:SHOW Z:I" {
		t.Errorf("set: %s", got)
	}
	if got := c.query("SET schema_sync.index_jobs TO DEFAULT; SHOW schema_sync.index_jobs"); got != "C:SET T:schema_sync.index_jobs D:2 C:SHOW Z:I" {
		t.Errorf("default: %s", got)
	}
	for text, want := range map[string]string{
		"SET schema_sync.index_job TO 1":     "42704 at 5: Perhaps you meant schema_sync.index_jobs.",
		"SET schema_sync.index_jobs TO many": "22023 at 5: ",
		"SHOW CONFIG prot":                   "42704 at 13: Perhaps you meant port.",
		"SHOW TASKZ":                         "42601 at 6: Perhaps you meant SHOW TASKS.",
		"SHOW MIRROR":                        "42601 at 12: Syntax: SHOW MIRROR <mirror>",
		"SHOW HELP TASKZ":                    "42601 at 11: ",
		"SELECT * FROM orders":               "0A000 at ",
		"WAIT seven":                         "22P02 at 6: ",
	} {
		e := c.refusal(text)
		if got := e.Code + " at " + itoa(e.Position) + ": " + e.Hint; !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n got %s (%s)\nwant %s", text, got, e.Message, want)
		}
	}
}

// TestSecretsAreNotShown looks for every secret of the configuration in every
// answer that needs no engine.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	s.engine.probe = func(string) (time.Duration, error) { return 0, errors.New("refused") }
	for _, text := range []string{
		"SHOW CONFIG", "SHOW DATABASES", "SHOW USERS", "SHOW ALL", "SHOW admin.password", "SHOW CONFIG admin.password",
		"SELECT current_setting('admin.password')", "PROBE 'postgres://u:admin-secret@h/d'", "SET admin.password TO 'user-secret'",
	} {
		got := c.query(text)
		for _, secret := range []string{"admin-secret", "database-secret", "user-secret", "owner-secret", "reader-secret"} {
			if strings.Contains(got, secret) || strings.Contains(s.log.String(), secret) {
				t.Errorf("%s shows %s", text, secret)
			}
		}
	}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
