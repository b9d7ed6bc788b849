package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// Preflight looks at both sides before anything is changed and finds
// everything that can be known beforehand.
type Preflight struct {
	Sources      []config.Server // every shard of the source
	Destinations []config.Server // every shard of the destination
	Phase        dump.Phase
	Publication  string
	PgDump       string // configured path, "" to look for one
	NoOwner      bool
	NoPrivileges bool
	Jobs         int
	// OnlyPublished: the schema is that of the published tables alone.
	OnlyPublished bool
	// NoSchema: nothing is made on the destination, the tables there are taken as
	// they are.
	NoSchema bool

	mu       sync.Mutex
	errors   []*pgerror.Error
	warnings []*pgerror.Error
}

// Findings are what a preflight found: errors forbid the work, warnings do not.
// Binary is the pg_dump to work with, valid when there are no errors.
type Findings struct {
	Errors   []*pgerror.Error
	Warnings []*pgerror.Error
	Binary   dump.Binary
	// MajorsDiffer tells that not all servers have one major version.
	MajorsDiffer bool
	// Reached tells that every server could be looked at.
	Reached bool
}

// side is one database with an open connection and what was read of it.
type inspected struct {
	server config.Server
	conn   *pgx.Conn
	facts  catalog.Server
	id     string
	// published: the publication's tables, of a source.
	published map[string]bool
}

// Run connects to every shard of both sides at the same time and checks them.
// What cannot be checked is an error, never taken for good.
func (p *Preflight) Run(ctx context.Context) Findings {
	sources, destinations := p.inspect(ctx, p.Sources), p.inspect(ctx, p.Destinations)
	defer closeAll(ctx, sources)
	defer closeAll(ctx, destinations)
	var found Findings
	found.Binary = p.binary(ctx, sources, destinations)
	for _, s := range sources {
		p.source(ctx, s)
	}
	for _, d := range destinations {
		p.destination(d)
		p.readable(ctx, d)
	}
	if len(sources) > 0 {
		for _, d := range destinations {
			p.pair(ctx, sources[0], d)
		}
	}
	for _, s := range slices.Concat(sources, destinations) {
		found.MajorsDiffer = found.MajorsDiffer || len(sources) > 0 && s.facts.Major() != sources[0].facts.Major()
	}
	found.Reached = len(sources) == len(p.Sources) && len(destinations) == len(p.Destinations)
	found.Errors, found.Warnings = p.errors, p.warnings
	return found
}

func (p *Preflight) fail(e *pgerror.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, e)
}

func (p *Preflight) warn(e *pgerror.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warnings = append(p.warnings, e)
}

// cannotCheck turns a failed look into a finding.
func (p *Preflight) cannotCheck(s *inspected, err error) {
	e := *pgerror.From(err)
	e.Message = fmt.Sprintf("cannot check %s: %s", connect.Place(s.server), e.Message)
	p.fail(&e)
}

// inspect opens a connection to each server and reads what it is; those that
// cannot be reached become findings and are left out.
func (p *Preflight) inspect(ctx context.Context, servers []config.Server) []*inspected {
	out := make([]*inspected, len(servers))
	var wait sync.WaitGroup
	for i, server := range servers {
		wait.Go(func() {
			conn, err := connect.Open(ctx, server, "preflight")
			if err != nil {
				p.fail(pgerror.From(err))
				return
			}
			s := &inspected{server: server, conn: conn}
			if s.facts, err = catalog.ReadServer(ctx, conn); err == nil {
				s.id, err = catalog.SystemIdentifier(ctx, conn)
			}
			if err != nil {
				p.cannotCheck(s, err)
				_ = conn.Close(context.WithoutCancel(ctx))
				return
			}
			out[i] = s
		})
	}
	wait.Wait()
	return slices.DeleteFunc(out, func(s *inspected) bool { return s == nil })
}

func closeAll(ctx context.Context, all []*inspected) {
	for _, s := range all {
		_ = s.conn.Close(context.WithoutCancel(ctx))
	}
}

// binary chooses the pg_dump that is new enough for every server.
func (p *Preflight) binary(ctx context.Context, sources, destinations []*inspected) dump.Binary {
	var needs []dump.Need
	for _, s := range slices.Concat(sources, destinations) {
		needs = append(needs, dump.Need{Major: s.facts.Major(), Of: connect.Place(s.server)})
	}
	finding, err := dump.Find(ctx, p.PgDump)
	if err == nil {
		var binary dump.Binary
		if binary, err = dump.Choose(finding, needs); err == nil {
			return binary
		}
	}
	p.fail(pgerror.From(err))
	return dump.Binary{}
}

// source checks one shard of the source.
func (p *Preflight) source(ctx context.Context, s *inspected) {
	where := connect.Place(s.server)
	p.publication(ctx, s)
	p.readable(ctx, s)
	if invalid, err := catalog.InvalidIndexes(ctx, s.conn); err != nil {
		p.cannotCheck(s, err)
	} else if len(invalid) > 0 {
		p.warn(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%d invalid indexes of %s will not be copied", len(invalid), where).
			WithDetail("%s", catalog.NameList(invalid, 20)).
			WithHint("REINDEX INDEX CONCURRENTLY or DROP INDEX each of them on the source"))
	}
	if s.facts.WALLevel != "logical" {
		p.warn(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "wal_level of %s is %q: its schema can be copied, its changes cannot be followed", where, s.facts.WALLevel).
			WithHint("ALTER SYSTEM SET wal_level = 'logical'; then restart the source"))
	}
}

