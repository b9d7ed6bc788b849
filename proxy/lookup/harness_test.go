package lookup_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/lookup"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// secret is the password of every role.
const secret = "s3cret 'ü\\ \" $1"

const weird = `Weird "Name" $1`

// clock is time that passes when a test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// startServer starts a server that asks for passwords by the groups that roles
// are in.
func startServer(t *testing.T) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"log_connections": "on"}, HBA: []string{
		"local all all trust", "host all postgres all trust", "host all +trusting all trust", "host all +outsiders all reject",
		"host all +hashing all md5", "host all all all scram-sha-256",
	}})
	c.Database("postgres").Exec(t, "CREATE ROLE trusting; CREATE ROLE outsiders; CREATE ROLE hashing")
	return c
}

// fixtures numbers them, so that their roles have names of their own.
var fixtures atomic.Int64

// fixture is a database with roles, a function that counts what it is asked, and
// a Directory.
type fixture struct {
	*lookup.Directory
	number   int64
	clock    *clock
	cluster  *pgtest.Cluster
	database *pgtest.Database
	config   *config.Config
}

// role is the name of a role of this fixture.
func (f *fixture) role(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%s %d", name, f.number)
}

// createRole creates a role that may log in.
func (f *fixture) createRole(t *testing.T, name, clauses string) {
	t.Helper()
	f.database.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN %s", pgtest.Quote(f.role(name)), clauses))
}

func newFixture(t *testing.T, cluster *pgtest.Cluster) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{now: time.Now()}, number: fixtures.Add(1), cluster: cluster}
	f.database = f.cluster.CreateDatabase(t)
	password := "PASSWORD '" + strings.ReplaceAll(secret, "'", "''") + "'"
	for _, name := range []string{"app", weird, "finder"} {
		f.createRole(t, name, password)
	}
	f.createRole(t, "trusted", "IN ROLE trusting "+password)
	f.createRole(t, "outside", "IN ROLE outsiders "+password)
	f.createRole(t, "expired", "VALID UNTIL '2001-01-01' "+password)
	f.createRole(t, "passwordless", "")
	f.createRole(t, "slow", "PASSWORD 'x'")
	f.database.Exec(t, "SET password_encryption = md5; CREATE ROLE "+pgtest.Quote(f.role("hashed"))+" LOGIN IN ROLE hashing "+password)
	f.database.Exec(t, strings.ReplaceAll(`
		CREATE SCHEMA users;
		GRANT USAGE ON SCHEMA users TO finder;
		CREATE SEQUENCE users.asked;
		CREATE FUNCTION users.find(wanted text, OUT name text, OUT hash text) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$
			SELECT nextval('users.asked'), pg_sleep(CASE WHEN $1 LIKE 'slow%' THEN 0.5 ELSE 0 END);
			SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname = $1 AND rolcanlogin $$;
		REVOKE ALL ON FUNCTION users.find FROM public;
		GRANT EXECUTE ON FUNCTION users.find TO finder`, "TO finder", "TO "+pgtest.Quote(f.role("finder"))))
	f.config = config.Default()
	f.config.General.AuthQuery = "SELECT name, hash FROM users.find($1)"
	f.config.General.AuthQueryUser = f.role("finder")
	f.config.General.PassthroughAuth = config.PassthroughEnabled
	f.config.Databases = []config.Database{{Name: "prod", DatabaseName: f.database.Name, Host: f.cluster.Host(), Port: f.cluster.Port(), Role: config.RolePrimary}}
	f.config.Users = []config.User{{Name: f.role("finder"), Database: "prod", Password: secret}}
	f.Directory = lookup.New(lookup.Options{Authenticator: auth.New(), Now: f.clock.Now})
	t.Cleanup(f.Close)
	return f
}

// find is Find for a role of the fixture.
func (f *fixture) find(t *testing.T, name string) (known bool, err error) {
	t.Helper()
	account, err := f.Find(t.Context(), f.config, f.role(name), "prod")
	return account != nil, err
}

// check is Check for a role of the fixture.
func (f *fixture) check(t *testing.T, name, password string) (auth.Credentials, error) {
	t.Helper()
	return f.Check(t.Context(), f.config, f.role(name), "prod", password)
}

// asked is how often the function was called.
func (f *fixture) asked(t *testing.T) int64 {
	t.Helper()
	return pgtest.Value[int64](t, f.database, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM users.asked")
}

// logins is how often a role logged in or tried to.
func (f *fixture) logins(name string) int {
	log := f.cluster.Log()
	return strings.Count(log, " connection authorized: user="+f.role(name)+" ") +
		strings.Count(log, `authentication failed for user "`+f.role(name)+`"`)
}

func TestServers(t *testing.T) {
	t.Parallel()
	cluster := startServer(t)
	for name, test := range map[string]func(*testing.T, *fixture){
		"find": testFind, "answers grow old": testAnswersGrowOld, "shared answers": testSharedAnswers, "few connections": testFewConnections,
		"answers that make no sense": testSenselessAnswers, "closed": testClosed, "who asks may leave": testLeaving,
		"check": testCheck, "credentials log in": testCredentialsLogIn, "changed passwords": testChangedPasswords, "many clients of one user": testManyClients, "as documented": testDocumented, "another configuration": testAnotherConfiguration,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, cluster))
		})
	}
}
