package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	oneDatabase = "[[databases]]\nname = \"prod\"\nhost = \"127.0.0.1\"\n"
	oneUser     = "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npassword = \"s3cr3t\"\n[admin]\npassword = \"root\"\n"
)

// detail gives all problems of an error for a test's message.
func detail(err error) string {
	var lines []string
	for _, p := range problemsOf(err) {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func problemsOf(err error) []Problem {
	var e *Error
	if errors.As(err, &e) {
		return e.Problems
	}
	return nil
}

func parse(main, users string) (*Config, []Problem, error) {
	return Parse(configFile, []byte(main), usersFile, []byte(users), nil)
}

func mustParse(t *testing.T, main, users string) *Config {
	t.Helper()
	c, _, err := parse(main, users)
	if err != nil {
		t.Fatal(detail(err))
	}
	return c
}

func lines(problems []Problem) []string {
	out := []string{}
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c := mustParse(t, oneDatabase, oneUser)
	g := c.General
	if g.Host != "0.0.0.0" || g.Port != 6432 || g.AuthType != AuthSCRAM || g.TLSVerify != TLSPrefer || g.LogLevel != LogInfo || g.LogFormat != LogText {
		t.Errorf("general: %+v", g)
	}
	if g.ClientLoginTimeout != time.Minute || g.ConnectTimeout != 5*time.Second || g.ShutdownTimeout != time.Minute || g.ServerLifetime != 24*time.Hour {
		t.Errorf("timeouts: %v %v %v %v", g.ClientLoginTimeout, g.ConnectTimeout, g.ShutdownTimeout, g.ServerLifetime)
	}
	if g.QueryTimeout != nil || g.OpenMetricsPort != nil || g.TwoPhaseCommitAuto != nil {
		t.Error("keys that are off by default are on")
	}
	wantSync := SchemaSync{Scope: "database", IndexJobs: 2, IndexConcurrently: "auto", LockTimeout: 3 * time.Second,
		RetryMaxAttempts: 5, RetryMinDelay: 500 * time.Millisecond, SequenceMargin: 32, Owners: true, Privileges: true}
	if diff := cmp.Diff(wantSync, c.SchemaSync); diff != "" {
		t.Error(diff)
	}
	wantDatabase := Database{Name: "prod", Host: "127.0.0.1", Port: 5432, Role: RolePrimary, LBWeight: 255, File: configFile, Line: 1}
	if diff := cmp.Diff([]Database{wantDatabase}, c.Databases); diff != "" {
		t.Error(diff)
	}
	if c.Replication.PgDumpPathSet || c.ReplicaLag != nil || c.Vault != nil || c.MultiTenant != nil || !c.TCP.Keepalive {
		t.Errorf("%+v", c)
	}
}

func TestEveryKindOfValue(t *testing.T) {
	t.Parallel()
	c := mustParse(t, `
[general]
query_timeout = 1_500
two_phase_commit_auto = false
mirror_exposure = 0.25
openmetrics_port = 9090
dns_ttl = "off"
[replication]
pg_dump_path = "/usr/lib/postgresql/17/bin/pg_dump"
[schema_sync]
exclude_schemas = ["audit", "Weird \"Name\" $1"]
maintenance_work_mem = "512 MB"
[[databases]]
name = "prod"
host = "/var/run/postgresql"
pooler_mode = "session"
read_only = true
[[sharded_tables]]
database = "prod"
column = "id"
centroids = [[1, 2.5], [3.0, 4]]
[[sharded_tables.mapping]]
values = [1, "a"]
shard = 0
[[sharded_tables.mapping]]
start = 10
end = 20
shard = 0
[otel.headers]
Authorization = "Bearer x"
[vault]
url = "https://vault"
auth_method = "approle"
client_token_ttl = 60
`, oneUser)
	if *c.General.QueryTimeout != 1500*time.Millisecond || *c.General.TwoPhaseCommitAuto || c.General.MirrorExposure != 0.25 || *c.General.OpenMetricsPort != 9090 || c.General.DNSTTL != nil {
		t.Errorf("%+v", c.General)
	}
	if want := (Replication{"/usr/lib/postgresql/17/bin/pg_dump", true}); c.Replication != want {
		t.Errorf("%+v", c.Replication)
	}
	if diff := cmp.Diff([]string{"audit", `Weird "Name" $1`}, c.SchemaSync.ExcludeSchemas); diff != "" {
		t.Error(diff)
	}
	if d := c.Databases[0]; d.PoolerMode != "session" || !*d.ReadOnly || d.Line != 13 {
		t.Errorf("%+v", d)
	}
	wantTable := ShardedTable{Database: "prod", Column: "id", DataType: "bigint", Hasher: "postgres", LookupResult: "value",
		Centroids: [][]float64{{1, 2.5}, {3, 4}},
		Mapping:   []Mapping{{Values: []any{int64(1), "a"}}, {Start: int64(10), End: int64(20)}}}
	if diff := cmp.Diff([]ShardedTable{wantTable}, c.ShardedTables); diff != "" {
		t.Error(diff)
	}
	if c.OTel.Headers["Authorization"].Reveal() != "Bearer x" || *c.Vault.ClientTokenTTL != time.Minute {
		t.Errorf("%+v %+v", c.OTel, c.Vault)
	}
}

// TestProblems breaks one thing at a time.
func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, main, users string
		want              []string
	}{
		{"misspelt key", "[general]\n\nprot = 1\n" + oneDatabase, oneUser,
			[]string{`pgdog.toml:3: general.prot: unknown key; did you mean "port"?`}},
		{"key of another table", oneDatabase + "default_pool_size = 3\n", oneUser,
			[]string{`pgdog.toml:4: databases.default_pool_size: unknown key; it belongs under [general]`}},
		{"key like one of another table", oneDatabase + "log_lvel = 3\n", oneUser,
			[]string{`pgdog.toml:4: databases.log_lvel: unknown key; did you mean "log_level", under [general]?`}},
		{"key like none", oneDatabase + "zzzzzzzzzzzz = 3\n", oneUser,
			[]string{`pgdog.toml:4: databases.zzzzzzzzzzzz: unknown key; pgdog.toml.example lists all keys`}},
		{"key outside of tables", "port = 6432\n" + oneDatabase, oneUser,
			[]string{`pgdog.toml:1: port: key outside of any table; it belongs under [general]`}},
		{"third entry", oneDatabase + "shard = 0\n\n[[databases]]\nname = \"a\"\nhost = \"h\"\n[[databases]]\nname = \"b\"\nhots = \"h\"\nhost = \"h\"\n", oneUser,
			[]string{`pgdog.toml:11: databases.hots: unknown key; did you mean "host"?`}},
		{"misspelt table", oneDatabase + "[genral]\n", oneUser,
			[]string{`pgdog.toml:4: genral: unknown table; did you mean [general]?`}},
		{"misspelt array of tables hides no user", "[[database]]\nname = \"prod\"\n", oneUser,
			[]string{`pgdog.toml:1: database: unknown table; did you mean [[databases]]?`}},
		{"table of the other file", oneDatabase, oneUser + "[general]\nport = 1\n",
			[]string{`users.toml:7: general: this table does not belong in users.toml; move it to pgdog.toml`}},
		{"users in pgdog.toml", oneDatabase + "[[users]]\nname = \"x\"\n", oneUser,
			[]string{`pgdog.toml:4: users: this table does not belong in pgdog.toml; move it to users.toml`}},
		{"single brackets", "[databases]\nname = \"prod\"\n", oneUser,
			[]string{`pgdog.toml:1: databases: expected a list of tables, found a table; write [[databases]]`}},
		{"double brackets", oneDatabase + "[[general]]\nport = 1\n", oneUser,
			[]string{`pgdog.toml:4: general: expected a table, found a list; write [general]`}},
		{"not even tables", "databases = [1]\n", oneUser,
			[]string{`pgdog.toml:1: databases: expected a table, found an integer; write [[databases]]`}},
		{"wrong types", `[general]
port = "6432"
host = 1
tls_client_required = "yes"
connect_timeout = 1.5
query_timeout = true
auth_type = "SCRAM"
log_level = 3
[schema_sync]
exclude_schemas = "audit"
owners = 1979-05-27
` + oneDatabase + "read_only = 3\npooler_mode = \"x\"\n", oneUser + "passwords = [1]\n", []string{
			`pgdog.toml:2: general.port: expected an integer, found a string`,
			`pgdog.toml:3: general.host: expected a string, found an integer`,
			`pgdog.toml:4: general.tls_client_required: expected true or false, found a string`,
			`pgdog.toml:5: general.connect_timeout: expected an integer (milliseconds), found a number with a fraction`,
			`pgdog.toml:6: general.query_timeout: expected an integer (milliseconds) or "off", found a boolean`,
			`pgdog.toml:7: general.auth_type: expected "scram", "md5", "plain" or "trust", found "SCRAM"`,
			`pgdog.toml:8: general.log_level: expected a string, found an integer`,
			`pgdog.toml:10: schema_sync.exclude_schemas: expected a list, found a string`,
			`pgdog.toml:11: schema_sync.owners: expected true or false, found a date or time`,
			`pgdog.toml:15: databases.read_only: expected true or false or "default", found an integer`,
			`pgdog.toml:16: databases.pooler_mode: expected "transaction", "session", "statement" or "default", found "x"`,
			`users.toml:7: admin.passwords: unknown key; did you mean "password"?`,
		}},
		{"elements", oneDatabase, "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npasswords = [\"a\", 1]\n",
			[]string{`users.toml:4: users.passwords: element 2 of the list: expected a string, found an integer`}},
		{"ranges", `[general]
port = 0
healthcheck_port = 65536
connect_timeout = -1
shutdown_timeout = 9223372036854775807
mirror_exposure = 1.5
[schema_sync]
index_jobs = 0
sequence_margin = -3
retry_max_attempts = 0
` + oneDatabase + "port = 70000\nshard = -1\nlb_weight = 256\n", oneUser, []string{
			`pgdog.toml:2: general.port: must be between 1 and 65535, found 0`,
			`pgdog.toml:3: general.healthcheck_port: must be between 1 and 65535, found 65536`,
			`pgdog.toml:4: general.connect_timeout: must be at least 1, found -1`,
			`pgdog.toml:5: general.shutdown_timeout: number is too large; leave the key out for its default`,
			`pgdog.toml:6: general.mirror_exposure: must be between 0 and 1, found 1.5`,
			`pgdog.toml:8: schema_sync.index_jobs: must be between 1 and 1000, found 0`,
			`pgdog.toml:9: schema_sync.sequence_margin: must not be negative, found -3`,
			`pgdog.toml:10: schema_sync.retry_max_attempts: must be at least 1, found 0`,
			`pgdog.toml:14: databases.port: must be between 1 and 65535, found 70000`,
			`pgdog.toml:15: databases.shard: must be between 0 and 2147483647, found -1`,
			`pgdog.toml:16: databases.lb_weight: must be between 0 and 255, found 256`,
		}},
		{"not finite", "[general]\nmirror_exposure = nan\n" + oneDatabase, oneUser,
			[]string{`pgdog.toml:2: general.mirror_exposure: must be a finite number`}},
		{"missing keys", "[[databases]]\nport = 1\n[vault]\n", "[[users]]\npassword = \"x\"\n[admin]\npassword = \"x\"\n", []string{
			`pgdog.toml:1: databases.name: is missing; add it, as in name = "staging"`,
			`pgdog.toml:1: databases.host: is missing; add it, as in host = "127.0.0.1"`,
			`pgdog.toml:3: vault.url: is missing; add it, as in url = "https://127.0.0.1:8200"`,
			`pgdog.toml:3: vault.auth_method: is missing; add it, as in auth_method = "kubernetes"`,
			`users.toml:1: users.name: is missing; add it, as in name = "reporting"`,
		}},
		{"empty and NUL", "[[databases]]\nname = \"\"\nhost = \"a\\u0000b\"\n", oneUser, []string{
			`pgdog.toml:2: databases.name: must not be empty`,
			`pgdog.toml:3: databases.host: must not contain a NUL byte`,
		}},
		{"nested list", oneDatabase + "[[sharded_tables]]\ndatabase = \"prod\"\nmapping = [\n  { shard = 0 },\n  { shrad = 0, shard = 0 },\n  3,\n  { values = true, shard = 9 },\n]\n", oneUser, []string{
			`pgdog.toml:8: sharded_tables.mapping.shrad: unknown key; did you mean "shard"?`,
			`pgdog.toml:9: sharded_tables.mapping: expected a table, found an integer; write [[sharded_tables.mapping]]`,
			`pgdog.toml:10: sharded_tables.mapping.values: expected a list, found a boolean`,
			`pgdog.toml:10: sharded_tables.mapping.shard: "prod" has no shard 9; its shards are 0 alone`,
		}},
		{"syntax in both", "[general\nport = 1\n", "[[users]]\nname = app\n", []string{
			`pgdog.toml:1: not valid TOML: expected '.' or ']' to end table name, but got '\n' instead`,
			`users.toml:2: not valid TOML: expected value but found … instead; text needs quotes`,
		}},
		{"key twice", "[general]\nport = 1\nport = 2\n", oneUser,
			[]string{`pgdog.toml:3: not valid TOML: Key 'general.port' has already been defined.`}},
		{"syntax in one, wrong type in the other", "[general\n", "[[users]]\nname = 1\n", []string{
			`pgdog.toml:1: not valid TOML: expected '.' or ']' to end table name, but got '\n' instead`,
			`users.toml:2: users.name: expected a string, found an integer`,
		}},
		{"too deep", "x = " + strings.Repeat("[", 100000), oneUser,
			[]string{`pgdog.toml:1: lists or tables are nested more than 64 deep`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _, err := parse(test.main, test.users)
			if err == nil || c != nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(test.want, lines(problemsOf(err))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, main, users string
		want              []string
	}{
		{"nothing to say", oneDatabase, oneUser, []string{}},
		{"keys not supported yet, once each", oneDatabase + "[general]\nworkers = 2\n", "[[users]]\nname = \"a\"\ndatabase = \"prod\"\npassword = \"x\"\nserver_auth = \"rds_iam\"\n[[users]]\nname = \"c\"\ndatabase = \"prod\"\npassword = \"x\"\nserver_auth = \"rds_iam\"\n[admin]\npassword = \"x\"\n", []string{
			"pgdog.toml:5: general.workers: not supported yet: it has no effect",
			"users.toml:5: users.server_auth: not supported yet: it has no effect, servers are logged in at with the password (set in 2 places)",
		}},
		{"tables not supported yet", oneDatabase + "[memory]\nnet_buffer = 1\n[tcp]\nkeepalive = false\nuser_timeout = 1\n", oneUser, []string{
			"pgdog.toml:4: memory: not supported yet: it has no effect",
			"pgdog.toml:8: tcp.user_timeout: not supported yet: it has no effect",
		}},
		{"no admin password", oneDatabase, "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npassword = \"x\"\n", []string{
			`users.toml: admin.password: is not set: nobody can log in to the admin database "admin"; set [admin].password or PGDOG_ADMIN_PASSWORD`,
		}},
		{"empty admin password", oneDatabase + "[admin]\nname = \"ops\"\npassword = \"\"\n", "", []string{
			`pgdog.toml:6: admin.password: is not set: nobody can log in to the admin database "ops"; set [admin].password or PGDOG_ADMIN_PASSWORD`,
		}},
		{"trust on all addresses", "[general]\nauth_type = \"trust\"\n" + oneDatabase, "", []string{
			`pgdog.toml:2: general.auth_type: trust lets in whoever reaches 0.0.0.0, as any user, the admin user too; set auth_type = "scram" or host = "127.0.0.1"`,
		}},
		{"trust at home", "[general]\nauth_type = \"trust\"\nhost = \"127.0.0.1\"\n" + oneDatabase, "", []string{}},
		{"admin in both files", oneDatabase + "[admin]\nuser = \"a\"\npassword = \"x\"\n", "[admin]\nuser = \"b\"\npassword = \"y\"\n", []string{
			`users.toml:2: admin.user: differs from line 5 of pgdog.toml; this one counts; keep one of the two`,
			`users.toml:3: admin.password: differs from line 6 of pgdog.toml; this one counts; keep one of the two`,
		}},
		{"users of little use", oneDatabase, oneUser + "[[users]]\nname = \"idle\"\npassword = \"x\"\n[[users]]\nname = \"mute\"\ndatabase = \"prod\"\n[[users]]\nname = \"migrator\"\ndatabase = \"prod\"\nschema_admin = true\nserver_password = \"x\"\n", []string{
			`users.toml:7: users: user "idle" may use no database; set database, databases or all_databases = true`,
			`users.toml:10: users: user "mute" has no password: it cannot log in; set password or password_hash`,
		}},
		{"identities", oneDatabase, oneUser + "[[users]]\nname = \"c\"\ndatabase = \"prod\"\nidentity = \"cn\"\n", []string{
			`users.toml:10: users.identity: has no effect: no client certificate can be verified; set general.tls_client_ca_certificate`,
		}},
		{"verified identities", "[general]\ntls_certificate = \"c\"\ntls_private_key = \"k\"\ntls_client_ca_certificate = \"a\"\n" + oneDatabase, oneUser + "[[users]]\nname = \"c\"\ndatabase = \"prod\"\nidentity = \"cn\"\n", []string{}},
		{"verifier with md5", "[general]\nauth_type = \"md5\"\n" + oneDatabase, oneUser + "[[users]]\nname = \"v\"\ndatabase = \"prod\"\npassword_hash = \"" + goodVerifier + "\"\n", []string{
			`users.toml:10: users.password_hash: user "v" cannot log in: auth_type is "md5", which no SCRAM verifier fits; set auth_type = "scram"`,
		}},
		{"role auto", "[[databases]]\nname = \"prod\"\nhost = \"a\"\nrole = \"auto\"\n[[databases]]\nname = \"prod\"\nhost = \"b\"\nrole = \"auto\"\n", oneUser, []string{
			`pgdog.toml:4: databases.role: schema sync, copy and replication take this entry as the primary of shard 0 of "prod"; applications are led to the server that is it; set role = "primary" where it is`,
		}},
		{"empty files", "", "", []string{
			`pgdog.toml: databases: there is none: only the admin database can be used; add [[databases]] with name and host`,
			`users.toml: admin.password: is not set: nobody can log in to the admin database "admin"; set [admin].password or PGDOG_ADMIN_PASSWORD`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := parse(test.main, test.users)
			if err != nil {
				t.Fatal(detail(err))
			}
			if diff := cmp.Diff(test.want, lines(warnings)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorAsAnOperatorReadsIt(t *testing.T) {
	t.Parallel()
	_, _, err := parse("[general]\nport = 0\nhost = 1\n", "")
	e := pgerror.From(err)
	if e.Code != pgerror.ConfigFileError {
		t.Errorf("code %s", e.Code)
	}
	if want := "2 problems in the configuration, the first: pgdog.toml:2: general.port: must be between 1 and 65535, found 0"; e.Message != want {
		t.Errorf("message %q", e.Message)
	}
	if want := detail(err); e.Detail != want || e.Hint == "" {
		t.Errorf("detail %q, hint %q", e.Detail, e.Hint)
	}
	_, _, err = parse("[general]\nport = 0\n", "")
	if e := pgerror.From(err); e.Message != problemsOf(err)[0].String() || e.Detail != "" {
		t.Errorf("single problem: %+v", e)
	}
}

func TestGeneratedAdminPassword(t *testing.T) {
	t.Parallel()
	first, second := mustParse(t, oneDatabase, ""), mustParse(t, oneDatabase, "")
	if a := first.Admin; !a.PasswordGenerated || len(a.Password.Reveal()) != 32 || a.Password == second.Admin.Password {
		t.Errorf("generated %v, %d characters, equal %v", a.PasswordGenerated, len(a.Password.Reveal()), a.Password == second.Admin.Password)
	}
	if a := mustParse(t, oneDatabase, oneUser).Admin; a.PasswordGenerated || a.Password.Reveal() != "root" {
		t.Errorf("configured: %+v", a)
	}
}
