package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// membership is one database that a user names, and where.
type membership struct {
	database string
	path     string
}

// memberships gives the databases that a user may use, all_databases written
// out, each once.
func (r *reader) memberships(i int, u User) []membership {
	path := element("users", i)
	var out []membership
	seen := map[string]bool{}
	add := func(database, at string) {
		if !seen[database] {
			seen[database] = true
			out = append(out, membership{database, at})
		}
	}
	if u.Database != "" {
		add(u.Database, child(path, "database"))
	}
	for j, database := range u.Databases {
		add(database, element(child(path, "databases"), j))
	}
	if u.AllDatabases {
		for _, name := range slices.Sorted(maps.Keys(r.names)) {
			add(name, child(path, "all_databases"))
		}
	}
	return out
}

// account is one user of one database.
type account struct{ user, database string }

// accounts are the users found so far, by the line of their entry.
type accounts struct {
	lines    map[account]int
	admins   map[string]int  // schema admins, by database
	reported map[string]bool // places already complained of: all_databases is one place for many databases
}

// checkUsers finds users of databases that do not exist, users and schema
// admins that are there twice, and verifiers that are none.
func (r *reader) checkUsers() {
	known := accounts{lines: map[account]int{}, admins: map[string]int{}, reported: map[string]bool{}}
	for i, u := range r.config.Users {
		path := element("users", i)
		r.checkPassword(i, u)
		if r.bad[path] || r.bad[child(path, "name")] || r.bad[child(path, "database")] || r.bad[child(path, "databases")] || r.bad[child(path, "all_databases")] {
			continue
		}
		members := r.memberships(i, u)
		if len(members) == 0 && !u.AllDatabases {
			r.warn(r.users, path, "users", fmt.Sprintf("user %q may use no database", u.Name), "set database, databases or all_databases = true")
		}
		for _, m := range members {
			if r.checkMember(u, m) {
				r.checkTwice(&known, u, m, child(path, "schema_admin"))
			}
		}
	}
}

// checkTwice finds a second user of one name, and a second schema admin.
func (r *reader) checkTwice(known *accounts, u User, m membership, adminPath string) {
	if first, again := known.lines[account{u.Name, m.database}]; again {
		if !known.reported[m.path] {
			known.reported[m.path] = true
			r.problem(r.users, m.path, "users", fmt.Sprintf("user %q of database %q is there twice, first on line %d", u.Name, m.database, first), "keep one of the two entries")
		}
		return
	}
	known.lines[account{u.Name, m.database}] = u.Line
	if !u.SchemaAdmin || m.database == r.config.Admin.Name {
		return
	}
	first, again := known.admins[m.database]
	switch {
	case !again:
		known.admins[m.database] = u.Line
	case !known.reported[adminPath]:
		known.reported[adminPath] = true
		r.problem(r.users, adminPath, "users.schema_admin",
			fmt.Sprintf("database %q has another schema admin on line %d", m.database, first), "one user per database has schema_admin = true")
	}
}

// checkMember checks one database that a user names; false: do not look at it
// any further.
func (r *reader) checkMember(u User, m membership) bool {
	switch {
	case m.database == r.config.Admin.Name:
		if u.Name == r.config.Admin.User {
			r.problem(r.users, m.path, "users", fmt.Sprintf("user %q of database %q is the admin user already", u.Name, m.database), "give the read-only user another name; the admin user's password is [admin].password")
			return false
		}
	case m.database == "":
		r.problem(r.users, m.path, "users.databases", "a database's name must not be empty", "")
		return false
	case !r.namesUnknown && !r.names[m.database]:
		r.problem(r.users, m.path, "users", r.noSuchDatabase(m.database), r.databaseHint(m.database))
		return false
	}
	return true
}

// checkPassword finds users that cannot log in.
func (r *reader) checkPassword(i int, u User) {
	path := element("users", i)
	if u.PasswordHash != "" && !r.bad[child(path, "password_hash")] {
		if wrong := verifierProblem(u.PasswordHash); wrong != "" {
			r.problem(r.users, child(path, "password_hash"), "users.password_hash", wrong,
				"copy it from pg_authid.rolpassword of a server, or make one with: pgdrover hash")
		}
	}
	for _, key := range []string{"password", "passwords", "password_hash"} {
		if r.bad[child(path, key)] {
			return
		}
	}
	auth := r.config.General.AuthType
	if u.Identity != "" && r.config.General.TLSClientCACertificate == "" {
		r.warn(r.users, child(path, "identity"), "users.identity", "has no effect: no client certificate can be verified", "set general.tls_client_ca_certificate")
	}
	switch hasPassword := len(u.AcceptedPasswords()) > 0; {
	case auth == AuthTrust || hasPassword || u.Identity != "":
	case u.PasswordHash == "" && r.config.serversKnowUsers():
	case u.SchemaAdmin && u.ServerPassword != "" && u.PasswordHash == "": // it need not log in as a client
	case u.PasswordHash == "":
		r.warn(r.users, path, "users", fmt.Sprintf("user %q has no password: it cannot log in", u.Name), "set password or password_hash")
	case auth == AuthMD5:
		r.warn(r.users, child(path, "password_hash"), "users.password_hash", fmt.Sprintf(`user %q cannot log in: auth_type is "md5", which no SCRAM verifier fits`, u.Name), `set auth_type = "scram"`)
	}
}

var verifierShape = regexp.MustCompile(`^SCRAM-SHA-256\$([0-9]+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$`)

// verifierProblem gives what is wrong with a SCRAM verifier, as PostgreSQL's
// parse_scram_secret would find, without showing any of it.
func verifierProblem(verifier string) string {
	parts := verifierShape.FindStringSubmatch(verifier)
	if parts == nil {
		return "is not a SCRAM verifier: expected SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>"
	}
	if n, err := strconv.ParseInt(parts[1], 10, 32); err != nil || n < 1 {
		return "is not a SCRAM verifier: its iterations are no positive number"
	}
	for i, name := range []string{"salt", "stored key", "server key"} {
		decoded, err := base64.StdEncoding.Strict().DecodeString(parts[i+2])
		if err != nil {
			return fmt.Sprintf("is not a SCRAM verifier: its %s is not base64", name)
		}
		if i > 0 && len(decoded) != 32 {
			return fmt.Sprintf("is not a SCRAM verifier: its %s has %d bytes instead of 32", name, len(decoded))
		}
	}
	return ""
}
