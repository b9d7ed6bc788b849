package config

import (
	"strings"
	"testing"
)

func TestUsersThatServersKnow(t *testing.T) {
	t.Parallel()
	const users = "[[users]]\nname = \"app\"\ndatabase = \"prod\"\npassword = \"x\"\n[admin]\npassword = \"x\"\n"
	const bare = "[[users]]\nname = \"bare\"\ndatabase = \"prod\"\n"
	for _, test := range []struct {
		name, general, databases, users string
		problem, warning                string
	}{
		{"nothing", "", "", users, "", ""},
		{"nobody knows the password", "", "", users + bare, "", "has no password"},
		{"auth_query finds it", "auth_query = \"SELECT $1\"\nauth_query_user = \"app\"\n", "", users + bare, "", ""},
		{"the server judges it", "passthrough_auth = \"enabled_plain\"\n", "", users + bare, "", ""},
		{"auth_query without user", "auth_query = \"SELECT $1\"\n", "", users, "auth_query: is set without auth_query_user", ""},
		{"user without auth_query", "auth_query_user = \"app\"\n", "", users, "auth_query_user: is set without auth_query", ""},
		{"no such user", "auth_query = \"SELECT $1\"\nauth_query_user = \"nobody\"\n", "", users, "has no user \"nobody\"", ""},
		{"a database that it may not use", "auth_query = \"SELECT $1\"\nauth_query_user = \"app\"\n", "[[databases]]\nname = \"other\"\nhost = \"h2\"\n", users, "", "auth_query finds nobody in database \"other\""},
		{"no TLS to pass passwords through", "passthrough_auth = \"enabled\"\n", "", users, "", "over TLS alone"},
		{"on this machine alone", "passthrough_auth = \"enabled\"\nhost = \"127.0.0.1\"\n", "", users, "", ""},
		{"with TLS", "passthrough_auth = \"enabled_allow_change\"\ntls_certificate = \"c\"\ntls_private_key = \"k\"\n", "", users, "", ""},
		{"the server's user is set", "passthrough_auth = \"enabled_plain\"\n", "[[databases]]\nname = \"other\"\nhost = \"h2\"\nuser = \"u\"\n", users, "", "no password is passed through to \"other\""},
		{"not a value", "passthrough_auth = \"on\"\n", "", users, "passthrough_auth", ""},
		{"no time", "auth_cache_ttl = 0\n", "", users, "auth_cache_ttl", ""},
		{"an old TLS", "tls_client_min_version = \"1.1\"\n", "", users, "tls_client_min_version", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := parse("[general]\n"+test.general+oneDatabase+test.databases, test.users)
			problems := ""
			if err != nil {
				problems = strings.Join(lines(problemsOf(err)), "\n")
			}
			if (problems != "") != (test.problem != "") || !strings.Contains(problems, test.problem) {
				t.Errorf("problems %q, want %q", problems, test.problem)
			}
			if got := strings.Join(lines(warnings), "\n"); (got != "") != (test.warning != "") || !strings.Contains(got, test.warning) {
				t.Errorf("warnings %q, want %q", got, test.warning)
			}
		})
	}
}

func TestPassthroughValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		value                Passthrough
		tls, plain, changing bool
	}{
		{PassthroughDisabled, false, false, false}, {"", false, false, false},
		{PassthroughEnabled, true, false, false}, {PassthroughPlain, true, true, false},
		{PassthroughAllowChange, true, false, true}, {PassthroughPlainAllowChange, true, true, true},
	} {
		if test.value.On(true) != test.tls || test.value.On(false) != test.plain || test.value.AllowsChange() != test.changing {
			t.Errorf("%q", test.value)
		}
	}
}
