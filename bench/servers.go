package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgcluster"
)

// tuning is how both clusters are set up.
type tuning struct {
	settings map[string]string
	said     string // what a reader of the results must know of it
}

// forSchemas lets schemas be made fast. A dump locks every table.
var forSchemas = tuning{map[string]string{
	"max_locks_per_transaction": "1024",
	"shared_buffers":            "256MB",
	"max_wal_size":              "8GB",
	"autovacuum":                "off", // it would come in the way of either side by chance
}, "fsync = off, autovacuum = off, shared_buffers = 256MB"}

// forRows is that of a server that is meant to load much data, and durable.
var forRows = tuning{map[string]string{
	"fsync":              "on",
	"full_page_writes":   "on",
	"shared_buffers":     "2GB",
	"max_wal_size":       "16GB", // no checkpoint comes in the way of one side
	"checkpoint_timeout": "1h",
	"autovacuum":         "off",
	// Else the launcher lets a worker wait that comes soon after another, as it
	// does here alone.
	"wal_retrieve_retry_interval": "10ms",
}, "fsync = on, wal_level = logical, shared_buffers = 2GB, max_wal_size = 16GB, checkpoint_timeout = 1h, autovacuum = off"}

// forMemory needs little of the disk beside the data. What servers use is not
// what is measured then.
var forMemory = tuning{map[string]string{
	"shared_buffers": "256MB",
	"max_wal_size":   "1GB",
	"autovacuum":     "off",
}, "fsync = off, wal_level = logical, shared_buffers = 256MB, max_wal_size = 1GB, autovacuum = off"}

// servers are the two clusters of a benchmark, and the client programs of
// their version.
type servers struct {
	source, destination *pgcluster.Cluster
	tool                map[string]string
	want                map[string]content // what the source holds, for the check of what was copied
}

// start starts both clusters. The caller closes them.
func start(ctx context.Context, out io.Writer, tuned tuning, tools ...string) (*servers, error) {
	s := &servers{tool: map[string]string{}}
	for _, c := range []**pgcluster.Cluster{&s.source, &s.destination} {
		cluster, err := pgcluster.Start(ctx, pgcluster.Options{Settings: tuned.settings})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		*c = cluster
	}
	for _, name := range tools {
		path, err := s.source.Installation().Tool(name)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.tool[name] = path
	}
	fmt.Fprintf(out, "%s; two throw-away clusters with %s\n", s.source.Installation(), tuned.said)
	return s, nil
}

func (s *servers) close() error {
	var errs []error
	for _, c := range []*pgcluster.Cluster{s.source, s.destination} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// runSQL runs SQL, which may be several statements.
func runSQL(ctx context.Context, c *pgcluster.Cluster, database, sql string) error {
	return with(ctx, c, database, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		return err
	})
}

func with(ctx context.Context, c *pgcluster.Cluster, database string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, c.DSN(database))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(conn)
}

// publish ends the making of a source: autovacuum is off.
func publish(ctx context.Context, conn *pgx.Conn) error {
	for _, sql := range []string{"CREATE PUBLICATION " + publication + " FOR ALL TABLES", "VACUUM ANALYZE"} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

// createDatabase makes a database and writes everything before it to disk, so
// that no side pays for the other's work.
func createDatabase(ctx context.Context, c *pgcluster.Cluster, name, clauses string) error {
	if err := runSQL(ctx, c, "postgres", "CREATE DATABASE "+dump.QuoteIdent(name)+" "+clauses); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return runSQL(ctx, c, "postgres", "CHECKPOINT")
}

func dropDatabase(ctx context.Context, c *pgcluster.Cluster, name string) error {
	return runSQL(ctx, c, "postgres", "DROP DATABASE IF EXISTS "+dump.QuoteIdent(name)+" WITH (FORCE)")
}

// census counts everything that a schema consists of, and what is not valid.
const census = `
SELECT format('%s %s', what, count(*)) FROM (
    SELECT 'relkind ' || relkind::text || ' persistence ' || relpersistence::text || ' options ' || coalesce(reloptions::text, '') AS what, relnamespace AS ns FROM pg_class
    UNION ALL SELECT 'column ' || atttypid::regtype || ' ' || attnotnull || ' ' || attidentity::text || ' default ' || atthasdef, c.relnamespace
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE attnum > 0 AND NOT attisdropped
    UNION ALL SELECT 'constraint ' || contype::text || ' valid ' || convalidated, connamespace FROM pg_constraint
    UNION ALL SELECT 'index valid ' || indisvalid || ' unique ' || indisunique || ' primary ' || indisprimary, c.relnamespace FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    UNION ALL SELECT 'comment ' || md5(d.description), c.relnamespace FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
) x JOIN pg_namespace n ON n.oid = ns WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pgdrover')
GROUP BY what ORDER BY what COLLATE "C"`

// sameCensus checks that two databases hold as many objects of each kind.
func sameCensus(ctx context.Context, a *pgcluster.Cluster, nameA string, b *pgcluster.Cluster, nameB string) error {
	var counts [2][]string
	for i, side := range []struct {
		c    *pgcluster.Cluster
		name string
	}{{a, nameA}, {b, nameB}} {
		err := with(ctx, side.c, side.name, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, census)
			if err != nil {
				return err
			}
			counts[i], err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if err != nil {
			return fmt.Errorf("count the objects of %s: %w", side.name, err)
		}
	}
	for i := range max(len(counts[0]), len(counts[1])) {
		if i >= len(counts[0]) || i >= len(counts[1]) || counts[0][i] != counts[1][i] {
			return fmt.Errorf("%s and %s do not hold the same objects: %.300q and %.300q", nameA, nameB, counts[0][min(i, len(counts[0])):], counts[1][min(i, len(counts[1])):])
		}
	}
	return nil
}
