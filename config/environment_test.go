package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func withEnvironment(main, users string, variables map[string]string) (*Config, []Problem, error) {
	return Parse(configFile, []byte(main), usersFile, []byte(users), func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
}

func TestEnvironmentOverrides(t *testing.T) {
	t.Parallel()
	c, warnings, err := withEnvironment("[general]\nport = 1\nhost = \"h\"\n"+oneDatabase, oneUser, map[string]string{
		"PGDOG_PORT": "7000", "PGDOG_HOST": "", "PGDOG_TLS_VERIFY": "Verify-Full", "PGDOG_LOG_CONNECTIONS": "off",
		"PGDOG_CLIENT_LOG_TIMEOUT": "1500", "RUST_LOG": "DEBUG", "PGDOG_ADMIN_PASSWORD": "from the environment",
		"PGDOG_MIRROR_EXPOSURE": "0.5", "PGDOG_QUERY_TIMEOUT": "off", "PGDOG_SCHEMA_RELOAD_ON_DDL": "no",
		"PGDOG_RESHARDING_PARALLEL_COPIES": "17", "PGDOG_TLS_CERTIFICATE": "/c", "PGDOG_TLS_PRIVATE_KEY": "/k",
	})
	if err != nil {
		t.Fatal(detail(err))
	}
	g := c.General
	if g.Port != 7000 || g.Host != "h" || g.TLSVerify != TLSVerifyFull || g.LogConnections || g.ClientLoginTimeout != 1500*time.Millisecond ||
		g.LogLevel != LogDebug || c.Admin.Password.Reveal() != "from the environment" || c.Admin.PasswordGenerated ||
		g.MirrorExposure != 0.5 || g.QueryTimeout != nil || g.ReloadSchemaOnDDL || g.ReshardingParallelCopies != 1 || g.TLSCertificate != "/c" {
		t.Errorf("%+v %+v", g, c.Admin)
	}
	want := []string{
		"environment: PGDOG_ADMIN_PASSWORD: overrides admin.password of the file",
		"environment: PGDOG_MIRROR_EXPOSURE: not supported yet: it has no effect",
		"environment: PGDOG_PORT: overrides general.port of the file",
		"environment: PGDOG_SCHEMA_RELOAD_ON_DDL: not supported yet: it has no effect",
	}
	if diff := cmp.Diff(want, sorted(lines(warnings))); diff != "" {
		t.Error(diff)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	t.Parallel()
	_, _, err := withEnvironment("[general]\nhost = 1\n"+oneDatabase, oneUser, map[string]string{
		"PGDOG_PORT": "high", "PGDOG_TLS_CLIENT_REQUIRED": "true", "PGDOG_CONNECT_TIMEOUT": "-1", "PGDOG_LOG_LEVEL": "loud",
	})
	want := []string{
		"pgdog.toml:2: general.host: expected a string, found an integer",
		"environment: PGDOG_TLS_CLIENT_REQUIRED: clients are required to use TLS, but there is no tls_certificate; set tls_certificate and tls_private_key",
		"environment: PGDOG_PORT: expected an integer, found a string; it sets general.port; correct or unset it",
		"environment: PGDOG_CONNECT_TIMEOUT: must be at least 1, found -1; it sets general.connect_timeout; correct or unset it",
		`environment: PGDOG_LOG_LEVEL: expected "trace", "debug", "info", "warn" or "error", found "loud"; it sets general.log_level; correct or unset it`,
	}
	if diff := cmp.Diff(sorted(want), sorted(lines(problemsOf(err)))); diff != "" {
		t.Error(diff)
	}
}

// TestForeignVariables: Kubernetes and Rust set variables of these names for
// purposes of their own.
func TestForeignVariables(t *testing.T) {
	t.Parallel()
	c, warnings, err := withEnvironment(oneDatabase, oneUser, map[string]string{"PGDOG_PORT": "tcp://10.43.0.7:6432", "RUST_LOG": "info,hyper=debug"})
	if err != nil {
		t.Fatal(detail(err))
	}
	if c.General.Port != 6432 || c.General.LogLevel != LogInfo || len(warnings) != 2 || !strings.Contains(warnings[0].Message, "Kubernetes") {
		t.Errorf("%d %s %v", c.General.Port, c.General.LogLevel, warnings)
	}
}

// TestEveryGeneralKeyHasItsVariable sets each to its default.
func TestEveryGeneralKeyHasItsVariable(t *testing.T) {
	t.Parallel()
	variables := map[string]string{}
	without := 0
	for _, s := range Default().Settings() {
		table, key := "general", s.Name
		if k := tableNamed(table).key(key); k == nil {
			continue
		} else if k.Env == nil {
			without++
		} else {
			variables[k.Env[0]] = s.Value
		}
	}
	if without != 3 || len(variables) < 90 {
		t.Errorf("%d keys have no variable, %d have", without, len(variables))
	}
	c, _, err := withEnvironment(oneDatabase, oneUser, variables)
	if err != nil {
		t.Fatal(detail(err))
	}
	if diff := cmp.Diff(Default().General, c.General); diff != "" {
		t.Error(diff)
	}
}
