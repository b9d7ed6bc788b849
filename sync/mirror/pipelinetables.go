package mirror

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/shard"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// pipelineTables tells an applier what to do with the tables of a stream.
type pipelineTables struct{ pipeline *pipeline }

// Find gives how the changes of a relation are applied, nil to leave them out.
func (t *pipelineTables) Find(ctx context.Context, relation *stream.Relation, at stream.LSN) (*apply.Target, error) {
	p := t.pipeline
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	key := tableKey{p.source.number, name}
	if catalog.OwnSchema(name.Schema) || p.only != nil && !p.only[name] || !p.source.carries(name) && p.source.knows(name) {
		return nil, nil
	}
	from, ok := p.gates(key)
	if !ok {
		if !p.source.knows(name) {
			p.source.want()
		}
		return nil, nil
	}
	if row, _ := p.source.job.tables.get(key); row.Membership.OID != 0 && row.Membership.OID != relation.OID {
		p.source.want() // another table under the name: it is copied again
		return nil, nil
	}
	held, err := p.heldFrom(ctx, key, relation, at)
	if err != nil || held.out {
		return nil, err
	}
	target, misfit, err := p.source.target(ctx, relation, from, held.until, p.into[name])
	if err != nil {
		return nil, err
	}
	if misfit != nil && p.source.job.drift.handles(ctx, relation) { // what is known of it is older than the row
		if target, misfit, err = p.source.target(ctx, relation, from, held.until, p.into[name]); err != nil {
			return nil, err
		}
	}
	if misfit == nil && p.binary && target.TextOnly() {
		return nil, errAsText
	}
	if misfit != nil && p.held {
		return nil, p.source.job.drift.heldAgain(ctx, key, misfit)
	}
	if misfit != nil {
		p.source.job.manager.log.Error("a table is stopped", "table", name.String(), "sqlstate", misfit.Code, "error", misfit.Message, "detail", misfit.Detail)
		if row, _ := p.source.job.tables.get(key); p.only == nil && row.LiveLSN == 0 && held.until == 0 {
			if why, part := p.source.job.drift.refused(ctx, p.source, key, misfit, at, true); why != nil {
				return nil, p.source.job.drift.stopped(ctx, p.source, key, part, why, at)
			}
		}
		p.source.job.manager.metrics.TableStop(p.source.job.pair.mirror, p.source.number)
		return nil, t.stop(ctx, key, withWayOut(misfit, p.source.job.pair.mirror, name), max(at, from))
	}
	return target, nil
}

// Stop records that a table cannot go on.
func (t *pipelineTables) Stop(ctx context.Context, table catalog.Name, failure *pgerror.Error, at stream.LSN, _ uint32) error {
	p := t.pipeline
	key := tableKey{p.source.number, table}
	if p.held {
		return p.source.job.drift.heldAgain(ctx, key, failure)
	}
	if row, _ := p.source.job.tables.get(key); p.only == nil && row.LiveLSN == 0 {
		if why, part := p.source.job.drift.refused(ctx, p.source, key, failure, at, false); why != nil {
			return p.source.job.drift.stopped(ctx, p.source, key, part, why, at)
		}
	}
	return t.stop(ctx, key, withWayOut(failure, p.source.job.pair.mirror, table), at)
}

func (t *pipelineTables) stop(ctx context.Context, key tableKey, why *pgerror.Error, at stream.LSN) error {
	if t.pipeline.only == nil {
		return t.pipeline.source.job.tables.stopStream(ctx, key, why, at)
	}
	return t.pipeline.source.job.tables.stop(ctx, key, why, at)
}

