package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goodVerifier has the shape of a verifier; its keys are 32 zero bytes.
const goodVerifier = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// TestContradictions is a pair of files that contradict each other wherever
// they can; each problem is reported, each at its line.
func TestContradictions(t *testing.T) {
	t.Parallel()
	main := `# line 1
[general]
port = 6432
tls_certificate = "/etc/ssl/cert.pem"
tls_server_private_key = "/etc/ssl/key.pem"
tls_client_ca_certificate = "/etc/ssl/ca.pem"
openmetrics_port = 6432

[schema_sync]
maintenance_work_mem = "much"

[[databases]]
name = "prod"
host = "10.0.0.1"

[[databases]] # line 16: another primary
name = "prod"
host = "10.0.0.2"

[[databases]]
name = "prod"
host = "10.0.0.3"
shard = 3

[[databases]]
name = "prod"
host = "10.0.0.3"
shard = 4
role = "replica"

[[databases]]
name = "copy"
host = "10.0.0.4:5433"

[[databases]]
name = "copy"
host = "10.0.0.5"
role = "replica"

[[databases]]
name = "copy"
host = "10.0.0.5"
role = "replica"

[[databases]]
name = "admin"
host = "postgres://u:hunter2@h/db"

[[sharded_tables]]
database = "prdo"
column = "id"

[[sharded_schemas]]
database = "copy"
shard = 7

[[mirroring]]
source_db = "copy"
destination_db = "nowhere"
`
	users := `# line 1
[[users]]
name = "app"
database = "prod"
password = "x"

[[users]]
name = "app"
databases = [
  "copy",
  "prod",
]
password = "x"

[[users]]
name = "migrator"
database = "prod"
password = "x"
schema_admin = true

[[users]]
name = "migrator2"
all_databases = true
password = "x"
schema_admin = true

[[users]]
name = "lost"
database = "prodd"
password_hash = "md5abcdef"

[[users]]
name = "admin"
database = "admin"
password = "x"

[[users]]
name = "lost"
databases = ["", "copy"]
password_hash = "SCRAM-SHA-256$4096:c2FsdA==$c2hvcnQ=:c2hvcnQ="

[admin]
password = "x"
`
	_, _, err := parse(main, users)
	want := []string{
		`pgdog.toml:4: general.tls_certificate: is set without tls_private_key; set both or neither`,
		`pgdog.toml:5: general.tls_server_private_key: is set without tls_server_certificate; set both or neither`,
		`pgdog.toml:7: general.openmetrics_port: 6432 is port already; give each its own port`,
		`pgdog.toml:10: schema_sync.maintenance_work_mem: "much" is no amount of memory; write a whole number with kB, MB, GB or TB, as "1GB"`,
		`pgdog.toml:16: databases: shard 0 of "prod" has another primary on line 12; set role = "replica" or another shard on one of them`,
		`pgdog.toml:25: databases: shard 4 of "prod" is the same PostgreSQL database as shard 3 on line 20; correct host, port or database_name of one of them`,
		`pgdog.toml:23: databases.shard: shards 1 to 2 of "prod" are missing; shards are numbered from 0 without gaps`,
		`pgdog.toml:29: databases.role: shard 4 of "prod" has no primary; add an entry with role = "primary"`,
		`pgdog.toml:33: databases.host: "10.0.0.4:5433" has a port in it; write host = "10.0.0.4" and port = 5433`,
		`pgdog.toml:40: databases: the same server as on line 35; remove one of the two entries`,
		`pgdog.toml:46: databases.name: "admin" is the name of the admin database; rename one of them; [admin].name is the other`,
		`pgdog.toml:47: databases.host: is neither a host name nor an address; put user, password, port and database into keys of their own`,
		`pgdog.toml:50: sharded_tables.database: pgdog.toml has no database "prdo"; did you mean "prod"?`,
		`pgdog.toml:55: sharded_schemas.shard: "copy" has no shard 7; its shards are 0 alone`,
		`pgdog.toml:59: mirroring.destination_db: pgdog.toml has no database "nowhere"; add [[databases]] with name = "nowhere"`,
		`users.toml:11: users: user "app" of database "prod" is there twice, first on line 2; keep one of the two entries`,
		`users.toml:25: users.schema_admin: database "prod" has another schema admin on line 15; one user per database has schema_admin = true`,
		`users.toml:29: users: pgdog.toml has no database "prodd"; did you mean "prod"?`,
		`users.toml:30: users.password_hash: is not a SCRAM verifier: expected SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>; copy it from pg_authid.rolpassword of a server, or make one with: pgdrover hash`,
		`users.toml:34: users: user "admin" of database "admin" is the admin user already; give the read-only user another name; the admin user's password is [admin].password`,
		`users.toml:39: users.databases: a database's name must not be empty`,
		`users.toml:40: users.password_hash: is not a SCRAM verifier: its stored key has 5 bytes instead of 32; copy it from pg_authid.rolpassword of a server, or make one with: pgdrover hash`,
	}
	got := lines(problemsOf(err))
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if strings.Contains(detail(err), "hunter2") {
		t.Error("the password in host is shown")
	}
	last := 0
	for _, p := range problemsOf(err) {
		if p.File == usersFile {
			break
		}
		if p.Line < last {
			t.Errorf("not in the order of the file: %s", p)
		}
		last = p.Line
	}
}

