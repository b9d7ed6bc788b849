package lookup_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/lookup"
)

func testFind(t *testing.T, f *fixture) {
	for user, known := range map[string]bool{
		"app": true, weird: true, "hashed": true, "finder": true,
		"nobody": false, "expired": false, "passwordless": false, "APP": false, "": false, "x'; DROP SCHEMA users CASCADE; --": false,
	} {
		if got, err := f.find(t, user); got != known || err != nil {
			t.Errorf("%q is known: %t, %v", user, got, err)
		}
	}
	before := f.asked(t)
	for _, user := range []string{"app", "nobody", "app", "nobody"} {
		if _, err := f.find(t, user); err != nil {
			t.Fatal(err)
		}
	}
	if again := f.asked(t); again != before || before != 10 {
		t.Errorf("asked %d times, then %d", before, again)
	}
}

// testAnswersGrowOld: that there is no such user, soon.
func testAnswersGrowOld(t *testing.T, f *fixture) {
	find := func(user string, asks bool) {
		t.Helper()
		before := f.asked(t)
		if _, err := f.find(t, user); err != nil {
			t.Fatal(err)
		}
		if asked := f.asked(t) > before; asked != asks {
			t.Errorf("%s is asked for: %t", user, asked)
		}
	}
	find("app", true)
	find("nobody", true)
	f.clock.pass(9 * time.Second)
	find("app", false)
	find("nobody", false)
	f.clock.pass(time.Second)
	find("app", false)
	find("nobody", true)
	f.clock.pass(50 * time.Second)
	find("app", true)

	f.Forget()
	find("app", true)
	find("nobody", true)

	f.Doubt(f.config, f.role("app"), "prod") // just answered
	find("app", false)
	f.clock.pass(2 * time.Second)
	f.Doubt(f.config, f.role("app"), "prod")
	f.Doubt(f.config, "stranger", "prod")
	find("app", true)

	f.config.General.AuthCacheTTL = 5 * time.Millisecond
	f.clock.pass(5 * time.Millisecond)
	find("app", true)
	find("nobody", true)
}

// testAnotherConfiguration: what was asked under one says nothing of another.
func testAnotherConfiguration(t *testing.T, f *fixture) {
	if known, err := f.find(t, "app"); !known || err != nil {
		t.Fatalf("%t, %v", known, err)
	}
	if _, err := f.check(t, "app", secret); err != nil {
		t.Fatal(err)
	}
	other := *f.config
	other.General.AuthQuery = "SELECT NULL WHERE $1 <> ''"
	if account, err := f.Find(t.Context(), &other, f.role("app"), "prod"); account != nil || err != nil {
		t.Errorf("%v, %v", account, err)
	}
	if _, err := f.Check(t.Context(), &other, f.role("app"), "prod", "wrong"); !errors.Is(err, auth.ErrWrongPassword) {
		t.Errorf("%v", err)
	}
}

