package schema

import (
	"context"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// pair checks what a shard of the destination must have for the source's
// schema to arrive.
func (p *Preflight) pair(ctx context.Context, s, d *inspected) {
	if s.id != "" && s.id == d.id && s.facts.Database == d.facts.Database {
		p.fail(pgerror.New(pgerror.InvalidParameterValue, "%s and %s are one and the same database", connect.Place(s.server), connect.Place(d.server)).
			WithHint("let [[databases]] %q and %q name different databases", s.server.Cluster, d.server.Cluster))
		return
	}
	p.versions(s, d)
	checks := []func(context.Context, *inspected, *inspected) error{p.roles, p.extensions, p.tablespaces, p.superuser, p.settings}
	if p.NoSchema {
		checks = nil
	}
	for _, check := range checks {
		if err := check(ctx, s, d); err != nil {
			p.cannotCheck(d, err)
		}
	}
	if p.Phase == dump.PostCutover {
		if err := p.applier(ctx, s); err != nil {
			p.cannotCheck(s, err)
		}
	}
}

func (p *Preflight) versions(s, d *inspected) {
	source, destination := connect.Place(s.server), connect.Place(d.server)
	if s.facts.Major() > d.facts.Major() {
		p.warn(pgerror.New(pgerror.FeatureNotSupported, "%s is PostgreSQL %d and older than the source's %d: what is new there cannot be created", destination, d.facts.Major(), s.facts.Major()).
			WithHint("upgrade the destination, or expect failed statements"))
	}
	if !d.facts.CreateDB && !p.NoSchema {
		p.warn(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not create a scratch database on %s: definitions that PostgreSQL prints differently after a restore will be reported as different", d.facts.User, destination).
			WithHint("ALTER ROLE %s CREATEDB; there", dump.QuoteIdent(d.facts.User)))
	}
	if s.facts.Encoding != d.facts.Encoding {
		p.fail(pgerror.New(pgerror.FeatureNotSupported, "encodings differ: %s is %s, %s is %s", source, s.facts.Encoding, destination, d.facts.Encoding).
			WithHint("create the destination's database WITH ENCODING %s TEMPLATE template0", dump.QuoteLiteral(s.facts.Encoding)))
	}
	if s.facts.Collate != d.facts.Collate || s.facts.CType != d.facts.CType {
		p.warn(pgerror.New(pgerror.FeatureNotSupported, "locales differ: %s has collation %q and ctype %q, %s has %q and %q", source, s.facts.Collate, s.facts.CType, destination, d.facts.Collate, d.facts.CType).
			WithHint("texts may sort and compare differently; create the destination's database with the source's LC_COLLATE and LC_CTYPE if that matters"))
	}
}

// roles checks that every role the schema mentions exists, and that the schema
// admin can give objects to their owners.
func (p *Preflight) roles(ctx context.Context, s, d *inspected) error {
	if p.NoOwner && p.NoPrivileges {
		return nil
	}
	owners, err := catalog.Owners(ctx, s.conn)
	if err != nil {
		return err
	}
	roles, err := catalog.ReadRoles(ctx, s.conn, owners)
	if err != nil {
		return err
	}
	byName, names := map[string]catalog.Role{}, []string{}
	for _, r := range roles {
		byName[r.Name] = r
		names = append(names, r.Name)
	}
	missing, err := catalog.Missing(ctx, d.conn, catalog.Roles, names)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		create := make([]string, len(missing))
		for i, name := range missing {
			create[i] = byName[name].CreateSQL()
		}
		for _, name := range missing {
			for _, of := range byName[name].MemberOf {
				create = append(create, "GRANT "+dump.QuoteIdent(of)+" TO "+dump.QuoteIdent(name)+";")
			}
		}
		p.fail(pgerror.New(pgerror.UndefinedObject, "%d roles of the source do not exist on %s", len(missing), connect.Place(d.server)).
			WithDetail("%s", strings.Join(missing, ", ")).
			WithHint("there: %s\nor leave owners and grants out: [schema_sync] owners = false and privileges = false; or, of SCHEMA_SYNC, NO OWNER NO PRIVILEGES (--no-owner --no-privileges)", strings.Join(create, " ")))
	}
	if p.NoOwner {
		return nil
	}
	strangers, err := catalog.NotMemberOf(ctx, d.conn, owners)
	if err != nil {
		return err
	}
	if len(strangers) > 0 {
		grants := make([]string, len(strangers))
		for i, name := range strangers {
			grants[i] = "GRANT " + dump.QuoteIdent(name) + " TO " + dump.QuoteIdent(d.facts.User) + ";"
		}
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q cannot make %d roles owners on %s: it is not a member of them", d.facts.User, len(strangers), connect.Place(d.server)).
			WithDetail("%s", strings.Join(strangers, ", ")).
			WithHint("there: %s\nor leave ownership to the schema admin: [schema_sync] owners = false; or, of SCHEMA_SYNC, NO OWNER (--no-owner)", strings.Join(grants, " ")))
	}
	return nil
}

