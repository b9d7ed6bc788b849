package demo

import (
	"context"
	"fmt"
	"time"

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
	{"The databases", "prod is the live one. prod_sharded has three shards, and nothing in them.", (*demo).showDatabases},
	{"Schema, before the rows", "Schemas, types, domains, functions, sequences, tables and partitions with their primary keys,\n" +
		"on all three shards at the same time. The command answers at once; WAIT waits.", (*demo).preData},
	{"Schema, after the rows", "Indexes, foreign keys, triggers, policies, statistics, materialized views. (This release does not\n" +
		"copy rows yet: the shards stay empty.)", (*demo).postData},
	{"Schema, at the cutover", "Validation of what is not validated yet, and the values of sequences.", (*demo).cutover},
	{"What was done", "Tasks are recorded in the destination: they survive a restart.", (*demo).showTasks},
	{"Is it the same?", "Both sides are dumped by the same pg_dump and compared entry by entry. An empty answer says: no difference.", (*demo).schemaDiff},
}

func (d *demo) showDatabases(ctx context.Context) error {
	_, err := d.shown(ctx, "SHOW DATABASES;", "name", "shard", "host", "port", "database", "role", "schema_admin")
	return err
}

func (d *demo) preData(ctx context.Context) error  { return d.phase(ctx, "PRE") }
func (d *demo) postData(ctx context.Context) error { return d.phase(ctx, "POST") }
func (d *demo) cutover(ctx context.Context) error  { return d.phase(ctx, "CUTOVER") }

// phase starts a phase and waits for it.
func (d *demo) phase(ctx context.Context, phase string) error {
	started, err := d.shown(ctx, fmt.Sprintf("SCHEMA_SYNC %s %s %s %s;", phase, source, sharded, publication))
	if err != nil {
		return err
	}
	_, err = d.shown(ctx, fmt.Sprintf("WAIT %s;", started.value("task_id")))
	return err
}

func (d *demo) showTasks(ctx context.Context) error {
	_, err := d.shown(ctx, "SHOW TASKS;", "id", "scope", "type", "status", "elapsed", "done", "total", "failed")
	return err
}

// schemaDiff is the job's proof: a difference fails it.
func (d *demo) schemaDiff(ctx context.Context) error {
	differences, err := d.shown(ctx, fmt.Sprintf("SHOW SCHEMA_DIFF %s %s;", source, sharded), "shard", "kind", "schema", "object", "what")
	if err != nil {
		return err
	}
	if n := len(differences.rows); n > 0 {
		return pgerror.New(pgerror.InternalError, "%d differences between %s and %s", n, source, sharded).
			WithHint("This is a defect of pgdrover: please report it with the output above")
	}
	d.screen.say("\nThe schema is on three shards, and the same, %s after the first command.\n", elapsed(d.began))
	return nil
}

// elapsed is the time since began as a person reads it: "1.3 s".
func elapsed(began time.Time) string { return fmt.Sprintf("%.1f s", time.Since(began).Seconds()) }
