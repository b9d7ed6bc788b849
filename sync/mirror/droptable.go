package mirror

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// DropTable takes a table out of a mirror that the publication no longer has: its
// record is forgotten, and the destination keeps its rows.
func (m *Manager) DropTable(ctx context.Context, name string, named string) error {
	kept, err := m.findMirror(ctx, name)
	if err != nil {
		return err
	}
	s, err := m.structureOf(kept)
	if err != nil {
		return err
	}
	published, err := s.published(ctx, nil)
	if err != nil {
		return err
	}
	conn, err := connect.Open(ctx, kept.server, "mirror")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Tables(ctx, conn, kept.row.ID)
	if err != nil {
		return err
	}
	var all []catalog.Name
	for _, r := range rows {
		if n := (catalog.Name{Schema: r.Schema, Name: r.Name}); !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	names, err := namedAmong(name, all, []string{named})
	if err != nil {
		return err
	}
	table := names[0]
	if slices.Contains(published, table) {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s is published by %q", table, s.definition.Publication).
			WithDetail("A mirror has the tables of its publication.").
			WithHint("on the source: ALTER PUBLICATION %s DROP TABLE %s; then this again", dump.QuoteIdent(s.definition.Publication), quoteTable(table))
	}
	return m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.ForgetTable(ctx, conn, kept.row.ID, table); err != nil {
			return err
		}
		e := happened("mirror", "table "+table.String()+" is no longer part of it")
		e.Schema, e.Name = table.Schema, table.Name
		return state.AddEvents(ctx, conn, kept.row.ID, e)
	})
}
