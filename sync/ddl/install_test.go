package ddl

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

const leftOvers = `SELECT 'trigger ' || evtname FROM pg_event_trigger
	UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace::regnamespace::text = 'pgdrover'
	UNION ALL SELECT 'schema' FROM pg_namespace WHERE nspname = 'pgdrover'`

func TestInstall(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d := c.CreateDatabase(t)
		conn := open(t, d)
		state := func() State {
			t.Helper()
			s, err := Installed(t.Context(), conn)
			must(t, err)
			return s
		}
		must(t, Remove(t.Context(), conn))
		if s := state(); s.Installed || s.Current || !strings.Contains(s.Missing, "3 of 3") {
			t.Errorf("before: %+v", s)
		}
		for range 2 {
			must(t, Install(t.Context(), conn))
			if s := state(); s != (State{Installed: true, Current: true}) {
				t.Errorf("installed: %+v", s)
			}
		}
		for sql, missing := range map[string]string{
			"ALTER EVENT TRIGGER pgdrover_ddl_end ENABLE REPLICA":            "1 of 3 event triggers are disabled",
			"ALTER EVENT TRIGGER pgdrover_ddl_drop DISABLE":                  "1 of 3 event triggers are disabled",
			"DROP EVENT TRIGGER pgdrover_ddl_rewrite":                        "1 of 3 event triggers are missing",
			"COMMENT ON FUNCTION pgdrover.ddl_end() IS 'of another version'": "another version",
		} {
			d.Exec(t, sql)
			if s := state(); s.Current || !strings.Contains(s.Missing, missing) {
				t.Errorf("%s: %+v", sql, s)
			}
			must(t, Install(t.Context(), conn))
		}
		// Nobody but the owner can call anything of it.
		if open := d.Rows(t, `SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'pgdrover'::regnamespace
			AND (proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) a WHERE a.grantee = 0))`); len(open) > 0 {
			t.Errorf("public may call %q", open)
		}
		d.Exec(t, "CREATE TABLE pgdrover.own (i int)")
		must(t, Remove(t.Context(), conn))
		if diff := cmp.Diff([]string{"schema"}, d.Rows(t, leftOvers)); diff != "" {
			t.Errorf("left beside a table of ours: %s", diff)
		}
		must(t, Install(t.Context(), conn))
		d.Exec(t, "DROP TABLE pgdrover.own")
		must(t, Remove(t.Context(), conn))
		if left := d.Rows(t, leftOvers); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		// Whoever drops the schema is not kept from it, nor from anything after.
		must(t, Install(t.Context(), conn))
		d.Exec(t, "DROP SCHEMA pgdrover CASCADE")
		d.Exec(t, "CREATE TABLE t (i int); DROP TABLE t")
		if left := d.Rows(t, leftOvers); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A role that may not gets told what it can do, and leaves nothing behind.
func TestInstallWithoutRights(t *testing.T) {
	onMajors(t, func(t *testing.T, c *pgtest.Cluster) {
		d := c.CreateDatabase(t)
		role := "admin_" + d.Name
		makeRole(t, d, role, "LOGIN")
		d.Exec(t, "GRANT CREATE ON DATABASE "+pgtest.Quote(d.Name)+" TO "+pgtest.Quote(role))
		s := server(d)
		s.User = role
		conn, err := connect.Open(t.Context(), s, "test")
		must(t, err)
		defer func() { _ = conn.Close(t.Context()) }()
		err = Install(t.Context(), conn)
		if e := pgerror.From(err); e == nil || e.Code != pgerror.InsufficientPrivilege || !strings.Contains(e.Hint, "ALTER ROLE") || !strings.Contains(e.Detail, "polled") {
			t.Fatalf("%+v", e)
		}
		if conn.PgConn().TxStatus() != 'I' {
			t.Error("a transaction is left open")
		}
		if left := d.Rows(t, leftOvers); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}
