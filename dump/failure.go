package dump

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// symptom recognises a failure by pg_dump's words. Servers may speak another
// language than English; then the words still reach the operator, under 58000.
type symptom struct {
	words *regexp.Regexp
	code  string
	hint  string
}

// symptoms are tried from the first to the last: the words of a lost connection
// often follow those of its cause.
var symptoms = []symptom{
	{regexp.MustCompile(`password authentication failed|no password supplied|empty password returned`), pgerror.InvalidPassword,
		"check user and password of this database in pgdog.toml and users.toml"},
	{regexp.MustCompile(`no pg_hba\.conf entry|authentication failed for user|pg_hba\.conf rejects|FATAL: +role ".*" does not exist|is not permitted to log in`), pgerror.InvalidAuthorization,
		"allow the connection in the server's pg_hba.conf (SELECT * FROM pg_hba_file_rules shows it), or correct the user in pgdog.toml"},
	{regexp.MustCompile(`FATAL: +database ".*" does not exist`), pgerror.InvalidCatalogName,
		"create the database, or correct database_name in pgdog.toml"},
	{regexp.MustCompile(`server version mismatch`), pgerror.FeatureNotSupported,
		"install the client programs of the server's major version, or set [replication] pg_dump_path in pgdog.toml"},
	{regexp.MustCompile(`(?i)LOCK TABLE[^;]*;?[\s\S]*statement timeout|statement timeout[\s\S]*LOCK TABLE|lock timeout`), pgerror.LockNotAvailable,
		"another session holds a lock on the table: find it with SELECT * FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 and run the command again"},
	{regexp.MustCompile(`snapshot identifier|snapshot ".*" does not exist|could not import the requested snapshot`), pgerror.ObjectNotInPrerequisiteState,
		"the transaction that exported the snapshot has ended: run the command again"},
	{regexp.MustCompile(`permission denied`), pgerror.InsufficientPrivilege,
		"pg_dump locks every table in ACCESS SHARE mode: grant the user SELECT on it (GRANT pg_read_all_data TO the user), or name another user in users.toml"},
	{regexp.MustCompile(`too many clients|too many connections|remaining connection slots`), pgerror.TooManyConnections,
		"end idle sessions of the server or raise its max_connections"},
	{regexp.MustCompile(`the database system is`), pgerror.CannotConnectNow,
		"wait until the server accepts connections and run the command again"},
	{regexp.MustCompile(`out of shared memory`), outOfMemory,
		"pg_dump locks every table at once: raise the server's max_locks_per_transaction and restart it"},
	{regexp.MustCompile(`conflict with recovery`), "40001",
		"the replica cancelled the dump: dump the primary, or raise the replica's max_standby_streaming_delay"},
	{regexp.MustCompile(`(?i)SSL error|certificate|server does not support SSL|sslmode value`), pgerror.UnableToConnect,
		"check tls_verify and the certificate settings of [general] in pgdog.toml against the server's certificate"},
	{regexp.MustCompile(`administrator command`), pgerror.AdminShutdown, "run the command again"},
	{regexp.MustCompile(`connection to server .* failed|could not connect to server|could not translate host name|Connection refused|timeout expired`), pgerror.UnableToConnect,
		"check that the server runs and that host and port of this database in pgdog.toml are right"},
	{regexp.MustCompile(`server closed the connection|connection .*lost|no connection to the server|SSL SYSCALL|Connection reset`), pgerror.ConnectionFailure,
		"look into the server's log for the reason and run the command again"},
}

// failure makes the error of a pg_dump that did not end with 0.
func (b Binary) failure(words string, exit *exec.ExitError) error {
	code, advice := pgerror.SystemError, "run pg_dump by hand against this server to see more"
	for _, symptom := range symptoms {
		if symptom.words.MatchString(words) {
			code, advice = symptom.code, symptom.hint
			break
		}
	}
	message := errorLine(words)
	if message == "" {
		message = exit.Error()
	}
	return pgerror.New(code, "pg_dump failed: %s", message).
		WithDetail("%s", strings.TrimSpace(fmt.Sprintf("%s (%s) ended with %s:\n%s", b.Path, b.Version, exit, words))).
		WithHint("%s", advice)
}

// errorLine is the line in which pg_dump says what went wrong.
func errorLine(words string) string {
	for line := range strings.Lines(words) {
		line = strings.TrimSpace(line)
		if _, text, found := strings.Cut(line, "pg_dump: error: "); found {
			return strings.TrimSuffix(text, ":")
		}
	}
	return strings.TrimPrefix(firstLine(words), "pg_dump: ")
}

// warnings are what a successful pg_dump wrote on stderr, one per warning; its
// lines of detail and hint stay with the warning they explain.
func warnings(words string) []string {
	var list []string
	for line := range strings.Lines(words) {
		line = strings.TrimSpace(line)
		text, isDetail := cutAny(line, "pg_dump: detail: ", "pg_dump: hint: ")
		switch {
		case line == "":
		case isDetail && len(list) > 0:
			list[len(list)-1] += " " + text
		default:
			text, _ = cutAny(line, "pg_dump: warning: ", "pg_dump: WARNING: ", "pg_dump: NOTICE: ", "pg_dump: ")
			list = append(list, text)
		}
	}
	return list
}

// cutAny removes the first of prefixes that line has.
func cutAny(line string, prefixes ...string) (rest string, found bool) {
	for _, prefix := range prefixes {
		if rest, found := strings.CutPrefix(line, prefix); found {
			return rest, true
		}
	}
	return line, false
}