// TestSoundPairs must not be complained of.
func TestSoundPairs(t *testing.T) {
	t.Parallel()
	sharded := ""
	for shard := range 3 {
		sharded += fmt.Sprintf("[[databases]]\nname = \"s\"\nhost = \"h\"\nshard = %d\ndatabase_name = \"s_%d\"\n", shard, shard)
	}
	tests := []struct{ name, main, users string }{
		{"shards on one server", sharded + oneDatabase, oneUser},
		{"shards out of order", strings.Replace(strings.Replace(sharded, "shard = 0", "shard = 9", 1), "shard = 2", "shard = 0", 1), ""},
		{"primary and replica on one server", oneDatabase + oneDatabase + "role = \"replica\"\n", oneUser},
		{"two replicas by port", oneDatabase + oneDatabase + "role = \"replica\"\nport = 1\n" + oneDatabase + "role = \"replica\"\nport = 2\n", oneUser},
		{"auto beside a primary", oneDatabase + oneDatabase + "role = \"auto\"\nport = 1\n", oneUser},
		{"IPv6", "[[databases]]\nname = \"prod\"\nhost = \"::1\"\n", oneUser},
		{"readers of the admin database", oneDatabase, oneUser + "[[users]]\nname = \"stats\"\ndatabase = \"admin\"\npassword = \"x\"\n[[users]]\nname = \"app2\"\ndatabases = [\"prod\", \"admin\"]\npassword = \"x\"\nschema_admin = true\n"},
		{"same user of two databases", sharded + oneDatabase, oneUser + "[[users]]\nname = \"app\"\ndatabase = \"s\"\npassword = \"x\"\n"},
		{"one entry, named twice", oneDatabase, "[[users]]\nname = \"app\"\ndatabase = \"prod\"\ndatabases = [\"prod\"]\nall_databases = true\npassword = \"x\"\n"},
		{"verifier", oneDatabase, "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npassword_hash = \"" + goodVerifier + "\"\n"},
		{"both TLS files", "[general]\ntls_certificate = \"c\"\ntls_private_key = \"k\"\ntls_client_required = true\n" + oneDatabase, oneUser},
		{"memory", "[schema_sync]\nmaintenance_work_mem = \"65536\"\n" + oneDatabase, oneUser},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.name == "shards out of order" {
				test.main = strings.Replace(test.main, "shard = 9", "shard = 2", 1)
			}
			if _, _, err := parse(test.main, test.users); err != nil {
				t.Error(detail(err))
			}
		})
	}
}

