package demo

import (
	"context"
	_ "embed" // shop.sql
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/pgcluster"
)

// shopSQL makes the sample shop in an empty database.
//
//go:embed shop.sql
var shopSQL string

// Names on the servers.
const (
	sourceDatabase      = "shop"
	unshardedDatabase   = "shop_new"
	shardDatabaseFormat = "shop_%d"
	shardCount          = 3
)

// startServers starts the two clusters at the same time.
func (d *demo) startServers(ctx context.Context) error {
	installation, err := pgcluster.Find(0)
	if err != nil {
		return err
	}
	d.screen.say("Starting two throw-away servers of %s …\n", installation)
	began := time.Now()
	options := pgcluster.Options{
		Installation: installation, AuthMethod: "scram-sha-256", SuperuserPassword: d.serverPassword, Dir: d.options.Dir,
	}
	group, starting := errgroup.WithContext(ctx)
	for _, cluster := range []**pgcluster.Cluster{&d.source, &d.destination} {
		group.Go(func() (err error) {
			*cluster, err = pgcluster.Start(starting, options)
			return err
		})
	}
	err = group.Wait()
	d.removeLater(d.closeServers)
	if err != nil {
		return err
	}
	d.screen.say("  source: port %d, destination: port %d, in %s\n", d.source.Port(), d.destination.Port(), elapsed(began))
	return nil
}

// closeServers closes the clusters that were started.
func (d *demo) closeServers() error {
	var group errgroup.Group
	for _, cluster := range []*pgcluster.Cluster{d.source, d.destination} {
		if cluster != nil {
			group.Go(cluster.Close)
		}
	}
	return group.Wait()
}

// makeDatabases loads the shop into the source, and makes the destination's
// databases, empty, with the roles that the shop's grants name.
func (d *demo) makeDatabases(ctx context.Context) error {
	d.screen.say("Loading the sample shop into the source (some seconds) …\n")
	began := time.Now()
	if err := execute(ctx, d.source.DSN("postgres"), "CREATE DATABASE "+sourceDatabase); err != nil {
		return fmt.Errorf("make the source database: %w", err)
	}
	if err := execute(ctx, d.source.DSN(sourceDatabase), shopSQL); err != nil {
		return fmt.Errorf("load the sample shop: %w", err)
	}
	var tables, rows int64
	err := query(ctx, d.source.DSN(sourceDatabase),
		`SELECT count(*) FILTER (WHERE NOT relispartition), (sum(reltuples) FILTER (WHERE relkind = 'r'))::bigint
		 FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'shop'::regnamespace`, &tables, &rows)
	if err != nil {
		return fmt.Errorf("count the sample shop: %w", err)
	}
	d.screen.say("  %d tables, %d rows, in %s\n", tables, rows, elapsed(began))
	statements := []string{"CREATE ROLE shop_app NOLOGIN", "CREATE ROLE shop_readonly NOLOGIN", "CREATE DATABASE " + unshardedDatabase}
	for shard := range shardCount {
		statements = append(statements, "CREATE DATABASE "+shardDatabase(shard))
	}
	if err := execute(ctx, d.destination.DSN("postgres"), statements...); err != nil {
		return fmt.Errorf("make the destination databases: %w", err)
	}
	return nil
}

func shardDatabase(shard int) string { return fmt.Sprintf(shardDatabaseFormat, shard) }

// execute runs SQL over a connection of its own, each text as one simple query.
func execute(ctx context.Context, dsn string, texts ...string) (err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, text := range texts {
		if _, err := conn.PgConn().Exec(ctx, text).ReadAll(); err != nil {
			return err
		}
	}
	return nil
}

// query reads one row over a connection of its own.
func query(ctx context.Context, dsn, sql string, into ...any) (err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return conn.QueryRow(ctx, sql).Scan(into...)
}
