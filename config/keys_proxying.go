package config

var mirroringTable = Table{
	Name: "mirroring", Array: true, Files: []string{configFile}, flags: later,
	Description: "Repeat a database's traffic on another one, to test that one.",
	Keys: []Key{
		{Name: "source_db", Example: `"prod"`, flags: required | cluster, Description: "Database whose traffic it is."},
		{Name: "destination_db", Example: `"prod"`, flags: required | cluster, Description: "Database that gets it too."},
		{Name: "level", Default: `"all"`, Values: []string{"all", "dml", "ddl"}, Description: "Statements that are repeated."},
		{Name: "exposure", Default: `"default"`, Max: 1, Description: "Instead of general.mirror_exposure."},
		{Name: "queue_length", Default: `"default"`, Description: "Instead of general.mirror_queue."},
	},
}

var replicaLagTable = Table{
	Name: "replica_lag", Files: []string{configFile}, flags: later,
	Description: "Watch how far replicas are behind.",
	Keys: []Key{
		{Name: "check_interval", Example: `10000`, Unit: "ms", flags: required, Description: "How often."},
		{Name: "max_age", Example: `30000`, Unit: "ms", flags: required, Description: "A replica further behind gets no reads."},
	},
}

var otelTable = Table{
	Name: "otel", Files: []string{configFile}, flags: later,
	Description: "Metrics pushed by OpenTelemetry.",
	Keys: []Key{
		{Name: "endpoint", Default: `""`, flags: restart, Description: "URL of the OTLP/HTTP receiver; nothing is pushed without it."},
		{Name: "headers", Default: `{}`, flags: secret | restart, Description: "HTTP headers of each push."},
		{Name: "datadog_api_key", Default: `""`, flags: secret | restart, Description: "Key for Datadog's receiver."},
		{Name: "namespace", Default: `""`, flags: restart, Description: "Prefix of metrics' names."},
		{Name: "push_interval", Default: `10000`, Unit: "ms", Min: 1, flags: restart, Description: "How often."},
	},
}

var queryParsersTable = Table{
	Name: "query_parsers", Array: true, Files: []string{configFile}, flags: later,
	Description: "The query parser of one database.",
	Keys: []Key{
		{Name: "database", Example: `"prod"`, flags: required | cluster, Description: "Name in [[databases]]."},
		{Name: "level", Default: `"auto"`, Values: parserLevels, Description: "Instead of general.query_parser."},
		{Name: "engine", Default: `"pg_query_protobuf"`, Values: parserEngines, Description: "Instead of general.query_parser_engine."},
	},
}

var multiTenantTable = Table{
	Name: "multi_tenant", Files: []string{configFile}, flags: later,
	Description: "Refuse statements that could mix tenants.",
	Keys: []Key{
		{Name: "column", Example: `"tenant_id"`, flags: required, Ignored: "statements are not checked", Description: "Column that every statement has to filter by."},
	},
}

var pluginsTable = Table{
	Name: "plugins", Array: true, Files: []string{configFile}, flags: later,
	Description: "A shared library that takes part in routing.",
	Keys: []Key{
		{Name: "name", Example: `"my_plugin"`, flags: required | restart, Description: "The library's name."},
		{Name: "config", Default: `""`, flags: restart, Description: "Its configuration file."},
	},
}

var vaultTable = Table{
	Name: "vault", Files: []string{configFile}, flags: later,
	Description: "HashiCorp Vault, for users whose credentials come from there.",
	Keys: []Key{
		{Name: "url", Example: `"https://127.0.0.1:8200"`, flags: required, Description: "Where Vault is."},
		{Name: "namespace", Default: `""`, Description: "Vault's namespace."},
		{Name: "auth_method", Example: `"kubernetes"`, Values: []string{"kubernetes", "approle"}, flags: required, Description: "How the proxy logs in there."},
		{Name: "auth_mount", Default: `""`, Description: "Mount of the authentication method."},
		{Name: "kubernetes_role", Default: `""`, Description: "Role for auth_method = \"kubernetes\"."},
		{Name: "kubernetes_jwt_path", Default: `""`, Description: "File of the service account's token."},
		{Name: "approle_role_id", Default: `""`, Description: "Role for auth_method = \"approle\"."},
		{Name: "approle_secret_id_file", Default: `""`, Description: "File of that role's secret."},
		{Name: "client_token_ttl", Default: `"default"`, Unit: "s", Description: "How long the proxy's own token lives."},
	},
}
