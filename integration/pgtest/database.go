package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgcluster"
)

// Database is one database of a cluster. Each helper uses a connection of its
// own, so nothing is left in a session and a restart of the server is no matter.
type Database struct {
	Cluster *Cluster
	Name    string
}

var databases atomic.Int64

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// CreateDatabase makes a database whose name is unique in this test binary and
// says which test it belongs to. clauses follow CREATE DATABASE name, e.g.
// "TEMPLATE template0 LC_COLLATE 'C'". It is dropped at the end of the test,
// with its replication slots and subscriptions.
func (c *Cluster) CreateDatabase(tb testing.TB, clauses ...string) *Database {
	tb.Helper()
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(tb.Name()), "_"), "_")
	return c.CreateNamedDatabase(tb, fmt.Sprintf("%.48s_%d", name, databases.Add(1)), clauses...)
}

// CreateNamedDatabase makes a database of a given name, which may need quoting.
func (c *Cluster) CreateNamedDatabase(tb testing.TB, name string, clauses ...string) *Database {
	tb.Helper()
	c.Database("postgres").Exec(tb, "CREATE DATABASE "+Quote(name)+" "+strings.Join(clauses, " "))
	d := c.Database(name)
	tb.Cleanup(func() {
		if c.State() != pgcluster.Running {
			return // it goes with its cluster
		}
		// The test's context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := d.drop(ctx); err != nil {
			tb.Errorf("drop the database %s: %v", Quote(name), err)
		}
	})
	return d
}

// Database names an existing database of the cluster.
func (c *Cluster) Database(name string) *Database { return &Database{Cluster: c, Name: name} }

// Quote quotes an identifier, or several as schema.table.
func Quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

// DSN is the connection URI for the superuser.
func (d *Database) DSN() string { return d.Cluster.DSN(d.Name) }

// Connect opens a connection that is closed at the end of the test.
func (d *Database) Connect(tb testing.TB) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), d.DSN())
	if err != nil {
		tb.Fatalf("connect to %s: %v", Quote(d.Name), err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) }) // it may be broken on purpose
	return conn
}

// TryExec runs SQL, which may be several statements if there are no args.
func (d *Database) TryExec(ctx context.Context, sql string, args ...any) error {
	return d.with(ctx, func(conn *pgx.Conn) error {
		if len(args) == 0 {
			_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
			return err
		}
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// Exec is TryExec; an error ends the test.
func (d *Database) Exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	if err := d.TryExec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %s: %v", Quote(d.Name), sql, err)
	}
}

// Value runs a query and gives the first column of its only row.
func Value[T any](tb testing.TB, d *Database, sql string, args ...any) T {
	tb.Helper()
	values := Column[T](tb, d, sql, args...)
	if len(values) != 1 {
		tb.Fatalf("%s: %s: %d rows, want 1", Quote(d.Name), sql, len(values))
	}
	return values[0]
}

// Column runs a query and gives its first column.
func Column[T any](tb testing.TB, d *Database, sql string, args ...any) []T {
	tb.Helper()
	var values []T
	err := d.with(tb.Context(), func(conn *pgx.Conn) error {
		rows, err := conn.Query(tb.Context(), sql, args...)
		if err != nil {
			return err
		}
		values, err = pgx.CollectRows(rows, pgx.RowTo[T])
		return err
	})
	if err != nil {
		tb.Fatalf("%s: %s: %v", Quote(d.Name), sql, err)
	}
	return values
}

// Rows runs a query and gives its rows as psql -At prints them: text, columns
// separated by '|', NULL as nothing.
func (d *Database) Rows(tb testing.TB, sql string) []string {
	tb.Helper()
	var lines []string
	err := d.with(tb.Context(), func(conn *pgx.Conn) error {
		results, err := conn.PgConn().Exec(tb.Context(), sql).ReadAll()
		if err != nil || len(results) == 0 {
			return err
		}
		for _, row := range results[len(results)-1].Rows {
			columns := make([]string, len(row))
			for i, value := range row {
				columns[i] = string(value)
			}
			lines = append(lines, strings.Join(columns, "|"))
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("%s: %s: %v", Quote(d.Name), sql, err)
	}
	return lines
}

// WaitUntil waits until a query that gives one boolean gives true.
func (d *Database) WaitUntil(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	Eventually(tb, sql, func(ctx context.Context) (ok bool, err error) {
		err = d.with(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&ok) })
		return ok, err
	})
}

// LoadFile runs an SQL script by psql, which stops at the first error.
func (d *Database) LoadFile(tb testing.TB, path string) {
	tb.Helper()
	psql, err := d.Cluster.Installation().Tool("psql")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", d.DSN(), "-f", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("load %s into %s: %v\n%s", path, Quote(d.Name), err, out)
	}
}

// with runs f on a connection of its own.
func (d *Database) with(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, d.DSN())
	if err != nil {
		return err
	}
	err = f(conn)
	return errors.Join(err, closeUnlessBroken(conn))
}

func closeUnlessBroken(conn *pgx.Conn) error {
	if conn.IsClosed() {
		return nil
	}
	return conn.Close(context.Background())
}

// drop removes what would forbid dropping the database, then drops it.
func (d *Database) drop(ctx context.Context) error {
	subscriptions := `SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`
	err := d.with(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, subscriptions)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, name := range names {
			name = Quote(name)
			_, execErr := conn.PgConn().Exec(ctx, fmt.Sprintf(
				"ALTER SUBSCRIPTION %s DISABLE; ALTER SUBSCRIPTION %s SET (slot_name = NONE); DROP SUBSCRIPTION %s", name, name, name)).ReadAll()
			err = errors.Join(err, execErr)
		}
		return err
	})
	return errors.Join(err, d.Cluster.Database("postgres").with(ctx, func(conn *pgx.Conn) error {
		if err := endWalsenders(ctx, conn, d.Name); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "DROP DATABASE "+Quote(d.Name)+" WITH (FORCE)")
		return err
	}))
}

// endWalsenders ends the sessions that stream from the database's slots: an
// active slot forbids dropping it, an inactive one is dropped with it. A
// walsender holds its slot a moment longer than it is told, so this repeats.
func endWalsenders(ctx context.Context, conn *pgx.Conn, database string) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var active int
		err := conn.QueryRow(ctx, "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE active AND database = $1", database).Scan(&active)
		if err != nil || active == 0 {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
