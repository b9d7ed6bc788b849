package config

import "time"

// AuthType is how clients prove who they are.
type AuthType string

// The values of auth_type.
const (
	AuthSCRAM AuthType = "scram" // SCRAM-SHA-256
	AuthMD5   AuthType = "md5"
	AuthPlain AuthType = "plain" // password in clear text; only sensible inside TLS
	AuthTrust AuthType = "trust" // nobody is asked
)

// Passthrough is whether servers judge the passwords of clients that
// users.toml does not know.
type Passthrough string

// The values of passthrough_auth.
const (
	PassthroughDisabled         Passthrough = "disabled"
	PassthroughEnabled          Passthrough = "enabled"       // over TLS alone
	PassthroughPlain            Passthrough = "enabled_plain" // without TLS too
	PassthroughAllowChange      Passthrough = "enabled_allow_change"
	PassthroughPlainAllowChange Passthrough = "enabled_plain_allow_change"
)

// On tells whether it is on, for a connection that nobody can listen to, or for
// one that somebody can.
func (p Passthrough) On(confidential bool) bool {
	switch p {
	case PassthroughPlain, PassthroughPlainAllowChange:
		return true
	case PassthroughEnabled, PassthroughAllowChange:
		return confidential
	}
	return false
}

// AllowsChange tells whether a password that the server accepts takes the place
// of the one that it accepted before.
func (p Passthrough) AllowsChange() bool {
	return p == PassthroughAllowChange || p == PassthroughPlainAllowChange
}

// TLSVerify is how a server's certificate is treated.
type TLSVerify string

// The values of tls_verify.
const (
	TLSDisabled   TLSVerify = "disabled"
	TLSPrefer     TLSVerify = "prefer"      // TLS where the server has it, its certificate unchecked
	TLSVerifyCA   TLSVerify = "verify_ca"   // signed by a known authority
	TLSVerifyFull TLSVerify = "verify_full" // and made out to the host connected to
)

// LogLevel is the least severe level that is logged.
type LogLevel string

