package config

import "time"

// Mirroring is one entry of [[mirroring]].
type Mirroring struct {
	SourceDB      string   `toml:"source_db"`
	DestinationDB string   `toml:"destination_db"`
	Level         string   `toml:"level"`
	Exposure      *float64 `toml:"exposure"`
	QueueLength   *int     `toml:"queue_length"`
}

// ReplicaLag is [replica_lag].
type ReplicaLag struct {
	CheckInterval time.Duration `toml:"check_interval"`
	MaxAge        time.Duration `toml:"max_age"`
}

// TCP is [tcp]. A nil pointer leaves a value to the operating system.
type TCP struct {
	Keepalive         bool           `toml:"keepalive"`
	Time              *time.Duration `toml:"time"`
	Interval          *time.Duration `toml:"interval"`
	Retries           *int           `toml:"retries"`
	UserTimeout       *time.Duration `toml:"user_timeout"`
	CongestionControl string         `toml:"congestion_control"`
}

// Memory is [memory]; sizes are bytes.
type Memory struct {
	NetBuffer     int64 `toml:"net_buffer"`
	MessageBuffer int64 `toml:"message_buffer"`
	StackSize     int64 `toml:"stack_size"`
}

// OTel is [otel].
type OTel struct {
	Endpoint      string            `toml:"endpoint"`
	Headers       map[string]Secret `toml:"headers"`
	DatadogAPIKey Secret            `toml:"datadog_api_key"`
	Namespace     string            `toml:"namespace"`
	PushInterval  time.Duration     `toml:"push_interval"`
}

// QueryParser is one entry of [[query_parsers]].
type QueryParser struct {
	Database string `toml:"database"`
	Level    string `toml:"level"`
	Engine   string `toml:"engine"`
}

// MultiTenant is [multi_tenant].
type MultiTenant struct {
	Column string `toml:"column"`
}

// Plugin is one entry of [[plugins]].
type Plugin struct {
	Name   string `toml:"name"`
	Config string `toml:"config"`
}

// Vault is [vault].
type Vault struct {
	URL                 string         `toml:"url"`
	Namespace           string         `toml:"namespace"`
	AuthMethod          string         `toml:"auth_method"`
	AuthMount           string         `toml:"auth_mount"`
	KubernetesRole      string         `toml:"kubernetes_role"`
	KubernetesJWTPath   string         `toml:"kubernetes_jwt_path"`
	AppRoleRoleID       string         `toml:"approle_role_id"`
	AppRoleSecretIDFile string         `toml:"approle_secret_id_file"`
	ClientTokenTTL      *time.Duration `toml:"client_token_ttl"`
}