func testSharedAnswers(t *testing.T, f *fixture) {
	var waiting sync.WaitGroup
	for range 50 {
		waiting.Go(func() {
			if known, err := f.find(t, "slow"); !known || err != nil {
				t.Errorf("%t, %v", known, err)
			}
		})
	}
	waiting.Wait()
	if n := f.asked(t); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

// testFewConnections: however many strangers come.
func testFewConnections(t *testing.T, f *fixture) {
	f.config.General.AuthQuery = "SELECT hash FROM users.find($1), pg_sleep(0.05)"
	var asking sync.WaitGroup
	for i := range 40 {
		asking.Go(func() {
			if _, err := f.find(t, strings.Repeat("x", i)); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { asking.Wait(); close(done) }()
	most := int64(0)
	for {
		select {
		case <-done:
			if most > 4 {
				t.Errorf("%d connections at a time", most)
			}
			return
		default:
			most = max(most, pgtest.Value[int64](t, f.database, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state = 'active'", f.role("finder")))
		}
	}
}

func testSenselessAnswers(t *testing.T, f *fixture) {
	for _, test := range []struct{ query, want string }{
		{"SELECT rolname FROM pg_roles", "more than one row"},
		{"SELECT 1, 2, 3", "one column"},
		{"SELECT $1, 'no hash'", "no password hash"},
		{"SELECT 'SCRAM-SHA-256$4096:x'", "no password hash"},
		{"SELECT $2::text", "auth_query"},
		{"SELEC", "syntax error"},
		{"SELECT 1; SELECT $1", "multiple commands"},
		{"SELECT rolpassword FROM pg_authid WHERE rolname = $1", "permission denied"},
		{"COPY pg_namespace TO STDOUT", "gives rows"},
		{"SELECT repeat('x', 1000000) WHERE $1 <> ''", "read the answer"},
	} {
		f.Forget()
		f.config.General.AuthQuery = test.query
		known, err := f.find(t, "app")
		if known || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %t, %v", test.query, known, err)
		}
	}
	f.config.General.AuthQuery = ""
	if lookup.Answers(f.config, "prod") {
		t.Error("there is no auth_query")
	}
	f.config.General.AuthQuery = "SELECT NULL, NULL"
	if known, err := f.find(t, "app"); known || err != nil {
		t.Errorf("a row of NULLs: %t, %v", known, err)
	}
	if lookup.Answers(f.config, "other") || !lookup.Answers(f.config, "prod") {
		t.Error("auth_query works where its user may go")
	}
}

// TestTheServerIsDown: that is no answer, and not remembered.
func TestTheServerIsDown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, startServer(t))
	if err := f.cluster.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.find(t, "app"); pgerror.Code(err) != pgerror.UnableToConnect {
		t.Errorf("find: %v", err)
	}
	if _, err := f.check(t, "app", secret); pgerror.Code(err) != pgerror.UnableToConnect {
		t.Errorf("check: %v", err)
	}
	if f.Len() != 0 {
		t.Error("something is remembered")
	}
	if err := f.cluster.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if known, err := f.find(t, "app"); !known || err != nil {
		t.Errorf("%t, %v", known, err)
	}
	if _, err := f.check(t, "app", secret); err != nil {
		t.Error(err)
	}
}

func testClosed(t *testing.T, f *fixture) {
	f.config.General.AuthQuery = "SELECT pg_sleep(600), $1"
	asked := make(chan error)
	go func() { _, err := f.find(t, "app"); asked <- err }()
	f.database.WaitUntil(t, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = $1", f.role("finder"))
	f.Close()
	if err := <-asked; pgerror.Code(err) != pgerror.CannotConnectNow {
		t.Errorf("who was asking gets %v", err)
	}
	if _, err := f.find(t, "app"); pgerror.Code(err) != pgerror.CannotConnectNow {
		t.Errorf("who asks now gets %v", err)
	}
}

// testLeaving: the others get their answer.
func testLeaving(t *testing.T, f *fixture) {
	ctx := canceled(t)
	if _, err := f.Find(ctx, f.config, f.role("slow"), "prod"); !errors.Is(err, errLeft) {
		t.Errorf("%v", err)
	}
	if known, err := f.find(t, "slow"); !known || err != nil {
		t.Errorf("%t, %v", known, err)
	}
	if n := f.asked(t); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestHostsOfUsersAreNotAsked(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Databases = []config.Database{
		{Name: "open", Host: "h", Role: config.RolePrimary}, {Name: "fixed", Host: "h", Role: config.RolePrimary, User: "somebody"},
		{Name: "known", Host: "h", Role: config.RolePrimary, Password: "x"}, {Name: "replicas", Host: "h", Role: config.RoleReplica},
	}
	for database, want := range map[string]bool{"open": true, "fixed": false, "known": false, "replicas": false, "nowhere": false} {
		if got := lookup.PassesThrough(c, database); got != want {
			t.Errorf("%s: %t", database, got)
		}
	}
}