// The values of log_level.
const (
	LogTrace LogLevel = "trace"
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogFormat is the form of a log line.
type LogFormat string

// The values of log_format.
const (
	LogText          LogFormat = "text"
	LogJSON          LogFormat = "json"
	LogJSONFlattened LogFormat = "json_flattened"
)

// PoolerMode is when a server connection goes back to its pool.
type PoolerMode string

// The values of pooler_mode.
const (
	ModeTransaction PoolerMode = "transaction" // at the end of each transaction
	ModeSession     PoolerMode = "session"     // when the client leaves
	ModeStatement   PoolerMode = "statement"   // after each statement; there are no transactions of several
)

// General is [general]. A nil pointer is a key that is off, or left to the
// general setting of its kind; an empty string is a key that is not set.
type General struct {
	AuthCacheTTL                          time.Duration  `toml:"auth_cache_ttl"`
	AuthQuery                             string         `toml:"auth_query"`
	AuthQueryUser                         string         `toml:"auth_query_user"`
	AuthType                              AuthType       `toml:"auth_type"`
	BanReplicaLag                         *time.Duration `toml:"ban_replica_lag"`
	BanReplicaLagBytes                    *int64         `toml:"ban_replica_lag_bytes"`
	BanTimeout                            time.Duration  `toml:"ban_timeout"`
	BroadcastAddress                      string         `toml:"broadcast_address"`
	BroadcastPort                         int            `toml:"broadcast_port"`
	CanonicalizeTypeInformation           bool           `toml:"canonicalize_type_information"`
	CheckoutTimeout                       time.Duration  `toml:"checkout_timeout"`
	ClientConnectionRecovery              string         `toml:"client_connection_recovery"`
	ClientIdleInTransactionTimeout        *time.Duration `toml:"client_idle_in_transaction_timeout"`
	ClientIdleTimeout                     *time.Duration `toml:"client_idle_timeout"`
	ClientLoginTimeout                    time.Duration  `toml:"client_login_timeout"`
	ConnectAttemptDelay                   time.Duration  `toml:"connect_attempt_delay"`
	ConnectAttempts                       int            `toml:"connect_attempts"`
	ConnectTimeout                        time.Duration  `toml:"connect_timeout"`
	ConnectionRecovery                    string         `toml:"connection_recovery"`
	CrossShardDisabled                    bool           `toml:"cross_shard_disabled"`
	CutoverLastTransactionDelay           time.Duration  `toml:"cutover_last_transaction_delay"`
	CutoverReplicationLagThreshold        int64          `toml:"cutover_replication_lag_threshold"`
	CutoverSaveConfig                     bool           `toml:"cutover_save_config"`
	CutoverTimeout                        time.Duration  `toml:"cutover_timeout"`
	CutoverTimeoutAction                  string         `toml:"cutover_timeout_action"`
	CutoverTrafficStopThreshold           int64          `toml:"cutover_traffic_stop_threshold"`
	DefaultPoolSize                       int            `toml:"default_pool_size"`
	DNSTTL                                *time.Duration `toml:"dns_ttl"`
	DryRun                                bool           `toml:"dry_run"`
	ExpandedExplain                       bool           `toml:"expanded_explain"`
	HealthcheckInterval                   time.Duration  `toml:"healthcheck_interval"`
	HealthcheckPort                       *int           `toml:"healthcheck_port"`
	HealthcheckTimeout                    time.Duration  `toml:"healthcheck_timeout"`
	Host                                  string         `toml:"host"`
	IdleHealthcheckDelay                  time.Duration  `toml:"idle_healthcheck_delay"`
	IdleHealthcheckInterval               time.Duration  `toml:"idle_healthcheck_interval"`
	IdleTimeout                           time.Duration  `toml:"idle_timeout"`
	LoadBalancingStrategy                 string         `toml:"load_balancing_strategy"`
	LoadSchema                            string         `toml:"load_schema"`
	LogConnections                        bool           `toml:"log_connections"`
	LogDedupThreshold                     int            `toml:"log_dedup_threshold"`
	LogDedupWindow                        time.Duration  `toml:"log_dedup_window"`
	LogDisconnections                     bool           `toml:"log_disconnections"`
	LogFormat                             LogFormat      `toml:"log_format"`
	LogLevel                              LogLevel       `toml:"log_level"`
	LogMinDurationParse                   *time.Duration `toml:"log_min_duration_parse"`
	LogMinDurationQuery                   *time.Duration `toml:"log_min_duration_query"`
	LogQuerySampleLength                  int            `toml:"log_query_sample_length"`
	LogQuerySampleRate                    float64        `toml:"log_query_sample_rate"`
	LogQueryText                          string         `toml:"log_query_text"`
	LSNCheckDelay                         *time.Duration `toml:"lsn_check_delay"`
	LSNCheckInterval                      time.Duration  `toml:"lsn_check_interval"`
	LSNCheckTimeout                       time.Duration  `toml:"lsn_check_timeout"`
	MaxClientConnections                  *int           `toml:"max_client_connections"`
	MinPoolSize                           int            `toml:"min_pool_size"`
	MirrorExposure                        float64        `toml:"mirror_exposure"`
	MirrorQueue                           int            `toml:"mirror_queue"`
	OmnishardedSticky                     bool           `toml:"omnisharded_sticky"`
	OpenMetricsHost                       string         `toml:"openmetrics_host"`
	OpenMetricsNamespace                  string         `toml:"openmetrics_namespace"`
	OpenMetricsPort                       *int           `toml:"openmetrics_port"`
	PassthroughAuth                       Passthrough    `toml:"passthrough_auth"`
	PoolerMode                            PoolerMode     `toml:"pooler_mode"`
	Port                                  int            `toml:"port"`
	PreparedStatements                    string         `toml:"prepared_statements"`
	PreparedStatementsLimit               *int           `toml:"prepared_statements_limit"`
	PreparedStatementsTTL                 *time.Duration `toml:"prepared_statements_ttl"`
	PreparedStatementsTTLJitter           time.Duration  `toml:"prepared_statements_ttl_jitter"`
	PubSubChannelSize                     int            `toml:"pub_sub_channel_size"`
	QueryCacheLimit                       int            `toml:"query_cache_limit"`
	QueryLog                              string         `toml:"query_log"`
	QueryLogStdout                        bool           `toml:"query_log_stdout"`
	QueryParser                           string         `toml:"query_parser"`
	QueryParserEnabled                    bool           `toml:"query_parser_enabled"`
	QueryParserEngine                     string         `toml:"query_parser_engine"`
	QuerySizeLimit                        *int64         `toml:"query_size_limit"`
	QuerySizeLimitAction                  string         `toml:"query_size_limit_action"`
	QueryTimeout                          *time.Duration `toml:"query_timeout"`
	ReadWriteSplit                        string         `toml:"read_write_split"`
	ReadWriteStrategy                     string         `toml:"read_write_strategy"`
	RegexParserLimit                      int            `toml:"regex_parser_limit"`
	ReloadSchemaOnDDL                     bool           `toml:"reload_schema_on_ddl"`
	RequireHealthcheckOnDiscovery         bool           `toml:"require_healthcheck_on_discovery"`
	ReshardingCopyFormat                  string         `toml:"resharding_copy_format"`
	ReshardingCopyRetryMaxAttempts        int            `toml:"resharding_copy_retry_max_attempts"`
	ReshardingCopyRetryMinDelay           time.Duration  `toml:"resharding_copy_retry_min_delay"`
	ReshardingParallelCopies              int            `toml:"resharding_parallel_copies"`
	ReshardingReplicationRetryMaxAttempts int            `toml:"resharding_replication_retry_max_attempts"`
	ReshardingReplicationRetryMinDelay    time.Duration  `toml:"resharding_replication_retry_min_delay"`
	ReusePort                             bool           `toml:"reuse_port"`
	RollbackTimeout                       time.Duration  `toml:"rollback_timeout"`
	ServerLifetime                        time.Duration  `toml:"server_lifetime"`
	ServerLifetimeJitter                  time.Duration  `toml:"server_lifetime_jitter"`
	SessionState                          string         `toml:"session_state"` // "pin" or "refuse"
	ShardingLookupCacheSize               int64          `toml:"sharding_lookup_cache_size"`
	ShardingLookupTimeout                 time.Duration  `toml:"sharding_lookup_timeout"`
	ShutdownTerminationTimeout            *time.Duration `toml:"shutdown_termination_timeout"`
	ShutdownTimeout                       time.Duration  `toml:"shutdown_timeout"`
	StatsPeriod                           time.Duration  `toml:"stats_period"`
	SystemCatalogs                        string         `toml:"system_catalogs"`
	TLSCertificate                        string         `toml:"tls_certificate"`
	TLSClientCACertificate                string         `toml:"tls_client_ca_certificate"`
	TLSClientMinVersion                   string         `toml:"tls_client_min_version"`
	TLSClientRequired                     bool           `toml:"tls_client_required"`
	TLSPrivateKey                         string         `toml:"tls_private_key"`
	TLSServerCACertificate                string         `toml:"tls_server_ca_certificate"`
	TLSServerCertificate                  string         `toml:"tls_server_certificate"`
	TLSServerPrivateKey                   string         `toml:"tls_server_private_key"`
	TLSVerify                             TLSVerify      `toml:"tls_verify"`
	TwoPhaseCommit                        bool           `toml:"two_phase_commit"`
	TwoPhaseCommitAuto                    *bool          `toml:"two_phase_commit_auto"`
	TwoPhaseCommitWALCheckpoint           time.Duration  `toml:"two_phase_commit_wal_checkpoint_interval"`
	TwoPhaseCommitWALDir                  string         `toml:"two_phase_commit_wal_dir"`
	TwoPhaseCommitWALFsyncInterval        time.Duration  `toml:"two_phase_commit_wal_fsync_interval"`
	TwoPhaseCommitWALSegmentSize          int64          `toml:"two_phase_commit_wal_segment_size"`
	UniqueIDFunction                      string         `toml:"unique_id_function"`
	UniqueIDMin                           int64          `toml:"unique_id_min"`
	Workers                               int            `toml:"workers"`
}
