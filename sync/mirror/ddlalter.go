package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// alter alters every shard of the destination that is not behind the step yet,
// each in one transaction with its position.
func (s *schemaStep) alter(ctx context.Context, plan *schemaPlan, to stream.LSN) (moved bool, err error) {
	for _, server := range s.f.source.job.pair.destination {
		a := &shardAlteration{step: s, plan: plan, server: server}
		shardMoved, err := a.run(ctx, to)
		moved = moved || shardMoved
		if err != nil {
			return moved, fmt.Errorf("follow a schema change on %s: %w", connect.Place(server), err)
		}
	}
	return moved, nil
}

// shardAlteration alters one shard.
type shardAlteration struct {
	step    *schemaStep
	plan    *schemaPlan
	server  config.Server
	conn    *pgx.Conn
	version int
	early   bool         // labels of enums are committed by themselves
	later   []SchemaStep // what rows do not wait for
}

// unsafeLabel is unsafe_new_enum_value_usage: a label is used in the transaction
// that has added it.
const unsafeLabel = "55P04"

func (a *shardAlteration) run(ctx context.Context, to stream.LSN) (moved bool, err error) {
	if a.conn, err = connect.Open(ctx, a.server, "schema"); err != nil {
		return false, err
	}
	defer func() { _ = a.conn.Close(context.WithoutCancel(ctx)) }()
	if err := a.conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int4`).Scan(&a.version); err != nil {
		return false, err
	}
	moved, err = a.transaction(ctx, to)
	if pgerror.Code(err) == unsafeLabel {
		if err = a.labels(ctx); err == nil {
			a.early = true
			moved, err = a.transaction(ctx, to)
		}
	}
	a.step.f.source.job.drift.promised(a.later, err == nil && moved)
	return moved, err
}

// labels adds labels of enums, each committed by itself. They may be there
// already.
func (a *shardAlteration) labels(ctx context.Context) error {
	for _, g := range a.plan.groups {
		if g.t != nil {
			continue
		}
		for _, statement := range ddl.Statements(g.changes, a.destination(nil)) {
			if statement.Alone {
				if _, err := a.conn.Exec(ctx, statement.SQL); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// transaction makes all changes and moves the position.
func (a *shardAlteration) transaction(ctx context.Context, to stream.LSN) (moved bool, err error) {
	s := a.step
	a.later = nil
	err = pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
		lock := s.f.source.job.pair.settings.LockTimeout.Milliseconds()
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = '60s'", lock), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		done, err := apply.Advance(ctx, tx, s.f.mirror, s.f.source.number, to)
		if err != nil || done {
			return err
		}
		moved = true
		for _, t := range a.plan.tables {
			for _, sql := range t.aside {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
			}
		}
		for i := range a.plan.groups {
			if err := a.group(ctx, tx, &a.plan.groups[i]); err != nil {
				return err
			}
		}
		if err := a.drops(ctx, tx); err != nil {
			return err
		}
		// Who goes on after a kill finds the change made, and what is left of it here.
		return s.f.source.job.drift.promise(ctx, a.later)
	})
	return moved && err == nil, err
}

// group makes the changes of one table, or stops it.
func (a *shardAlteration) group(ctx context.Context, tx pgx.Tx, g *changeGroup) error {
	if g.t != nil && !a.alters(g.t) {
		return nil
	}
	statements, err := a.statements(ctx, g)
	if err != nil || len(statements) == 0 {
		return err
	}
	err = a.inSavepoint(ctx, tx, func(tx pgx.Tx) error {
		for _, statement := range statements {
			if err := a.statement(ctx, tx, g, statement); err != nil {
				return err
			}
		}
		return nil
	})
	var refused *refusal
	if !errors.As(err, &refused) {
		return err
	}
	if g.t == nil {
		return a.step.typeRefused(ctx, a.plan, g, refused.error(a.server))
	}
	return a.step.stop(ctx, g.t, refused.error(a.server))
}

// alters tells whether the destination's table follows the source's. That of a
// table that is stopped keeps its form, and that of one being copied gets it with
// the copy.
func (a *shardAlteration) alters(t *tableChange) bool {
	if !t.known && t.stop == nil && t.before != nil && t.before.Relkind == "p" {
		return true // its partitions are published under their own names
	}
	return t.known && t.stop == nil && (t.live || TableState(t.row.State) == TableResyncing && t.row.Part == "")
}

// refusal is a statement that the destination has refused.
type refusal struct {
	sql string
	err error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func (r *refusal) error(server config.Server) *pgerror.Error {
	e := *pgerror.From(r.err)
	e.Message = fmt.Sprintf("the source's change cannot be made on %s: %s", connect.Place(server), e.Message)
	e.Detail = strings.TrimSpace(e.Detail + "\nStatement: " + r.sql)
	return &e
}

// transientRefusal tells whether a statement may succeed when it is run again.
func transientRefusal(err error) bool {
	code := pgerror.Code(err)
	return pgerror.IsConnectionLost(err) || len(code) == 5 && (code[:2] == "40" || code[:2] == "53" || code[:2] == "57" || code[:2] == "58") ||
		code == pgerror.LockNotAvailable || code == unsafeLabel || code == "55006"
}

// statement runs one statement. One that is optional may fail.
func (a *shardAlteration) statement(ctx context.Context, tx pgx.Tx, g *changeGroup, statement ddl.Statement) error {
	if statement.AfterCopy || statement.Alone && g.t != nil {
		a.later = append(a.later, a.postpone(g.t, statement))
		return nil
	}
	if statement.Alone && a.early {
		return nil
	}
	run := func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, statement.SQL); err != nil {
			if transientRefusal(err) {
				return err
			}
			return &refusal{statement.SQL, err}
		}
		return nil
	}
	if !statement.Optional {
		return run(tx)
	}
	err := a.inSavepoint(ctx, tx, run)
	var refused *refusal
	if errors.As(err, &refused) {
		table := catalog.Name{}
		if g.t != nil {
			table = g.t.table
		}
		a.step.f.tellChange(ctx, table, a.step.final, "rows go on, but the destination refuses: "+statement.SQL, refused.error(a.server))
		return nil
	}
	return err
}

func (a *shardAlteration) inSavepoint(ctx context.Context, tx pgx.Tx, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, tx, do)
}

// statements are those of one group.
func (a *shardAlteration) statements(ctx context.Context, g *changeGroup) ([]ddl.Statement, error) {
	if g.t == nil {
		return ddl.Statements(g.changes, a.destination(nil)), nil
	}
	before := g.changes[0].Before
	if before == nil {
		return nil, nil
	}
	name := a.step.f.source.job.destinationNames([]catalog.Name{before.Table})[0]
	found, err := catalog.DescribeTables(ctx, a.conn, []catalog.Name{name})
	if err != nil {
		return nil, fmt.Errorf("describe table %s: %w", name, err)
	}
	if found[name] == nil {
		return nil, nil // it is made for its copy, in whatever form the source has then
	}
	d := a.destination(found[name])
	if err := a.mapped(&d, before.Table); err != nil {
		return nil, err
	}
	var out []ddl.Statement
	policy := a.step.f.policy(g.t.table)
	for _, c := range g.changes {
		if c.Kind == ddl.ColumnDropped {
			d.DropColumns = d.DropColumns || removedColumn(&c, policy) == "drop"
		}
	}
	out = ddl.Statements(g.changes, d)
	for _, c := range g.changes {
		if c.Kind == ddl.ColumnDropped && removedColumn(&c, policy) == "null" {
			out = append(out, ddl.Statement{
				SQL:      fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT", quoteTable(name), dump.QuoteIdent(c.From.Name)),
				Optional: true,
			})
		}
	}
	return out, nil
}

// destination is what statements have to know of a shard; there is nil for types.
func (a *shardAlteration) destination(there *catalog.TableDescription) ddl.Destination {
	job := a.step.f.source.job
	d := ddl.Destination{
		VersionNum: a.version, Indexes: job.definition.ReplicateIndexes, ForeignKeys: job.definition.ReplicateForeignKeys,
		Name: func(n catalog.Name) catalog.Name { return job.destinationNames([]catalog.Name{n})[0] },
	}
	if there != nil {
		d.Standalone = there.Partition == nil && len(there.Inherits) == 0
		for _, c := range there.Columns {
			d.Columns = append(d.Columns, c.Name)
		}
		for _, x := range there.Indexes {
			d.HasIndexes = append(d.HasIndexes, x.Name)
		}
	}
	return d
}

// mapped tells what the mapping says of columns.
func (a *shardAlteration) mapped(d *ddl.Destination, table catalog.Name) error {
	m, problem := a.step.f.source.job.mapping.Table(table)
	if problem != nil {
		return problem
	}
	if m.SameColumns() {
		return nil
	}
	d.Excluded = m.Excludes
	d.Column = func(name string) string {
		c, _ := m.Column(name)
		return c.Destination
	}
	return nil
}

// drops drops the tables that the policy lets go.
func (a *shardAlteration) drops(ctx context.Context, tx pgx.Tx) error {
	for _, t := range a.plan.tables {
		if !t.drop || !t.known {
			continue
		}
		sql := "DROP TABLE IF EXISTS " + quoteTable(a.step.f.source.job.destinationNames([]catalog.Name{t.key.table})[0])
		g := &changeGroup{t: t}
		if err := a.statement(ctx, tx, g, ddl.Statement{SQL: sql, Optional: true}); err != nil {
			return err
		}
	}
	return nil
}

// postpone makes a step of what is done when the table streams: an index is built
// while rows are applied, and what needs copied rows waits for them.
func (a *shardAlteration) postpone(t *tableChange, statement ddl.Statement) SchemaStep {
	destination := a.step.f.source.job.destinationNames([]catalog.Name{t.table})[0]
	step := SchemaStep{Source: t.table, Shard: a.server.Shard, State: "waits", Step: drift.Step{
		Table: destination, SQL: statement.SQL, Scans: statement.Scans, Alone: statement.Alone, After: statement.AfterCopy, Why: statement.Why,
	}}
	if statement.Index != "" && strings.Contains(statement.SQL, " CONCURRENTLY ") {
		step.Inverse = dropIndexConcurrently + quoteTable(catalog.Name{Schema: destination.Schema, Name: statement.Index})
	}
	return step
}

// typeRefused stops the tables that use a type which cannot be altered.
func (s *schemaStep) typeRefused(ctx context.Context, plan *schemaPlan, g *changeGroup, why *pgerror.Error) error {
	name := g.changes[0].Type.Type
	for _, t := range plan.tables {
		if t.live && t.after != nil && t.after.TypeNamed(name) != nil {
			if err := s.stop(ctx, t, why); err != nil {
				return err
			}
		}
	}
	return nil
}
