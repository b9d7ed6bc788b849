package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// step is a part of the job that is shown.
type step struct {
	title string
	what  string // what it does, in a line or two
	run   func(*demo, context.Context) error
}

// steps are the job, in order.
var steps = []step{
	{"The databases", "prod is the live one. prod_new is to take its place; prod_sharded has three shards. Both are empty.", (*demo).showDatabases},
	{"Copy it, while customers buy", "Schema, rows, keys and indexes, then every change since. The command answers at once with the task's number;\n" +
		"the task goes on until it is stopped.", (*demo).copyWhole},
	{"A change arrives", "What is committed on the source is committed on the destination a moment later.", (*demo).followChange},
	{"Is it the same?", "The customers wait, for as long as both sides are counted and hashed.", (*demo).compareWhole},
	{"To three shards, at the same time", "The rows of these tables go to the shard that the hash of their key says (PostgreSQL's own); what belongs to an\n" +
		"order is where the order is. All other tables are whole on every shard. pgdog.toml says so:", (*demo).copySharded},
	{"Stop, and go on", "The slot on the source keeps what happens meanwhile. The same command goes on where the stream was stopped.", (*demo).stopAndGoOn},
	{"Is it the same, on three shards?", "Again the customers wait. The rows of a table that is spread are added up over the shards.", (*demo).compareSharded},
	{"What the source keeps for it", "One slot for each mirror. retained is the WAL that the source cannot remove yet.", (*demo).showSlots},
	{"Is the schema the same?", "Both sides are dumped by the same pg_dump and compared entry by entry. An empty answer says: no difference.", (*demo).schemaDiff},
}

// mirrorOf is the name of the mirror of the source and a destination.
func mirrorOf(destination string) string { return source + "_to_" + destination }

func (d *demo) showDatabases(ctx context.Context) error {
	_, err := d.shown(ctx, "SHOW DATABASES;", "name", "shard", "host", "port", "database", "role", "schema_admin")
	return err
}

func (d *demo) copyWhole(ctx context.Context) error {
	if _, err := d.copyTo(ctx, unsharded); err != nil {
		return err
	}
	d.screen.say("\nEvery table streams, %s after the command.\n", elapsed(d.began))
	return nil
}

// copyCommand is the command that copies to a destination and follows.
func copyCommand(destination string) string {
	return fmt.Sprintf("COPY_DATA %s %s %s;", source, destination, publication)
}

// copyTo copies, shows how that goes on, and waits until every table streams. It
// gives the task's number.
func (d *demo) copyTo(ctx context.Context, destination string) (task string, err error) {
	d.began = time.Now()
	started, err := d.shown(ctx, copyCommand(destination))
	if err != nil {
		return "", err
	}
	task = started.value("task_id")
	if err := d.showCopying(ctx, mirrorOf(destination)); err != nil {
		return task, err
	}
	if err := d.streaming(ctx, destination); err != nil {
		return task, err
	}
	return task, d.showMirrors(ctx)
}

// showCopying shows the copies of a mirror's tables when one of them is under way,
// or all have ended.
func (d *demo) showCopying(ctx context.Context, mirror string) error {
	const command = "SHOW TABLE_COPIES;"
	var now table
	err := poll(ctx, interval, func() (bool, error) {
		all, err := d.command(ctx, command)
		if err != nil {
			return false, err
		}
		now = all.where("mirror", mirror)
		for _, row := range now.where("status", "running").only("rows").rows {
			if row[0] != "0" {
				return true, nil
			}
		}
		return len(now.rows) > 0 && len(now.where("status", "done").rows) == len(now.rows), d.goesOn(ctx, mirror)
	})
	if err != nil {
		return fmt.Errorf("wait for a copy to begin: %w", err)
	}
	d.screen.typed("admin", command)
	d.show(now, "table", "status", "rows", "total_rows", "percent", "bytes_human", "bytes_per_sec_human", "elapsed", "format")
	return nil
}

// streaming waits until every table of the mirror streams.
func (d *demo) streaming(ctx context.Context, destination string) error {
	mirror := mirrorOf(destination)
	err := poll(ctx, interval, func() (bool, error) {
		mirrors, err := d.command(ctx, "SHOW MIRRORS;")
		if err != nil {
			return false, err
		}
		m := mirrors.where("mirror", mirror)
		return len(m.rows) > 0 && m.value("tables") != "0" && m.value("tables") == m.value("streaming"), d.goesOn(ctx, mirror)
	})
	if err != nil {
		return fmt.Errorf("wait until every table of %s streams: %w", mirror, err)
	}
	return nil
}

// goesOn fails when a table of the mirror is stopped, or its task has ended.
func (d *demo) goesOn(ctx context.Context, mirror string) error {
	tables, err := d.command(ctx, "SHOW MIRROR "+mirror+";")
	if pgerror.Code(err) == pgerror.UnableToConnect { // a machine that is busy
		return nil
	}
	if err != nil {
		return err
	}
	if stopped := tables.where("state", "stopped"); len(stopped.rows) > 0 {
		return pgerror.New(stopped.value("sqlstate"), "table %s is stopped: %s", stopped.value("table"), stopped.value("error")).
			WithDetail("%s", stopped.value("detail")).WithHint("%s", stopped.value("hint"))
	}
	tasks, err := d.command(ctx, "SHOW TASKS;")
	if err != nil {
		return err
	}
	newest := tasks.where("scope", "root").where("mirror", mirror)
	if len(newest.rows) == 0 { // likewise
		return nil
	}
	if status := newest.value("status"); status != "running" && status != "pending" {
		return pgerror.New(pgerror.InternalError, "task %s is %s", newest.value("id"), status).
			WithDetail("%s", newest.value("detail")).WithHint("%s", newest.value("hint"))
	}
	return nil
}

