package demo

import (
	"context"
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

// typed runs a command as if it were typed in psql: it is shown, then its
// notices while it runs. What it answers is given back.
func (d *demo) typed(ctx context.Context, command string) (table, error) {
	d.screen.typed(command)
	var answer table
	results := d.admin.Exec(ctx, command)
	for results.NextResult() {
		answer = readTable(results.ResultReader())
	}
	if err := results.Close(); err != nil {
		return table{}, fmt.Errorf("%s %w", command, err)
	}
	return answer, nil
}

// shown is typed with its answer shown as well: the named columns of it, or all.
func (d *demo) shown(ctx context.Context, command string, columns ...string) (table, error) {
	answer, err := d.typed(ctx, command)
	if err != nil {
		return answer, err
	}
	part := answer.only(columns...)
	d.screen.say("%s", part)
	if hidden := len(answer.columns) - len(part.columns); hidden > 0 {
		d.screen.say("(%d more columns are left out here)\n", hidden)
	}
	return answer, nil
}
