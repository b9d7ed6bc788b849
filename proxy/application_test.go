package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/relay"
)

// startServing is start with pools and a relay.
func startServing(t *testing.T, c *config.Config) *testServer {
	t.Helper()
	current := func() *config.Config { return c }
	log := slog.New(slog.DiscardHandler)
	pools := pool.New(pool.Options{Config: current, Logger: log})
	r := relay.New(relay.Options{Config: current, Pools: pools, Logger: log})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := pools.Run(ctx); err != nil {
			t.Errorf("run pools: %v", err)
		}
	})
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() }) // after the server has stopped
	return start(t, c, manyFailures, func(o *proxy.Options) { o.Relay = r })
}

// TestApplicationsLogInBothWays: a client proves itself here, and that is all
// it takes to log in at a server that asks for SCRAM over TLS. Both are bound to
// their channels, and nobody between has a password.
func TestApplicationsLogInBothWays(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t, pgtest.Options{SSL: true, HBA: []string{
		"host all postgres all trust", "hostssl all hashed all md5", "hostssl all all all scram-sha-256",
	}})
	db := cluster.Database("postgres")
	for _, role := range []string{"stored", "found", "passed", "plain", "finder"} {
		db.Exec(t, fmt.Sprintf("CREATE ROLE %s SUPERUSER LOGIN PASSWORD '%s'", role, strings.ReplaceAll(rolePassword, "'", "''")))
	}
	db.Exec(t, "SET password_encryption = md5; CREATE ROLE hashed LOGIN PASSWORD '"+strings.ReplaceAll(rolePassword, "'", "''")+"'")
	verifier := pgtest.Value[string](t, db, "SELECT rolpassword FROM pg_authid WHERE rolname = 'stored'")

	for _, test := range []struct {
		user   string
		method config.AuthType
		change func(*config.Config)
	}{
		{"stored", config.AuthSCRAM, func(*config.Config) {}},
		{"plain", config.AuthSCRAM, func(*config.Config) {}},
		{"found", config.AuthSCRAM, func(c *config.Config) { c.General.AuthQuery, c.General.AuthQueryUser = authQuery, "finder" }},
		{"hashed", config.AuthMD5, func(c *config.Config) { c.General.AuthQuery, c.General.AuthQueryUser = authQuery, "finder" }},
		{"passed", config.AuthSCRAM, func(c *config.Config) { c.General.PassthroughAuth = config.PassthroughEnabled }},
	} {
		t.Run(test.user, func(t *testing.T) {
			t.Parallel()
			c := withTLS(t, foreignConfig(cluster))
			c.General.AuthType = test.method
			c.General.TLSVerify, c.General.TLSServerCACertificate = config.TLSVerifyFull, cluster.CACertificate()
			c.General.MinPoolSize = 0
			c.Users = append(c.Users, config.User{Name: "stored", Database: "prod", PasswordHash: verifier},
				config.User{Name: "plain", Database: "prod", Passwords: []config.Secret{"an older one", rolePassword, "a newer one"}})
			test.change(c)
			s := startServing(t, c)
			binding := "&channel_binding=require"
			if test.method != config.AuthSCRAM || test.user == "passed" {
				binding = "&channel_binding=prefer"
			}
			conn := s.mustConnect(t, "sslmode=require"+binding, as(test.user, "prod", rolePassword))
			if got := ask(t, conn, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != test.user+" true" {
				t.Errorf("the server sees %q", got)
			}
			// A new connection to the server needs the client's keys again.
			for range 2 {
				endSessions(t, db, test.user)
				seen(t, test.user, func() *pgconn.PgConn {
					return s.mustConnect(t, "sslmode=require"+binding, as(test.user, "prod", rolePassword))
				})
			}
			_, err := s.connect(t, "sslmode=require", as(test.user, "prod", "wrong"))
			wantError(t, err, "28P01", "")
		})
	}
}

// endSessions ends a role's sessions, and those that are opened while it does.
func endSessions(t *testing.T, db *pgtest.Database, role string) {
	t.Helper()
	db.WaitUntil(t, "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE usename = $1", role)
}

// ask gives the only value of a query's answer.
func ask(t *testing.T, conn *pgconn.PgConn, sql string) string {
	t.Helper()
	results, err := conn.Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return string(results[0].Rows[0][0])
}

// seen checks as whom the server sees a client. A connection that was ended less
// than 50 ms after its last use may be lent once more.
func seen(t *testing.T, user string, connect func() *pgconn.PgConn) {
	t.Helper()
	pgtest.Eventually(t, "the server answers", func(ctx context.Context) (bool, error) {
		results, err := connect().Exec(ctx, "SELECT current_user::text").ReadAll()
		if pgerror.Code(err) == pgerror.AdminShutdown {
			return false, nil
		}
		if err == nil && string(results[0].Rows[0][0]) != user {
			t.Errorf("the server sees %q", results[0].Rows[0][0])
		}
		return err == nil, err
	})
}

// TestPasswordsChangeUnderPools: the role's password is set anew while its pool is
// in use. Clients with the new one get through as soon as the server is asked.
func TestPasswordsChangeUnderPools(t *testing.T) {
	t.Parallel()
	cluster := foreignServer(t)
	db := cluster.Database("postgres")
	for name, change := range map[string]func(*config.Config){
		"renewed": func(c *config.Config) { c.General.AuthQuery, c.General.AuthQueryUser = authQuery, "finder" },
		"guessed": func(c *config.Config) { c.General.PassthroughAuth = config.PassthroughAllowChange },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := foreignConfig(cluster)
			change(c)
			s := startServing(t, c)
			ask(t, s.mustConnect(t, "sslmode=disable", as(name, "prod", rolePassword)), "SELECT 1")
			for _, password := range []string{"first", "second"} {
				db.Exec(t, "ALTER ROLE "+name+" PASSWORD '"+password+"'")
				endSessions(t, db, name)
				if err := s.Reload(); err != nil {
					t.Fatal(err)
				}
				seen(t, name, func() *pgconn.PgConn { return s.mustConnect(t, "sslmode=disable", as(name, "prod", password)) })
			}
		})
	}
}
