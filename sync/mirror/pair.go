package mirror

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// pair is a source and a destination as the configuration names them, with the
// schema admin's way to every shard.
type pair struct {
	source       []config.Server
	destination  []config.Server
	settings     config.SchemaSync
	pgDump       string
	sourceAdmin  config.User
	destAdmin    config.User
	mirror       string
	without      schema.Without // of the mirror's tables
	sourceName   string
	destination0 config.Server // where the state lives
}

// resolve finds both databases and their schema admins in the configuration.
func resolve(cfg *config.Config, source, destination string) (*pair, error) {
	p := &pair{settings: cfg.SchemaSync, mirror: source + "_to_" + destination, sourceName: source}
	if cfg.Replication.PgDumpPathSet {
		p.pgDump = cfg.Replication.PgDumpPath
	}
	var err error
	if p.source, p.sourceAdmin, err = servers(cfg, source); err != nil {
		return nil, err
	}
	if p.destination, p.destAdmin, err = servers(cfg, destination); err != nil {
		return nil, err
	}
	if source == destination {
		return nil, pgerror.New(pgerror.InvalidParameterValue, "source and destination are both %q", source).
			WithHint("name two databases: SHOW DATABASES; lists them")
	}
	p.destination0 = p.destination[0]
	return p, nil
}

// servers gives the primary of each shard of a database, as its schema admin
// reaches it.
func servers(cfg *config.Config, name string) ([]config.Server, config.User, error) {
	cluster, ok := cfg.Cluster(name)
	if !ok {
		var names []string
		for _, c := range cfg.Clusters() {
			names = append(names, c.Name)
		}
		return nil, config.User{}, pgerror.New(pgerror.InvalidCatalogName, "database %q is not in [[databases]] of pgdog.toml", name).
			WithDetail("Databases there: %s.", strings.Join(names, ", ")).
			WithHint("SHOW DATABASES; lists them. Add [[databases]] name = %q to pgdog.toml and RELOAD;", name)
	}
	admin, ok := cfg.SchemaAdmin(name)
	if !ok {
		return nil, config.User{}, pgerror.New(pgerror.ConfigFileError, "database %q has no schema admin", name).
			WithHint("mark one of its [[users]] in users.toml with schema_admin = true and RELOAD;")
	}
	var out []config.Server
	for _, shard := range cluster.Shards {
		out = append(out, cfg.Server(shard.Primary, admin))
	}
	return out, admin, nil
}

// mirrored gives the servers of every database of the configuration on which
// state may lie: shard 0 of those that have a schema admin.
func mirrored(cfg *config.Config) []config.Server {
	var out []config.Server
	for _, cluster := range cfg.Clusters() {
		if all, _, err := servers(cfg, cluster.Name); err == nil {
			out = append(out, all[0])
		}
	}
	return out
}

func (p *pair) preflight(req SchemaSyncRequest) *schema.Preflight {
	return &schema.Preflight{
		Sources: p.source, Destinations: p.destination, Phase: req.Phase, Publication: req.Publication, PgDump: p.pgDump,
		NoOwner: p.noOwner(req), NoPrivileges: p.noPrivileges(req), Jobs: p.jobs(),
		OnlyPublished: p.settings.Scope == "publication",
	}
}

func (p *pair) noOwner(req SchemaSyncRequest) bool { return req.NoOwner || !p.settings.Owners }
func (p *pair) noPrivileges(req SchemaSyncRequest) bool {
	return req.NoPrivileges || !p.settings.Privileges
}

// jobs is how many connections run statements on each shard.
func (p *pair) jobs() int { return max(1, p.settings.IndexJobs) }

func (p *pair) readOptions(req SchemaSyncRequest, binary dump.Binary) schema.ReadOptions {
	return schema.ReadOptions{
		Binary: binary, Phase: req.Phase, Publication: req.Publication, WidenKeys: p.settings.WidenIntegerKeys,
		LockTimeout: p.settings.LockTimeout, ExcludeSchemas: slices.Clone(p.settings.ExcludeSchemas),
	}
}

func (p *pair) planOptions(req SchemaSyncRequest) schema.PlanOptions {
	return schema.PlanOptions{
		Phase: req.Phase, NoOwner: p.noOwner(req), NoPrivileges: p.noPrivileges(req),
		Concurrently: p.settings.IndexConcurrently, SequenceMargin: p.settings.SequenceMargin,
		WidenKeys: p.settings.WidenIntegerKeys, OnlyPublished: p.settings.Scope == "publication", Without: p.without,
	}
}

func (p *pair) runOptions(req SchemaSyncRequest) schema.RunOptions {
	return schema.RunOptions{
		Jobs: p.jobs(), LockTimeout: p.settings.LockTimeout, RetryMaxAttempts: p.settings.RetryMaxAttempts,
		RetryMinDelay: p.settings.RetryMinDelay, IgnoreErrors: req.IgnoreErrors, MaintenanceWorkMem: p.settings.MaintenanceWorkMem,
	}
}

// refuse makes one error of a preflight's findings, nil if there are none.
func refuse(errors []*pgerror.Error) error {
	switch len(errors) {
	case 0:
		return nil
	case 1:
		return errors[0]
	}
	var detail strings.Builder
	for i, e := range errors {
		fmt.Fprintf(&detail, "%d. %s (SQLSTATE %s)\n", i+1, e.Message, e.Code)
		for _, line := range []string{e.Detail, e.Hint} {
			if line != "" {
				fmt.Fprintf(&detail, "   %s\n", strings.ReplaceAll(line, "\n", "\n   "))
			}
		}
	}
	return pgerror.New(errors[0].Code, "the preflight found %d problems", len(errors)).
		WithDetail("%s", strings.TrimRight(detail.String(), "\n")).
		WithHint("nothing was changed; remove them and run the command again")
}
