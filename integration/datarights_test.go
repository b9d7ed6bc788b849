package integration

import (
	"context"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// TestDataRights copies as a schema admin of the destination that is no
// superuser: all that is missing is told at once, and what the message says to
// run is enough.
func TestDataRights(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{})
	c.Database("postgres").Exec(t, "CREATE ROLE weak LOGIN CREATEDB")
	source, destination := pgtest.Shared(t, 0).CreateDatabase(t), c.CreateDatabase(t)
	source.Exec(t, pairRows+"CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER another ON ddl_command_end WHEN TAG IN ('CREATE STATISTICS') EXECUTE FUNCTION nothing(); CREATE PUBLICATION all_tables FOR ALL TABLES")
	s := between(source, destination)
	s.destination[0].user = "weak"
	s.extra = "[schema_sync]\nscope = \"publication\"\nowners = false\nprivileges = false\n"
	m := s.manager(t)
	_, err := m.CopyData(t.Context(), copyRequest())
	says(t, err, pgerror.InsufficientPrivilege, "the preflight found 3 problems", "may not create schemas", "session_replication_role",
		`publication "all_tables" of the source can only be created by a superuser`, `CREATE PUBLICATION "all_tables" FOR ALL TABLES;`)
	for _, sql := range hintedSQL.FindAllString(pgerror.From(err).Detail, -1) {
		t.Log(sql)
		destination.Exec(t, sql)
	}
	destination.Exec(t, "GRANT CREATE ON SCHEMA public TO weak")
	id := follow(t, m)
	changed(t, source, 1)
	arrived(t, m, source, destination)

	// What the publication leaves out from now on is told: nothing else shows it.
	for _, c := range []struct{ publish, words string }{
		{"insert, update", "leaves out delete, truncate"},
		{"insert, update, delete, truncate", "leaves out nothing any more"},
	} {
		source.Exec(t, "ALTER PUBLICATION all_tables SET (publish = '"+c.publish+"')")
		pgtest.Eventually(t, "SHOW MIRROR_LOG has "+c.words, func(ctx context.Context) (bool, error) {
			log, err := m.MirrorLog(ctx, theMirror, mirror.LogFilter{Search: c.words})
			return len(log) == 1 && log[0].Level == "warning" && log[0].Error.Hint != "", err
		})
	}
	stopTask(t, m, id)
}
