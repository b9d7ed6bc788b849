package mirror

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// dataPreflight finds what keeps rows and changes from being moved, beside what
// the schema's own preflight finds. It adds to found.
func (p *pair) dataPreflight(ctx context.Context, work *copyData, found *schema.Findings) {
	for _, server := range p.source {
		if err := p.checkSource(ctx, server, work, found); err != nil {
			found.Errors = append(found.Errors, pgerror.From(err))
		}
	}
	for _, server := range p.destination {
		if err := p.checkDestination(ctx, server, found); err != nil {
			found.Errors = append(found.Errors, pgerror.From(err))
		}
	}
}

func (p *pair) checkSource(ctx context.Context, server config.Server, work *copyData, found *schema.Findings) error {
	conn, err := connect.Open(ctx, server, "preflight")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	facts, err := catalog.ReadServer(ctx, conn)
	if err != nil {
		return fmt.Errorf("check %s: %w", connect.Place(server), err)
	}
	where := connect.Place(server)
	if facts.WALLevel != "logical" {
		found.Errors = append(found.Errors, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "wal_level of %s is %q: its changes cannot be followed", where, facts.WALLevel).
			WithHint("ALTER SYSTEM SET wal_level = 'logical'; then restart the source"))
	}
	if !facts.Superuser && !facts.Replication {
		found.Errors = append(found.Errors, pgerror.New(pgerror.InsufficientPrivilege, "role %q of %s may not use replication slots", facts.User, where).
			WithHint("ALTER ROLE %s REPLICATION; there", dump.QuoteIdent(facts.User)))
	}
	publication, ok, err := catalog.ReadPublication(ctx, conn, work.req.Publication)
	if err != nil || !ok {
		return err // that it is missing is found by the schema's preflight
	}
	if err := checkTables(ctx, conn, facts, publication, work, found); err != nil {
		return fmt.Errorf("check the tables of %s: %w", where, err)
	}
	if err := warnNotCarried(ctx, conn, where, publication, found); err != nil {
		return fmt.Errorf("look for what of %s is not copied: %w", where, err)
	}
	if err := p.checkRoom(ctx, conn, facts, server, work, found); err != nil {
		return err
	}
	return p.checkPrepared(ctx, conn, where, found)
}

// checkTables looks for published tables that cannot be copied or followed.
func checkTables(ctx context.Context, conn *pgx.Conn, facts catalog.Server, publication catalog.Publication, work *copyData, found *schema.Findings) error {
	var anonymous, hidden []string
	var first catalog.Name
	names := make([]catalog.Name, len(publication.Tables))
	for i, t := range publication.Tables {
		names[i] = t.Table
		if !t.HasIdentity() && (publication.Update || publication.Delete) {
			if len(anonymous) == 0 {
				first = t.Table
			}
			anonymous = append(anonymous, t.Table.String())
		}
	}
	relations, err := catalog.ReadRelations(ctx, conn, names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if r := relations[name]; r != nil && r.RowSecurity && !facts.Superuser && !facts.BypassRLS {
			hidden = append(hidden, name.String())
		}
	}
	warnKeys(work, publication, relations, found)
	filters, err := tablecopy.CheckFilters(ctx, conn, work.mapping, publication, relations)
	if err != nil {
		return err
	}
	wrong := append(work.mapping.Check(publication, relations), filters...)
	if work.began { // the source has changed since: the tables that it means are stopped, the others go on
		found.Warnings = append(found.Warnings, wrong...)
	} else {
		found.Errors = append(found.Errors, wrong...)
	}
	where := fmt.Sprintf("database %q", facts.Database)
	if len(anonymous) > 0 {
		found.Errors = append(found.Errors, pgerror.New(pgerror.ObjectNotInPrerequisiteState,
			"rows of %d published tables of %s cannot be told apart: UPDATE and DELETE there fail on the source as soon as the tables are published", len(anonymous), where).
			WithDetail("%s", catalog.NameList(anonymous, 20)).
			WithHint("give each a primary key, or: ALTER TABLE %s.%s REPLICA IDENTITY FULL;", dump.QuoteIdent(first.Schema), dump.QuoteIdent(first.Name)))
	}
	if len(hidden) > 0 {
		found.Errors = append(found.Errors, pgerror.New(pgerror.InsufficientPrivilege, "row security would hide rows of %d tables of %s from role %q", len(hidden), where, facts.User).
			WithDetail("%s", catalog.NameList(hidden, 20)).
			WithHint("ALTER ROLE %s BYPASSRLS; there", dump.QuoteIdent(facts.User)))
	}
	return nil
}

// checkPrepared warns of transactions that a new slot would have to wait for.
func (p *pair) checkPrepared(ctx context.Context, conn *pgx.Conn, where string, found *schema.Findings) error {
	var ids []string
	err := conn.QueryRow(ctx, `SELECT coalesce(array_agg(gid ORDER BY prepared), '{}') FROM pg_prepared_xacts WHERE database = current_database()`).Scan(&ids)
	if err != nil {
		return fmt.Errorf("look for prepared transactions of %s: %w", where, err)
	}
	if len(ids) > 0 {
		found.Warnings = append(found.Warnings, pgerror.New(pgerror.ObjectInUse, "%d prepared transactions of %s are open: a new slot waits until they end", len(ids), where).
			WithDetail("%s", strings.Join(ids[:min(len(ids), 20)], ", ")).
			WithHint("COMMIT PREPARED or ROLLBACK PREPARED each of them on the source"))
	}
	return nil
}

func (p *pair) checkDestination(ctx context.Context, server config.Server, found *schema.Findings) error {
	conn, err := connect.Open(ctx, server, "preflight")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `SET session_replication_role = replica`); err != nil {
		e := pgerror.New(pgerror.Code(err), "role %q of %s may not set session_replication_role: triggers and foreign keys would act on rows that are copied", server.User, connect.Place(server))
		found.Errors = append(found.Errors, e.
			WithHint("GRANT SET ON PARAMETER session_replication_role TO %s; there (from PostgreSQL 15 on), or make it a superuser", dump.QuoteIdent(server.User)))
	}
	return nil
}