// extensions checks that CREATE EXTENSION will find its files, and that the
// schema admin may run it.
func (p *Preflight) extensions(ctx context.Context, s, d *inspected) error {
	installed, err := catalog.ReadExtensions(ctx, s.conn)
	if err != nil {
		return err
	}
	there, err := catalog.ReadExtensions(ctx, d.conn)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, e := range there {
		has[e.Name] = true
	}
	var names, untrusted []string
	for _, e := range installed {
		if has[e.Name] {
			continue
		}
		names = append(names, e.Name)
		if !e.Trusted && !d.facts.Superuser {
			untrusted = append(untrusted, e.Name)
		}
	}
	missing, err := catalog.Missing(ctx, d.conn, catalog.Extensions, names)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		p.fail(pgerror.New(pgerror.UndefinedFile, "%d extensions of the source are not available on %s", len(missing), connect.Place(d.server)).
			WithDetail("%s", strings.Join(missing, ", ")).
			WithHint("install their packages on that server (contrib modules: postgresql-contrib), or DROP EXTENSION on the source what is not used"))
	}
	if len(untrusted) > 0 {
		create := make([]string, len(untrusted))
		for i, name := range untrusted {
			create[i] = "CREATE EXTENSION " + dump.QuoteIdent(name) + ";"
		}
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not create %d extensions on %s", d.facts.User, len(untrusted), connect.Place(d.server)).
			WithDetail("%s", strings.Join(untrusted, ", ")).
			WithHint("as a superuser there: %s", strings.Join(create, " ")))
	}
	return nil
}

func (p *Preflight) tablespaces(ctx context.Context, s, d *inspected) error {
	used, err := catalog.UsedTablespaces(ctx, s.conn)
	if err != nil {
		return err
	}
	missing, err := catalog.Missing(ctx, d.conn, catalog.Tablespaces, used)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		create := make([]string, len(missing))
		for i, name := range missing {
			create[i] = "CREATE TABLESPACE " + dump.QuoteIdent(name) + " LOCATION '…';"
		}
		p.fail(pgerror.New(pgerror.UndefinedObject, "%d tablespaces of the source do not exist on %s", len(missing), connect.Place(d.server)).
			WithDetail("%s", strings.Join(missing, ", ")).WithHint("there: %s", strings.Join(create, " ")))
	}
	return nil
}

// settings names what ALTER DATABASE has set on the source only: pg_dump leaves
// it to the one who creates the database.
func (p *Preflight) settings(ctx context.Context, s, d *inspected) error {
	source, err := catalog.DatabaseSettings(ctx, s.conn)
	if err != nil {
		return err
	}
	there, err := catalog.DatabaseSettings(ctx, d.conn)
	if err != nil {
		return err
	}
	source = slices.DeleteFunc(source, func(name string) bool { return slices.Contains(there, name) })
	if len(source) > 0 {
		p.warn(pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%d settings of the source's database are not set on %s, and are not copied", len(source), connect.Place(d.server)).
			WithDetail("%s", catalog.NameList(source, 20)).
			WithHint("look them up with \\drds on the source; there: ALTER DATABASE %s SET … = …;", dump.QuoteIdent(d.facts.Database)))
	}
	return nil
}