func (d *demo) showMirrors(ctx context.Context) error {
	_, err := d.shown(ctx, "SHOW MIRRORS;", "mirror", "state", "task_id", "tables", "streaming", "stopped", "rows", "bytes_human", "lag", "transactions_per_sec")
	return err
}

// followChange changes a row on the source and waits for it on the destination.
func (d *demo) followChange(ctx context.Context) (err error) {
	const look = "SELECT * FROM shop.coupons WHERE code = 'HELLO-NEW-HOUSE'"
	conn, err := pgx.Connect(ctx, d.destination.DSN(unshardedDatabase))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = d.asked(ctx, d.source.DSN(sourceDatabase), sourceDatabase,
		"INSERT INTO shop.coupons VALUES ('HELLO-NEW-HOUSE', 20, daterange(current_date, current_date + 30)) RETURNING *;")
	if err != nil {
		return err
	}
	committed := time.Now()
	err = poll(ctx, time.Millisecond, func() (there bool, err error) {
		err = conn.QueryRow(ctx, "SELECT EXISTS ("+look+")").Scan(&there)
		return there, err
	})
	if err != nil {
		return fmt.Errorf("wait for the row on %s: %w", unsharded, err)
	}
	took := time.Since(committed)
	if _, err := d.asked(ctx, d.destination.DSN(unshardedDatabase), unshardedDatabase, look+";"); err != nil {
		return err
	}
	d.screen.say("\nSeen there %d ms after its commit here.\n", took.Milliseconds())
	return nil
}

func (d *demo) compareWhole(ctx context.Context) error {
	return d.proveSame(ctx, mirrorOf(unsharded), []place{{unsharded, d.destination.DSN(unshardedDatabase)}})
}

func (d *demo) copySharded(ctx context.Context) (err error) {
	d.screen.say("%s", d.spreadTables())
	d.shardedTask, err = d.copyTo(ctx, sharded)
	return err
}

// missed is how many transactions the customers commit while the stream is stopped.
const missed = 100

// stopAndGoOn stops the sharded mirror's task, and has the same command go on.
func (d *demo) stopAndGoOn(ctx context.Context) error {
	if _, err := d.shown(ctx, fmt.Sprintf("STOP_TASK %s;", d.shardedTask)); err != nil {
		return err
	}
	err := poll(ctx, interval, func() (bool, error) {
		tasks, err := d.command(ctx, "SHOW TASKS;")
		return tasks.where("id", d.shardedTask).value("status") == "cancelled", err
	})
	if err != nil {
		return fmt.Errorf("wait until task %s is cancelled: %w", d.shardedTask, err)
	}
	before := d.writer.wrote()
	err = poll(ctx, interval, func() (bool, error) { return d.writer.wrote() >= before+missed, d.writer.failed() })
	if err != nil {
		return fmt.Errorf("wait for the customers: %w", err)
	}
	if err := d.showMirrors(ctx); err != nil {
		return err
	}
	d.screen.say("\nMeanwhile the customers have committed %d transactions.\n", d.writer.wrote()-before)
	if _, err := d.shown(ctx, copyCommand(sharded)); err != nil {
		return err
	}
	if err := d.streaming(ctx, sharded); err != nil {
		return err
	}
	copies, err := d.command(ctx, "SHOW TABLE_COPIES;")
	if err != nil {
		return err
	}
	for _, row := range copies.where("mirror", mirrorOf(sharded)).only("table", "attempt").rows {
		if row[1] != "1" {
			return pgerror.New(pgerror.InternalError, "table %s was copied %s times", row[0], row[1])
		}
	}
	_, err = d.shown(ctx, "SHOW TASKS;", "id", "scope", "type", "status", "inner_status", "elapsed", "lag", "transactions_per_sec")
	if err == nil {
		d.screen.say("\nNo row was copied again.\n")
	}
	return err
}

func (d *demo) compareSharded(ctx context.Context) error {
	var shards []place
	for shard := range shardCount {
		shards = append(shards, place{fmt.Sprintf("shard %d", shard), d.destination.DSN(shardDatabase(shard))})
	}
	return d.proveSame(ctx, mirrorOf(sharded), shards)
}

func (d *demo) showSlots(ctx context.Context) error {
	slots, err := d.shown(ctx, "SHOW REPLICATION_SLOTS;", "name", "mirror", "shard", "orphan", "active", "lag", "retained", "wal_status")
	if err != nil {
		return err
	}
	for _, destination := range []string{unsharded, sharded} {
		if n := len(slots.where("mirror", mirrorOf(destination)).where("active", "t").rows); n != 1 {
			return pgerror.New(pgerror.InternalError, "%s has %d slots that are read", mirrorOf(destination), n)
		}
	}
	return nil
}

// schemaDiff fails when there is a difference.
func (d *demo) schemaDiff(ctx context.Context) error {
	for _, destination := range []string{unsharded, sharded} {
		differences, err := d.shown(ctx, fmt.Sprintf("SHOW SCHEMA_DIFF %s %s;", source, destination), "shard", "kind", "schema", "object", "what")
		if err != nil {
			return err
		}
		if n := len(differences.rows); n > 0 {
			return pgerror.New(pgerror.InternalError, "%d differences between %s and %s", n, source, destination).
				WithHint("This is a defect of pgdrover: please report it with the output above")
		}
	}
	return nil
}

// elapsed is the time since began as a person reads it: "1.3 s".
func elapsed(began time.Time) string { return fmt.Sprintf("%.1f s", time.Since(began).Seconds()) }
