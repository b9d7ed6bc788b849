package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// connect opens the session of the admin database that does the job.
func (d *demo) connect(ctx context.Context) error {
	cfg, err := pgconn.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=admin dbname=admin password=%s sslmode=disable application_name='pgdrover demo'",
		d.port, d.adminPassword))
	if err != nil {
		return err
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { d.screen.say("%s:  %s\n", n.Severity, n.Message) }
	if d.admin, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return fmt.Errorf("connect to the admin database: %w", err)
	}
	d.removeLater(d.disconnect)
	d.screen.say("\n%s\n", d.psql())
	return nil
}

func (d *demo) disconnect() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = d.admin.Close(ctx) // cut off already when the daemon was told to stop
	return nil
}

// psql is the command line that opens such a session.
func (d *demo) psql() string {
	return fmt.Sprintf(`psql "host=127.0.0.1 port=%d user=admin dbname=admin password=%s"`, d.port, d.adminPassword)
}

// command runs a command of the admin database and gives its answer. Its notices
// are shown.
func (d *demo) command(ctx context.Context, command string) (table, error) {
	return answer(d.admin.Exec(ctx, command), command)
}

// answer reads the last result of a query.
func answer(results *pgconn.MultiResultReader, sql string) (table, error) {
	var last table
	for results.NextResult() {
		last = readTable(results.ResultReader())
	}
	if err := results.Close(); err != nil {
		return table{}, fmt.Errorf("%s %w", sql, err)
	}
	return last, nil
}

// shown runs a command as if it were typed in psql, and shows the named columns
// of its answer, or all.
func (d *demo) shown(ctx context.Context, command string, columns ...string) (table, error) {
	d.screen.typed("admin", command)
	all, err := d.command(ctx, command)
	if err != nil {
		return all, err
	}
	d.show(all, columns...)
	return all, nil
}

// show shows the named columns of an answer, or all.
func (d *demo) show(all table, columns ...string) {
	part := all.only(columns...)
	d.screen.say("%s", part)
	if hidden := len(all.columns) - len(part.columns); hidden > 0 {
		d.screen.say("(%d more columns are left out here)\n", hidden)
	}
}

// asked runs SQL in a database of the servers as if it were typed there, and
// shows its answer.
func (d *demo) asked(ctx context.Context, dsn, database, sql string) (_ table, err error) {
	d.screen.typed(database, sql)
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	got, err := answer(conn.Exec(ctx, sql), sql)
	if err == nil {
		d.screen.say("%s", got)
	}
	return got, err
}
