package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// objects reads the lines of --json, all of which have to be objects.
func objects(tb testing.TB, output string) []map[string]any {
	tb.Helper()
	var out []map[string]any
	for line := range strings.Lines(output) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			tb.Fatalf("%q is no object: %v", line, err)
		}
		out = append(out, object)
	}
	return out
}

func (p *process) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		tb.Fatal(err)
	}
}

// TestDataSyncInTwoParts copies by one command and applies changes by another.
func TestDataSyncInTwoParts(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	s.source[0].password, s.destination[0].password = "any", "any" // nothing to warn of
	m, paths := s.manager(t), s.write(t)
	output, code := launch(t, paths, dataSync("--sync-only", "--json")...).end()
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	last := objects(t, output)[len(objects(t, output))-1]
	if last["status"] != "finished" || last["rows"] != float64(20500) {
		t.Errorf("the last object is %v", last)
	}
	sameRows(t, source, destination)
	same(t, m)
	if s := slots(t, source); len(s) != 1 {
		t.Fatalf("the slots are %v", s)
	}
	changed(t, source, 1)
	for round, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		follower := launch(t, paths, dataSync("--replicate-only", "--json")...)
		streamsAtLast(t, m)
		changed(t, source, 2+round)
		ledger.CaughtUp(t, source, applied(m))

		// One at a time.
		output, code = launch(t, paths, dataSync()...).end()
		outcome{output, "", code}.expect(t, 1, `mirror "prod_to_prod_new" is being worked on`, "SQLSTATE 55006", fmt.Sprintf("process %d", follower.cmd.Process.Pid), "STOP_TASK")

		follower.signal(t, signal)
		output, code = follower.end()
		if code != 0 {
			t.Errorf("exit code %d after %s:\n%s", code, signal, output)
		}
		lines := objects(t, output)
		if last := lines[len(lines)-1]; last["status"] != "cancelled" {
			t.Errorf("the last object is %v", last)
		}
		sameRows(t, source, destination)
		source.WaitUntil(t, "SELECT NOT active FROM pg_replication_slots WHERE database = current_database()")
	}
}

// TestDataSyncExit ends data-sync in every way that is no success.
func TestDataSyncExit(t *testing.T) {
	t.Parallel()
	source, destination := fresh(t, pairRows)
	s := between(source, destination)
	m, paths := s.manager(t), s.write(t)
	for code, args := range map[int][][]string{
		1: {{"data-sync", "--from-database", "prod", "--to-database", "nowhere", "--publication", "all_tables"},
			{"data-sync", "--from-database", "prod", "--to-database", "prod_new", "--publication", "nothing"}, dataSync("--replicate-only")},
		2: {{"data-sync", "--from-database", "prod"}, dataSync("--replicate-only", "--sync-only"), dataSync("--ignore-errors")},
	} {
		for _, a := range args {
			output, got := launch(t, paths, a...).end()
			outcome{output, "", got}.expect(t, code)
			if code == 1 {
				outcome{output, "", got}.expect(t, code, "ERROR:", "SQLSTATE", "HINT:")
			}
		}
	}

	// Stopped in the middle of the copy: it is not done.
	succeed(t, m, request(dump.PreData))
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		release := hold(t, destination, "items")
		first := launch(t, paths, dataSync()...)
		held(t, destination, "copy")
		first.signal(t, signal)
		output, code := first.end()
		outcome{output, "", code}.expect(t, 1, "was stopped before", "public.items", "HINT:")
		release()
	}

	// Stopped with a table that is left out.
	follower := launch(t, paths, dataSync()...)
	streamsAtLast(t, m)
	destination.Exec(t, "DELETE FROM items WHERE id = 7")
	source.Exec(t, "DELETE FROM items WHERE id = 7")
	becomes(t, m, "public.items", mirror.TableStopped)
	follower.signal(t, syscall.SIGTERM)
	output, code := follower.end()
	outcome{output, "", code}.expect(t, 1, "1 stopped table", "public.items", "SHOW MIRROR")
}

