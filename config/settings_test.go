package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/pgerror"
)

func settingNamed(t *testing.T, c *Config, name string) Setting {
	t.Helper()
	for _, s := range c.Settings() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no setting %q", name)
	return Setting{}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	c, _, err := withEnvironment("[general]\nhost = \"h\"\n[schema_sync]\nexclude_schemas = [\"a\", \"b c\"]\n[tcp]\ntime = 5000\n"+oneDatabase, oneUser,
		map[string]string{"PGDOG_CONNECT_TIMEOUT": "7000"})
	if err != nil {
		t.Fatal(detail(err))
	}
	c, err = c.Set("log_level", "warn")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Setting{
		{Name: "host", Value: "h", Default: "0.0.0.0", Source: "file", Supported: true, Restart: true},
		{Name: "port", Value: "6432", Default: "6432", Source: "default", Supported: true, Restart: true},
		{Name: "connect_timeout", Value: "7000", Default: "5000", Source: "environment", Unit: "ms", Settable: true, Supported: true},
		{Name: "log_level", Value: "warn", Default: "info", Source: "set", Settable: true, Supported: true},
		{Name: "query_timeout", Value: "off", Default: "off", Source: "default", Unit: "ms", Settable: true, Supported: true},
		{Name: "mirror_exposure", Value: "1", Default: "1", Source: "default"},
		{Name: "tcp_keepalive", Value: "true", Default: "true", Source: "default", Supported: true, Restart: true},
		{Name: "tcp_time", Value: "5000", Default: "default", Source: "file", Unit: "ms", Supported: true, Restart: true},
		{Name: "memory_stack_size", Value: "8388608", Default: "8388608", Source: "default", Unit: "bytes", Restart: true},
		{Name: "admin.password", Value: "********", Default: "", Source: "file", Supported: true},
		{Name: "replication.pg_dump_path", Value: "pg_dump", Default: "pg_dump", Source: "default", Supported: true},
		{Name: "schema_sync.exclude_schemas", Value: `["a","b c"]`, Default: "[]", Source: "file", Settable: true, Supported: true},
		{Name: "data_sync.spill_memory", Value: "67108864", Default: "67108864", Source: "default", Unit: "bytes", Settable: true, Supported: true},
		{Name: "data_sync.heartbeat_interval", Value: "10000", Default: "10000", Source: "default", Unit: "ms", Settable: true, Supported: true},
		{Name: "resharding_parallel_copies", Value: "1", Default: "1", Source: "default", Settable: true, Supported: true},
		{Name: "schema_sync.owners", Value: "true", Default: "true", Source: "default", Settable: true, Supported: true},
	} {
		got := settingNamed(t, c, want.Name)
		if got.Description == "" {
			t.Errorf("%s has no description", want.Name)
		}
		got.Description = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", want.Name, diff)
		}
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	c := mustParse(t, oneDatabase, oneUser)
	for _, test := range []struct {
		name, value string
		got         func(*Config) any
		want        any
	}{
		{"connect_timeout", "2000", func(c *Config) any { return c.General.ConnectTimeout }, 2 * time.Second},
		{"general.connect_timeout", "1_000", func(c *Config) any { return c.General.ConnectTimeout }, time.Second},
		{"AUTH_TYPE", "MD5", func(c *Config) any { return c.General.AuthType }, AuthMD5},
		{"log_connections", "off", func(c *Config) any { return c.General.LogConnections }, false},
		{"schema_sync.index_jobs", "8", func(c *Config) any { return c.SchemaSync.IndexJobs }, 8},
		{"schema_sync.exclude_schemas", "a, b", func(c *Config) any { return c.SchemaSync.ExcludeSchemas }, []string{"a", "b"}},
		{"schema_sync.exclude_schemas", `["a, b"]`, func(c *Config) any { return c.SchemaSync.ExcludeSchemas }, []string{"a, b"}},
		{"schema_sync.maintenance_work_mem", "1GB", func(c *Config) any { return c.SchemaSync.MaintenanceWorkMem }, "1GB"},
		{"data_sync.heartbeat_interval", "0", func(c *Config) any { return c.DataSync.HeartbeatInterval }, time.Duration(0)},
		{"data_sync.streaming", "off", func(c *Config) any { return c.DataSync.Streaming }, false},
		{"resharding_copy_format", "TEXT", func(c *Config) any { return c.General.ReshardingCopyFormat }, "text"},
		{"schema_sync.index_jobs", "DEFAULT", func(c *Config) any { return c.SchemaSync.IndexJobs }, 2},
	} {
		out, err := c.Set(test.name, test.value)
		if err != nil {
			t.Errorf("SET %s TO %s: %v", test.name, test.value, err)
			continue
		}
		if diff := cmp.Diff(test.want, test.got(out)); diff != "" {
			t.Errorf("SET %s TO %s:\n%s", test.name, test.value, diff)
		}
	}
	if diff := cmp.Diff(Default().SchemaSync, c.SchemaSync); diff != "" || c.General.ConnectTimeout != 5*time.Second || settingNamed(t, c, "auth_type").Source != "default" {
		t.Errorf("SET changed the configuration it was given:\n%s", diff)
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	c := mustParse(t, oneDatabase, oneUser)
	for _, test := range []struct{ name, value, code, message, hint string }{
		{"conect_timeout", "1", pgerror.UndefinedObject, `unknown setting "conect_timeout"`, `Did you mean "connect_timeout"? SHOW CONFIG lists all settings.`},
		{"zzzzzzzzzz", "1", pgerror.UndefinedObject, `unknown setting "zzzzzzzzzz"`, `SHOW CONFIG lists all settings.`},
		{"port", "1", pgerror.InvalidParameterValue, `setting "port" cannot be changed without a restart`, `Change general.port in the configuration file and restart.`},
		{"tls_verify", "disabled", pgerror.InvalidParameterValue, `setting "tls_verify" cannot be changed by SET`, `Change general.tls_verify in the configuration file and run RELOAD.`},
		{"admin.password", "x", pgerror.InvalidParameterValue, `setting "admin.password" cannot be changed by SET`, `Change admin.password in the configuration file and run RELOAD.`},
		{"mirror_exposure", "1", pgerror.FeatureNotSupported, `setting "mirror_exposure" is not supported yet`, ""},
		{"memory_net_buffer", "1", pgerror.FeatureNotSupported, `setting "memory_net_buffer" is not supported yet`, ""},
		{"tcp.keepalive", "off", pgerror.InvalidParameterValue, `setting "tcp_keepalive" cannot be changed without a restart`, `Change tcp.keepalive in the configuration file and restart.`},
		{"connect_timeout", "5s", pgerror.InvalidParameterValue, `invalid value for setting "connect_timeout": expected an integer (milliseconds), found a string`, ""},
		{"connect_timeout", "0", pgerror.InvalidParameterValue, `invalid value for setting "connect_timeout": must be at least 1, found 0`, ""},
		{"log_connections", "maybe", pgerror.InvalidParameterValue, `invalid value for setting "log_connections": expected true or false, found a string`, ""},
		{"tls_client_required", "on", pgerror.InvalidParameterValue, `invalid value for setting "tls_client_required": clients are required to use TLS, but there is no tls_certificate`, "set tls_certificate and tls_private_key"},
		{"schema_sync.maintenance_work_mem", "lots", pgerror.InvalidParameterValue, `invalid value for setting "schema_sync.maintenance_work_mem": "lots" is no amount of memory`, `write a whole number with kB, MB, GB or TB, as "1GB"`},
		{"data_sync.queue_memory", "1000000", pgerror.InvalidParameterValue, `invalid value for setting "data_sync.queue_memory": 67108864 is more than data_sync.queue_memory, 1000000: one transaction would not fit into the queue`, "lower it, or raise queue_memory"},
		{"data_sync.status_interval", "0", pgerror.InvalidParameterValue, `invalid value for setting "data_sync.status_interval": must be between 10 and 30000, found 0`, ""},
		{"schema_sync.exclude_schemas", "[1", pgerror.InvalidParameterValue, `invalid value for setting "schema_sync.exclude_schemas": expected a list, found a string`, ""},
	} {
		out, err := c.Set(test.name, test.value)
		e := pgerror.From(err)
		if e == nil || out != nil {
			t.Errorf("SET %s TO %s was accepted", test.name, test.value)
			continue
		}
		if e.Code != test.code || e.Message != test.message || e.Hint != test.hint {
			t.Errorf("SET %s TO %s: %s %q, hint %q", test.name, test.value, e.Code, e.Message, e.Hint)
		}
	}
}
