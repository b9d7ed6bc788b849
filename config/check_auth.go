package config

import "fmt"

// serversKnowUsers tells whether users may log in of whom users.toml has no
// password.
func (c *Config) serversKnowUsers() bool {
	return c.General.AuthQuery != "" || c.General.PassthroughAuth != PassthroughDisabled && c.General.PassthroughAuth != ""
}

// checkPassthrough finds that no password can be passed through.
func (r *reader) checkPassthrough() {
	g := &r.config.General
	if !g.PassthroughAuth.On(true) || r.bad["general.passthrough_auth"] {
		return
	}
	if !g.PassthroughAuth.On(false) && g.TLSCertificate == "" && !isLocal(g.Host) {
		r.warn(r.main, "general.passthrough_auth", "general.passthrough_auth",
			fmt.Sprintf("%q asks clients for their password over TLS alone, and there is no tls_certificate", g.PassthroughAuth), "set tls_certificate and tls_private_key")
	}
	for i, d := range r.config.Databases {
		if d.User != "" || d.Password != "" {
			r.warn(r.main, element("databases", i), "databases",
				fmt.Sprintf("no password is passed through to %q: its entry says whom the server sees, so the server cannot judge clients", d.Name), "leave user and password out of the entry")
		}
	}
}

// checkAuthQuery finds an auth_query that nobody can run.
func (r *reader) checkAuthQuery() {
	g := &r.config.General
	switch {
	case g.AuthQuery == "" && g.AuthQueryUser != "":
		r.general("auth_query_user", "is set without auth_query", "set both or neither")
	case g.AuthQuery == "":
	case g.AuthQueryUser == "":
		r.general("auth_query", "is set without auth_query_user", "set auth_query_user to a user of users.toml that may read the hashes")
	case !r.bad["users"]:
		r.checkAuthQueryUser(g.AuthQueryUser)
	}
}

// checkAuthQueryUser finds databases in which auth_query cannot run.
func (r *reader) checkAuthQueryUser(name string) {
	found := false
	for i, u := range r.config.Users {
		found = found || u.Name == name || r.bad[element("users", i)] || r.bad[child(element("users", i), "name")]
	}
	if !found {
		r.general("auth_query_user", fmt.Sprintf("%s has no user %q", r.users.name, name), "add the user there, with the databases where auth_query is to work")
		return
	}
	for _, cluster := range r.config.Clusters() {
		if _, ok := r.config.User(name, cluster.Name); !ok && cluster.Name != "" && !r.namesUnknown {
			r.warn(r.main, "general.auth_query_user", "general.auth_query_user",
				fmt.Sprintf("auth_query finds nobody in database %q: user %q may not use it", cluster.Name, name), "add the database to the user in users.toml")
		}
	}
}