// superuser names what only a superuser can create, when the schema admin of
// the destination is none.
func (p *Preflight) superuser(ctx context.Context, s, d *inspected) error {
	if d.facts.Superuser {
		return nil
	}
	only, err := catalog.SuperuserOnly(ctx, s.conn, s.facts.Major())
	if err != nil || len(only) == 0 {
		return err
	}
	there, err := catalog.SuperuserOnly(ctx, d.conn, d.facts.Major())
	if err != nil {
		return err
	}
	own := "publication " + dump.QuoteIdent(p.Publication) + " "
	bare := "publication " + p.Publication + " " // as format('%I') writes most names
	published := func(name string) bool { return strings.HasPrefix(name, own) || strings.HasPrefix(name, bare) }
	only = slices.DeleteFunc(only, func(name string) bool {
		return slices.Contains(there, name) || p.OnlyPublished && !published(name)
	})
	switch {
	case len(only) == 0:
		return nil
	case !slices.ContainsFunc(only, func(name string) bool { return !published(name) }):
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "publication %q of the source can only be created by a superuser, and role %q is none on %s", p.Publication, d.facts.User, connect.Place(d.server)).
			WithDetail("%s", catalog.NameList(only, 20)).
			WithHint("there, as a superuser: %s\nor let a superuser be the schema_admin of %q; or, on the source, a publication FOR TABLE", publicationSQL(p.Publication, only), d.server.Cluster))
		return nil
	}
	p.fail(pgerror.New(pgerror.InsufficientPrivilege, "%d objects of the source can only be created by a superuser, and role %q is none on %s", len(only), d.facts.User, connect.Place(d.server)).
		WithDetail("%s", catalog.NameList(only, 20)).
		WithHint("create them there as a superuser, or let a superuser be the schema_admin of %q, or take published tables only: [schema_sync] scope = \"publication\"", d.server.Cluster))
	return nil
}

// publicationSQL makes a publication that only a superuser can make.
func publicationSQL(name string, what []string) string {
	if slices.ContainsFunc(what, func(s string) bool { return strings.HasSuffix(s, " FOR ALL TABLES") }) {
		return "CREATE PUBLICATION " + dump.QuoteIdent(name) + " FOR ALL TABLES;"
	}
	return "CREATE PUBLICATION " + dump.QuoteIdent(name) + " FOR TABLES IN SCHEMA …;"
}

// applier checks that the old source will let the reverse stream be applied.
func (p *Preflight) applier(ctx context.Context, s *inspected) error {
	can, err := catalog.CanReplicate(ctx, s.conn)
	if err != nil {
		return err
	}
	user := dump.QuoteIdent(s.facts.User)
	if !s.facts.CanCreate {
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not create the schema pgdrover in %s", s.facts.User, connect.Place(s.server)).
			WithHint("GRANT CREATE ON DATABASE %s TO %s; there", dump.QuoteIdent(s.facts.Database), user))
	}
	if !can {
		p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not set session_replication_role on %s: triggers there would fire a second time", s.facts.User, connect.Place(s.server)).
			WithHint("GRANT SET ON PARAMETER session_replication_role TO %s; there", user))
	}
	publication, _, err := catalog.ReadPublication(ctx, s.conn, p.Publication)
	if err != nil {
		return err
	}
	tables := make([]catalog.Name, len(publication.Tables))
	for i, t := range publication.Tables {
		tables[i] = t.Table
	}
	unwritable, err := catalog.Unwritable(ctx, s.conn, tables)
	if err != nil || len(unwritable) == 0 {
		return err
	}
	owners, err := catalog.Owners(ctx, s.conn)
	if err != nil {
		return err
	}
	// A right on the tables themselves would be a difference between both
	// sides; a membership is none.
	grants := make([]string, len(owners))
	for i, owner := range owners {
		grants[i] = "GRANT " + dump.QuoteIdent(owner) + " TO " + user + ";"
	}
	p.fail(pgerror.New(pgerror.InsufficientPrivilege, "role %q may not write to %d published tables of %s", s.facts.User, len(unwritable), connect.Place(s.server)).
		WithDetail("%s", catalog.NameList(unwritable, 20)).WithHint("let it be a member of their owners, there: %s", shorten(grants, 20)))
	return nil
}