// readable checks that pg_dump can lock and read every table of a side.
func (p *Preflight) readable(ctx context.Context, s *inspected) {
	unreadable, err := catalog.Unreadable(ctx, s.conn)
	if err != nil {
		p.cannotCheck(s, err)
		return
	}
	if p.NoSchema { // only rows are read, and only there
		unreadable = slices.DeleteFunc(unreadable, func(name string) bool { return !s.published[name] })
	}
	if len(unreadable) > 0 {
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q cannot read %d tables of %s", s.facts.User, len(unreadable), connect.Place(s.server)).
			WithDetail("%s", catalog.NameList(unreadable, 20)).
			WithHint("GRANT pg_read_all_data TO %s; there", dump.QuoteIdent(s.facts.User)))
	}
}

// publication checks that the publication exists, lists tables, and that rows
// of each can be told apart.
func (p *Preflight) publication(ctx context.Context, s *inspected) {
	where := connect.Place(s.server)
	publication, ok, err := catalog.ReadPublication(ctx, s.conn, p.Publication)
	if err != nil {
		p.cannotCheck(s, err)
		return
	}
	name := dump.QuoteIdent(p.Publication)
	if !ok {
		there, err := catalog.Publications(ctx, s.conn)
		if err != nil {
			p.cannotCheck(s, err)
			return
		}
		detail := "There is no publication."
		if len(there) > 0 {
			detail = "Publications there: " + catalog.NameList(there, 20) + "."
		}
		p.fail(pgerror.New(pgerror.UndefinedObject, "publication %q does not exist in %s", p.Publication, where).
			WithDetail("%s", detail).WithHint("CREATE PUBLICATION %s FOR ALL TABLES; on the source", name))
		return
	}
	switch {
	case len(publication.Tables) == 0 && publication.AllTables:
		p.fail(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "publication %q of %s lists no tables", p.Publication, where).
			WithDetail("It is FOR ALL TABLES, and database %q has none that can be published.", s.facts.Database).
			WithHint("if that is not the database that is meant: database_name of [[databases]] %q in pgdog.toml", s.server.Cluster))
	case len(publication.Tables) == 0:
		p.fail(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "publication %q of %s lists no tables", p.Publication, where).
			WithHint("ALTER PUBLICATION %s ADD TABLE …; on the source", name))
	}
	p.keys(publication, where)
	s.published = map[string]bool{}
	for _, t := range publication.Tables {
		for _, schema := range []string{t.Table.Schema, dump.QuoteIdent(t.Table.Schema)} { // as format('%I') may write it
			for _, name := range []string{t.Table.Name, dump.QuoteIdent(t.Table.Name)} {
				s.published[schema+"."+name] = true
			}
		}
	}
}

func (p *Preflight) keys(publication catalog.Publication, where string) {
	var without, remedies []string
	for _, t := range publication.Tables {
		if !t.HasIdentity() {
			name := qualified(t.Table.Schema, t.Table.Name)
			without = append(without, name)
			remedies = append(remedies, "ALTER TABLE "+name+" REPLICA IDENTITY FULL;")
		}
	}
	if len(without) == 0 {
		return
	}
	p.warn(pgerror.New(pgerror.ObjectNotInPrerequisiteState,
		"%d published tables of %s have neither a primary key nor another replica identity: an UPDATE or DELETE of theirs cannot be followed", len(without), where).
		WithDetail("%s", catalog.NameList(without, 50)).
		WithHint("add a primary key, or on the source: %s", shorten(remedies, 20)))
}

func shorten(lines []string, limit int) string {
	if len(lines) > limit {
		return strings.Join(lines[:limit], " ") + fmt.Sprintf(" (and %d more)", len(lines)-limit)
	}
	return strings.Join(lines, " ")
}

// destination checks one shard of the destination by itself.
func (p *Preflight) destination(d *inspected) {
	where := connect.Place(d.server)
	if d.facts.InRecovery {
		p.fail(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s is a standby: nothing can be created there", where).
			WithHint("let [[databases]] %q name the primary of shard %d", d.server.Cluster, d.server.Shard))
	}
	if !d.facts.CanCreate {
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not create schemas in %s", d.facts.User, where).
			WithHint("GRANT CREATE ON DATABASE %s TO %s; there", dump.QuoteIdent(d.facts.Database), dump.QuoteIdent(d.facts.User)))
	}
	// The workers, the reader, and pg_dump; the task's own connection on shard 0.
	if need := p.Jobs + 3; d.facts.FreeConnections < need {
		message := pgerror.New(pgerror.TooManyConnections, "%s has %d free connections; %d are used", where, d.facts.FreeConnections, need).
			WithDetail("max_connections is %d", d.facts.MaxConnections).
			WithHint("end idle sessions, raise max_connections, or lower [schema_sync] index_jobs")
		if d.facts.FreeConnections < 3 {
			p.fail(message)
		} else {
			p.warn(message)
		}
	}
	if p.Phase == dump.PostCutover {
		p.publisher(d)
	}
}

// publisher checks that a shard can publish its changes to the old source.
func (p *Preflight) publisher(d *inspected) {
	where := connect.Place(d.server)
	if d.facts.WALLevel != "logical" {
		p.fail(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "wal_level of %s is %q: it cannot send its changes back", where, d.facts.WALLevel).
			WithHint("ALTER SYSTEM SET wal_level = 'logical'; then restart that server"))
	}
	if !d.facts.Replication {
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not replicate from %s", d.facts.User, where).
			WithHint("ALTER ROLE %s REPLICATION; there", dump.QuoteIdent(d.facts.User)))
	}
	if d.facts.FreeSlots < 1 {
		p.fail(pgerror.New("53400", "%s has no free replication slot", where).
			WithDetail("max_replication_slots is %d", d.facts.MaxSlots).WithHint("drop unused slots or raise max_replication_slots there"))
	}
}