// withWayOut makes sure that a stopped table's error names the command that
// lets it go on, and says where in the statement it was.
func withWayOut(e *pgerror.Error, mirror string, table catalog.Name) *pgerror.Error {
	command := resyncCommand(mirror, table)
	out := *e
	if out.Where != "" { // "COPY t, line 7, column c": SHOW has no column for it
		out.Detail = strings.TrimSpace(out.Detail + "\n" + out.Where)
	}
	switch {
	case structural(&out):
		byHand := ""
		if sql := strings.TrimPrefix(out.Hint, "there: "); strings.HasPrefix(sql, "ALTER TABLE") {
			byHand = ". If that is all that differs, by hand there: " + sql
		}
		out.Hint = fmt.Sprintf("SYNC_SCHEMA %s %s.%s; alters the destination's table until it is as the source's%s. Then %s copies the table again while the others go on",
			dump.QuoteIdent(mirror), dump.QuoteIdent(table.Schema), dump.QuoteIdent(table.Name), strings.TrimSuffix(byHand, ";"), command)
	case strings.Contains(out.Hint, command):
	case strings.HasPrefix(out.Hint, "RESYNC"):
		out.Hint = command + " copies the table again while the others go on"
	case out.Hint == "":
		out.Hint = "when the reason is gone: " + command + " copies the table again while the others go on"
	default:
		if !strings.HasSuffix(out.Hint, ";") && !strings.HasSuffix(out.Hint, ".") {
			out.Hint += "."
		}
		out.Hint += " Then " + command + " copies the table again"
	}
	return &out
}

// structural tells whether a table has to be altered at the destination before
// another copy of it helps, and the error does not say so yet.
func structural(e *pgerror.Error) bool {
	switch e.Code {
	case pgerror.UndefinedColumn, "42804", "23502":
		return !strings.Contains(e.Hint, "SYNC_SCHEMA") && !strings.Contains(e.Hint, "[[mirrors.tables]]") && !strings.Contains(e.Hint, "publication")
	}
	return false
}

func resyncCommand(mirror string, table catalog.Name) string {
	return fmt.Sprintf("RESYNC %s %s.%s;", dump.QuoteIdent(mirror), dump.QuoteIdent(table.Schema), dump.QuoteIdent(table.Name))
}

// target makes how the changes of a relation are applied. misfit says why they
// cannot be. into is where they go, if that is not the mapping's table.
func (s *sourceShard) target(ctx context.Context, relation *stream.Relation, from, until stream.LSN, into catalog.Name) (target *apply.Target, misfit *pgerror.Error, err error) {
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	types, err := s.relationTypes(ctx, relation)
	if err != nil {
		return nil, nil, err
	}
	table, problem := s.job.streamMapping(name)
	if problem != nil {
		return nil, problem, nil
	}
	if into == (catalog.Name{}) {
		into = table.Destination
	}
	shape, err := s.destinationShape(ctx, into)
	if err != nil {
		return nil, nil, err
	}
	if shape.destination == nil {
		return nil, s.job.noDestination(name, table.Destination), nil
	}
	columns := make([]shard.Column, len(relation.Columns))
	for i, c := range relation.Columns {
		columns[i] = keyColumn(c.Name, c.Type, types)
	}
	key, err := s.job.routing(table, columns)
	if err != nil {
		return nil, pgerror.From(err), nil
	}
	target, misfit = apply.NewTarget(relation, types, shape.destination, shape.destinationTypes, apply.TargetOptions{From: from, Until: until, Casts: s.job.drift.handling(name).all(), Key: key, SameTypes: len(s.job.pair.destination) == 1, Shared: s.shares(name), Mapping: table})
	return target, misfit, nil
}

// keyColumn describes a column to the router: a domain's values have the form
// of the type beneath.
func keyColumn(name string, oid uint32, types catalog.Types) shard.Column {
	t := types[oid]
	for t.Kind == 'd' && t.Base != 0 {
		t = types[t.Base]
	}
	return shard.Column{Name: name, Type: t.OID, TypeName: t.Name.Name}
}

// relationTypes reads the types of a relation's columns as the source has them.
func (s *sourceShard) relationTypes(ctx context.Context, relation *stream.Relation) (catalog.Types, error) {
	conn, err := connect.Open(ctx, s.server, "types")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	oids := make([]uint32, len(relation.Columns))
	for i, c := range relation.Columns {
		oids[i] = c.Type
	}
	return catalog.ReadTypes(ctx, conn, oids)
}