func TestDataSyncContradictions(t *testing.T) {
	t.Parallel()
	_, _, err := parse("[general]\nopenmetrics_namespace = \"9-lives\"\n[data_sync]\nspill_memory = 1048576\nqueue_memory = 65536\n"+oneDatabase, oneUser)
	want := []string{
		`pgdog.toml:2: general.openmetrics_namespace: "9-lives" cannot begin the name of a metric; use letters, digits and underscores, and no digit at the beginning`,
		`pgdog.toml:4: data_sync.spill_memory: 1048576 is more than data_sync.queue_memory, 65536: one transaction would not fit into the queue; lower it, or raise queue_memory`,
	}
	if diff := cmp.Diff(want, lines(problemsOf(err))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestClientTLSNeedsACertificate(t *testing.T) {
	t.Parallel()
	_, _, err := parse("[general]\ntls_client_required = true\ntls_client_ca_certificate = \"ca\"\n", "")
	want := []string{
		"pgdog.toml:2: general.tls_client_required: clients are required to use TLS, but there is no tls_certificate; set tls_certificate and tls_private_key",
		"pgdog.toml:3: general.tls_client_ca_certificate: clients' certificates need TLS, but there is no tls_certificate; set tls_certificate and tls_private_key",
	}
	if diff := cmp.Diff(want, lines(problemsOf(err))); diff != "" {
		t.Error(diff)
	}
}

func TestVerifierShape(t *testing.T) {
	t.Parallel()
	if wrong := verifierProblem(goodVerifier); wrong != "" {
		t.Errorf("good verifier: %s", wrong)
	}
	for name, bad := range map[string]string{
		"empty part":       strings.Replace(goodVerifier, "c2FsdHNhbHQ=", "", 1),
		"no iterations":    strings.Replace(goodVerifier, "4096", "", 1),
		"zero iterations":  strings.Replace(goodVerifier, "4096", "0", 1),
		"huge iterations":  strings.Replace(goodVerifier, "4096", "99999999999999999999", 1),
		"salt not base64":  strings.Replace(goodVerifier, "c2FsdHNhbHQ=", "c2FsdHNhbHQ", 1),
		"salt of signs":    strings.Replace(goodVerifier, "c2FsdHNhbHQ=", "!!", 1),
		"short stored key": strings.Replace(goodVerifier, "AAAA", "", 1),
		"one key":          goodVerifier[:strings.LastIndex(goodVerifier, ":")],
		"trailing":         goodVerifier + ":x",
		"newline":          goodVerifier + "\n",
		"lower case":       strings.ToLower(goodVerifier),
	} {
		if verifierProblem(bad) == "" {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestOneMistakeIsReportedOnce: what follows from a mistake is not reported
// beside it.
func TestOneMistakeIsReportedOnce(t *testing.T) {
	t.Parallel()
	twoShards := oneDatabase + strings.Replace(oneDatabase, "127.0.0.1", "h2", 1)
	tests := []struct{ name, main, users string }{
		{"shard of a wrong type", twoShards + "shard = \"one\"\n", oneUser},
		{"shard misspelt", twoShards + "shrad = 1\n", oneUser},
		{"role misspelt", twoShards + "role = \"replcia\"\n", oneUser},
		{"database misspelt in users", oneDatabase, strings.Replace(oneUser, "database =", "databse =", 1)},
		{"name missing", strings.Replace(oneDatabase, "name = \"prod\"\n", "", 1), oneUser},
		{"pgdog.toml is no TOML", "[[databases]\n", oneUser},
		{"users.toml is no TOML", oneDatabase, "[[users]\n"},
		{"one user, many databases", twoShards + "shard = 1\n" + strings.ReplaceAll(oneDatabase, "prod", "other"),
			"[[users]]\nname = \"a\"\nall_databases = true\npassword = \"x\"\n[[users]]\nname = \"a\"\nall_databases = true\npassword = \"x\"\n"},
		{"two schema admins, many databases", oneDatabase + strings.ReplaceAll(oneDatabase, "prod", "other"),
			"[[users]]\nname = \"a\"\nall_databases = true\nschema_admin = true\npassword = \"x\"\n[[users]]\nname = \"b\"\nall_databases = true\nschema_admin = true\npassword = \"x\"\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := parse(test.main, test.users)
			if problems := problemsOf(err); len(problems) != 1 {
				t.Errorf("%d problems:\n%s", len(problems), detail(err))
			}
		})
	}
}
