package schema

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
)

// ScratchPrefix begins the names of the databases in which Canonical lets a
// server print the source's definitions.
const ScratchPrefix = "pgdrover_scratch_"

// Canonical finds out how the destination's server prints the definitions in
// which the source's dump and the shard's differ. PostgreSQL keeps views,
// rules, expressions and bodies of SQL functions parsed, and prints them
// differently from version to version, and even after one restore: a varchar's
// CHECK (x IN ('a', 'b')) comes back with other casts. A difference of text is
// no difference of schema until one and the same server has printed both, both
// made from a dump.
//
// The definitions, with everything they depend on, are run in a scratch
// database on the destination's server, which is dumped by the same pg_dump and
// dropped. Without differences, or without the right to create a database, it
// does nothing and gives nil.
func Canonical(ctx context.Context, source *Source, destination *Destination, opts PlanOptions, read ReadOptions) (func(*dump.Entry) (string, bool), error) {
	if !destination.Facts.CreateDB {
		return nil, nil
	}
	differing := differingText(source, destination, opts)
	if len(differing) == 0 {
		return nil, nil
	}
	texts := map[int]string{} // by dump id
	err := inScratch(ctx, destination, func(scratch config.Server) error {
		if err := load(ctx, scratch, source, differing); err != nil {
			return err
		}
		archive, err := runDump(ctx, scratch, "", read)
		if err != nil {
			return err
		}
		pairs := drift.Pair(source.Archive.Entries, archive.Entries)
		for _, e := range differing {
			if printed := pairs.Of(e); printed != nil {
				texts[e.DumpID] = printed.Definition
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("let %s print the source's definitions: %w", connect.Place(destination.Server), err)
	}
	return func(e *dump.Entry) (string, bool) {
		text, ok := texts[e.DumpID]
		return text, ok
	}, nil
}

func differingText(source *Source, destination *Destination, opts PlanOptions) []*dump.Entry {
	rules := Rules(source, destination.Shards, opts)
	pairs := drift.Pair(source.Archive.Entries, destination.Archive.Entries)
	var out []*dump.Entry
	for i := range source.Archive.Entries {
		e := &source.Archive.Entries[i]
		other := pairs.Of(e)
		if other != nil && rules.Compared(e) && slices.Contains(rules.Equal(e, other), drift.Definition) && !isNotValidOf(e, other) {
			out = append(out, e)
		}
	}
	return out
}

// load runs the definitions of entries and of what they depend on, in the
// archive's order, and gives the objects to their owners, so that grants mean
// what they mean on the source. A definition that fails is left out: then its
// text stays different and is reported.
func load(ctx context.Context, scratch config.Server, source *Source, entries []*dump.Entry) error {
	byID := make(map[int]*dump.Entry, len(source.Archive.Entries))
	for i := range source.Archive.Entries {
		byID[source.Archive.Entries[i].DumpID] = &source.Archive.Entries[i]
	}
	wanted := map[int]bool{}
	for _, e := range entries {
		source.need(e, byID, wanted)
	}
	conn, err := connect.Open(ctx, scratch, "schema reader")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i := range source.Archive.Entries {
		e := &source.Archive.Entries[i]
		if !wanted[e.DumpID] || leftOutOfScratch(e.Kind) {
			continue
		}
		sql := e.Definition
		if owner, ok := e.OwnerSQL(); ok {
			sql += "\n" + owner
		}
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil && (ctx.Err() != nil || conn.IsClosed()) {
			return err
		}
	}
	return nil
}

func leftOutOfScratch(kind dump.Kind) bool {
	return slices.Contains([]dump.Kind{
		dump.KindSubscription, dump.KindUserMapping, dump.KindEncoding, dump.KindStdStrings, dump.KindSearchPath,
	}, kind)
}

// inScratch makes a scratch database beside the destination's, lets do use it
// and drops it, and drops those that killed processes have left.
func inScratch(ctx context.Context, d *Destination, do func(config.Server) error) (err error) {
	conn, err := connect.Open(ctx, d.Server, "schema reader")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := dropLeftScratch(ctx, conn); err != nil {
		return err
	}
	// The name carries its maker's process id: as long as that session lives,
	// nobody else takes the database for a leftover.
	name := fmt.Sprintf("%s%d_%s", ScratchPrefix, conn.PgConn().PID(), strings.ToLower(rand.Text()[:8]))
	_, err = conn.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0 ENCODING %s LC_COLLATE %s LC_CTYPE %s", dump.QuoteIdent(name),
		dump.QuoteLiteral(d.Facts.Encoding), dump.QuoteLiteral(d.Facts.Collate), dump.QuoteLiteral(d.Facts.CType)))
	if err != nil {
		return fmt.Errorf("create scratch database: %w", err)
	}
	defer func() {
		_, dropped := conn.Exec(context.WithoutCancel(ctx), "DROP DATABASE IF EXISTS "+dump.QuoteIdent(name)+" WITH (FORCE)")
		if err == nil && dropped != nil {
			err = fmt.Errorf("drop scratch database %q: %w", name, dropped)
		}
	}()
	scratch := d.Server
	scratch.Database = name
	return do(scratch)
}

// dropLeftScratch removes the scratch databases whose makers are gone.
func dropLeftScratch(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
SELECT d.datname::text FROM pg_database d
WHERE starts_with(d.datname::text, $1) AND pg_has_role(d.datdba, 'MEMBER')
  AND split_part(substr(d.datname::text, length($1) + 1), '_', 1) NOT IN (
        SELECT a.pid::text FROM pg_stat_activity a WHERE a.application_name LIKE 'pgdrover%')`, ScratchPrefix)
	if err != nil {
		return fmt.Errorf("look for scratch databases: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for scratch databases: %w", err)
	}
	for _, name := range left {
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+dump.QuoteIdent(name)+" WITH (FORCE)"); err != nil {
			return fmt.Errorf("drop scratch database %q, left by an earlier run: %w", name, err)
		}
	}
	return nil
}
