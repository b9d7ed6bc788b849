// Package connect opens the connections on which the engine works: with an
// empty search_path and every setting pinned that could change what a
// statement means or what a value looks like.
package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

// cancelDelay is how long a cancelled statement has to end before its
// connection is given up.
const cancelDelay = 5 * time.Second

// pinned is what pg_restore sets before it runs a dump
// (pg_backup_archiver.c, _doSetFixedOutputState), and the formats of values.
// No role's or database's own default may leak into what is built.
const pinned = `
SET search_path = '';
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET standard_conforming_strings = on;
SET check_function_bodies = off;
SET xmloption = content;
SET jit = off;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
SET "TimeZone" = 'UTC';
SET "DateStyle" = 'ISO, YMD';
SET "IntervalStyle" = 'postgres';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET quote_all_identifiers = off;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off;
`

// Open connects to server and pins the session's settings. purpose ends the
// application_name, so that pg_stat_activity says what the session is for.
// The caller closes the connection. Errors are pgerror.Error values that say
// which database of the configuration is meant and what to look at.
func Open(ctx context.Context, server config.Server, purpose string) (*pgx.Conn, error) {
	cfg, err := Config(server, purpose)
	if err != nil {
		return nil, err
	}
	// A cancelled context cancels the statement on the server as well, instead
	// of leaving it running behind a closed connection.
	cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelDelay}
	}
	return open(ctx, server, cfg)
}

// OpenListener is Open for a session that waits for notifications: nothing runs
// there that could be cancelled, so the end of a context ends the wait at once.
func OpenListener(ctx context.Context, server config.Server, purpose string) (*pgx.Conn, error) {
	cfg, err := Config(server, purpose)
	if err != nil {
		return nil, err
	}
	return open(ctx, server, cfg)
}

func open(ctx context.Context, server config.Server, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, explain(server, err)
	}
	if _, err := conn.PgConn().Exec(ctx, settings(conn.PgConn())).ReadAll(); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("set up the session on %s: %w", Place(server), err)
	}
	return conn, nil
}

// neutral overrides what pgx would take from PG* variables and from files in
// ~/.postgresql. (PGSERVICE cannot be overridden: what a service sets is, but
// one that cannot be found is an error.)
const neutral = "passfile='' connect_timeout=0 options='' target_session_attrs=any channel_binding=prefer require_auth='' " +
	"min_protocol_version='' max_protocol_version='' sslcert='' sslkey='' sslrootcert='' sslpassword='' sslnegotiation=postgres sslsni=1 sslcertmode=allow"

// Config gives pgx's own description of a connection to server. Nothing is
// taken from the environment: PGHOST, PGSERVICE and the like are the shell's
// business, not the configuration's.
func Config(server config.Server, purpose string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(neutral + " host=localhost sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("prepare a connection: %w", err)
	}
	cfg.Host, cfg.Port = server.Host, uint16(server.Port)
	cfg.Database, cfg.User, cfg.Password = server.Database, server.User, server.Password.Reveal()
	cfg.ConnectTimeout = server.ConnectTimeout
	cfg.Fallbacks = nil
	cfg.DialFunc = gated(cfg.DialFunc)
	cfg.RuntimeParams = map[string]string{
		"application_name": strings.TrimSpace("pgdrover " + purpose),
		"client_encoding":  "UTF8",
	}
	// Statements here are run once: a cache of prepared ones would only hold
	// plans of relations that are being changed.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	if err := setTLS(cfg, server); err != nil {
		return nil, err
	}
	return cfg, nil
}

// setTLS gives cfg the TLS settings that libpq's sslmode of the same meaning
// would have.
func setTLS(cfg *pgx.ConnConfig, server config.Server) error {
	if server.TLSVerify == config.TLSDisabled || strings.HasPrefix(server.Host, "/") {
		cfg.TLSConfig = nil
		return nil
	}
	settings, err := tlsSettings(server)
	if err != nil {
		return err
	}
	cfg.TLSConfig = settings
	if server.TLSVerify == config.TLSPrefer {
		cfg.Fallbacks = []*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port}}
	}
	return nil
}

func tlsSettings(server config.Server) (*tls.Config, error) {
	mode := map[config.TLSVerify]string{
		config.TLSPrefer: "require", config.TLSVerifyCA: "verify-ca", config.TLSVerifyFull: "verify-full",
	}[server.TLSVerify]
	dsn := []string{neutral, "host=" + quoteDSN(server.Host), "sslmode=" + mode}
	for name, file := range map[string]string{
		"sslrootcert": server.CAFile, "sslcert": server.CertFile, "sslkey": server.KeyFile,
	} {
		// With tls_verify = "prefer" libpq would verify as soon as a root
		// certificate is named; here prefer means: encrypt, do not verify.
		if file != "" && (name != "sslrootcert" || server.TLSVerify != config.TLSPrefer) {
			dsn = append(dsn, name+"="+quoteDSN(file))
		}
	}
	cfg, err := pgconn.ParseConfig(strings.Join(dsn, " "))
	if err != nil {
		return nil, pgerror.New(pgerror.ConfigFileError, "TLS settings for %s: %w", Place(server), err).
			WithHint("check tls_server_ca_certificate, tls_server_certificate and tls_server_private_key in [general]")
	}
	return cfg.TLSConfig, nil
}

func quoteDSN(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Place names a server as messages do: by its name in the configuration.
func Place(server config.Server) string {
	return fmt.Sprintf("database %q shard %d (%s)", server.Cluster, server.Shard, server.Address())
}

// version is the server's major version.
func version(conn *pgconn.PgConn) int {
	text := conn.ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		text = text[:end]
	}
	major, _ := strconv.Atoi(text)
	return major
}

// explain turns a failed connection into an error that names the entry of the
// configuration to look at.
func explain(server config.Server, err error) error {
	out := pgerror.From(err)
	message := reason(err)
	e := pgerror.New(out.Code, "cannot connect to %s: %s", Place(server), message)
	e.Cause = err
	e.Detail = fmt.Sprintf("as user %q, to database %q", server.User, server.Database)
	switch out.Code {
	case "28P01", "28000":
		e.Hint = fmt.Sprintf("check name, password, server_user and server_password of the schema admin of %q in users.toml, and the server's pg_hba.conf", server.Cluster)
	case "3D000":
		e.Hint = fmt.Sprintf("check database_name of [[databases]] %q in pgdog.toml, or there: CREATE DATABASE %s;", server.Cluster, dump.QuoteIdent(server.Database))
	case "53300":
		e.Hint = "the server has no free connection: raise max_connections or end sessions"
	case "57P03":
		e.Hint = "the server is starting up or recovering: try again when it accepts connections"
	default:
		e.Hint = fmt.Sprintf("is the server running, and are host and port of [[databases]] %q right?", server.Cluster)
	}
	return e
}

// reason is the last, shortest part of a connection error: pgconn's own text
// repeats the address for each attempt.
func reason(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Message
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	text := err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		text = inner.Error()
	}
	return text
}