// metric reads a metric: the sum over all its labels that match.
func metric(tb testing.TB, port int, name, labels string) (value float64, found bool) {
	tb.Helper()
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		tb.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^pgdrover_` + name + `\{[^}]*` + labels + `[^}]*\} (\S+)$`)
	for _, match := range line.FindAllStringSubmatch(string(text), -1) {
		one, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			tb.Fatal(err)
		}
		value, found = value+one, true
	}
	return value, found
}

// TestDataCommands runs a mirror's whole life by psql.
func TestDataCommands(t *testing.T) {
	t.Parallel()
	const weird = `CREATE TABLE "Weird ""Name"" $1" ("i d" int PRIMARY KEY); INSERT INTO "Weird ""Name"" $1" SELECT generate_series(1, 10);`
	source, destination := fresh(t, pairRows+weird)
	metrics := freePort(t)
	s := between(source, destination)
	s.general = quick + fmt.Sprintf("openmetrics_port = %d\n", metrics)
	r := serve(t, s)
	m := s.manager(t)
	// A slot of our name that belongs to no mirror.
	source.Exec(t, "SELECT pg_create_logical_replication_slot('pgdrover_left_over_'||$1, 'pgoutput')", source.Name[len(source.Name)-2:])

	answer := r.table(t, "COPY_DATA prod prod_new all_tables")[0]
	if !strings.HasPrefix(answer["replication_slot"], "pgdrover_prod_to_prod_new_") {
		t.Errorf("COPY_DATA answers %v", answer)
	}
	task := answer["task_id"]
	streamsAtLast(t, m)
	changed(t, source, 1)
	ledger.CaughtUp(t, source, applied(m))
	r.psql(t, "-c", "COPY_DATA prod prod_new all_tables").expect(t, 1, "is being worked on", "STOP_TASK")

	if row := r.table(t, "SHOW MIRRORS")[0]; row["mirror"] != theMirror || row["state"] != "replicating" || row["tables"] != "3" || row["streaming"] != "3" || row["stopped"] != "0" || row["rows"] != "20510" || row["sqlstate"] != "" {
		t.Errorf("SHOW MIRRORS: %v", row)
	}
	for _, row := range r.table(t, "SHOW MIRROR prod_to_prod_new") {
		if row["state"] != "streaming" || row["format"] != "binary" || row["percent"] != "100" || row["sync_lsn"] == "" {
			t.Errorf("SHOW MIRROR: %v", row)
		}
		if row["table"] == "items" {
			pgtest.Eventually(t, "rows that were applied are counted", func(context.Context) (bool, error) {
				for _, row := range r.table(t, "SHOW MIRROR prod_to_prod_new") {
					if row["table"] == "items" {
						return row["inserted"] == "100" && row["updated"] == "400" && row["deleted"] == "0", nil
					}
				}
				return false, nil
			})
		}
	}
	copied := r.table(t, "SHOW TABLE_COPIES")
	if len(copied) != 3 {
		t.Errorf("SHOW TABLE_COPIES has %d rows", len(copied))
	}
	for _, row := range copied {
		if row["status"] != "done" || row["task_id"] != task || row["attempt"] != "1" || !strings.HasPrefix(row["sql"], "COPY ") || row["rows"] != row["total_rows"] {
			t.Errorf("SHOW TABLE_COPIES: %v", row)
		}
	}
	orphans := 0
	for _, row := range r.table(t, "SHOW REPLICATION_SLOTS") {
		switch {
		case row["orphan"] == "t":
			orphans++
			if row["mirror"] != "" || !strings.HasPrefix(row["name"], "pgdrover_left_over_") {
				t.Errorf("an orphan: %v", row)
			}
		case row["mirror"] != theMirror || row["active"] != "t" || row["plugin"] != "pgoutput" || row["name"] != answer["replication_slot"]:
			t.Errorf("SHOW REPLICATION_SLOTS: %v", row)
		}
	}
	if orphans != 1 {
		t.Errorf("%d orphans are shown", orphans)
	}
	for name, want := range map[string][2]string{
		"tables": {`state="streaming"`, "3"}, "apply_rows_total": {`kind="insert"`, "101"}, "slots_orphaned": {"", "1"}, "lag_bytes": {"", ""}, "slot_active": {"slot=\"" + answer["replication_slot"], "1"},
		"tasks_running": {"", "1"}, "apply_lag_seconds_count": {"", ""}, "slot_retained_bytes": {`mirror="prod_to_prod_new"`, ""},
	} {
		got, found := 0.0, false
		t.Cleanup(func() { t.Logf("%s{%s} is %v, %t", name, want[0], got, found) })
		pgtest.Eventually(t, name+" is "+want[1], func(context.Context) (bool, error) {
			got, found = metric(t, metrics, name, want[0])
			return found && (want[1] == "" || strconv.FormatFloat(got, 'f', -1, 64) == want[1]), nil
		})
	}

	if got, _ := metric(t, metrics, "copy_rows_total", ""); got != 20510 {
		t.Errorf("copy_rows_total is %v, and 20510 rows were copied", got)
	}

	// RESYNC of one table, by a name that needs quotes.
	destination.Exec(t, `DELETE FROM "Weird ""Name"" $1" WHERE "i d" = 3`)
	source.Exec(t, `UPDATE "Weird ""Name"" $1" SET "i d" = 33 WHERE "i d" = 3`)
	row := becomes(t, m, `public.Weird "Name" $1`, mirror.TableStopped)
	command := regexp.MustCompile(`RESYNC [^;]*;`).FindString(row.Error.Hint)
	r.psql(t, "-v", "ON_ERROR_STOP=1", "-c", command).expect(t, 0, task)
	becomes(t, m, `public.Weird "Name" $1`, mirror.TableStreaming)
	arrived(t, m, source, destination)
	r.psql(t, "-c", "RESYNC prod_to_prod_new nothing").expect(t, 1, `has no table "nothing"`, "SHOW MIRROR")
	r.psql(t, "-c", "RESYNC prod_to_prod_new STOPPED").expect(t, 1, "no table of mirror", "is stopped")
	r.psql(t, "-c", "RESYNC nobody items").expect(t, 1, "nobody")

	r.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "STOP_TASK "+task).expect(t, 0, "OK")
	pgtest.Eventually(t, "the task is cancelled", func(context.Context) (bool, error) {
		return r.table(t, "SHOW TASKS")[0]["status"] == "cancelled", nil
	})
	if row := r.table(t, "SHOW MIRRORS")[0]; row["lag_bytes"] != "" || row["state"] == "replicating" {
		t.Errorf("SHOW MIRRORS of a mirror that is stopped: %v", row)
	}
	changed(t, source, 2)
	_ = r.rows(t, "REPLICATE prod prod_new all_tables")[0]
	streamsAtLast(t, m)
	arrived(t, m, source, destination)

	// What ran is taken up again after a restart of pgdrover.
	r.signal(t, syscall.SIGTERM)
	if code := r.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	changed(t, source, 3)
	r = r.serveAgain(t)
	streamsAtLast(t, m)
	arrived(t, m, source, destination)
	same(t, m)

	r.psql(t, "-c", "DROP MIRROR nobody").expect(t, 1, "nobody", "HINT:")
	r.psql(t, "-v", "ON_ERROR_STOP=1", "-c", "DROP MIRROR prod_to_prod_new").expect(t, 0, "OK", answer["replication_slot"])
	if left := slots(t, source); len(left) != 1 || !strings.HasPrefix(left[0], "pgdrover_left_over_") {
		t.Errorf("the slots are %v: the orphan is somebody else's to drop", left)
	}
	rowsOf(t, destination, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgdrover'", "0")
	if _, found := metric(t, metrics, "lag_bytes", "prod_to_prod_new"); found {
		t.Error("the metrics still have the mirror's lag")
	}
}
