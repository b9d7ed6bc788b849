package proxy

import (
	"cmp"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// defaultLoginTimeout bounds logins where the configuration does not: without
// a bound, silent clients would keep the places of those that log in.
const defaultLoginTimeout = time.Minute

// settings is what the proxy takes from one configuration. It is made once for
// each configuration and shared by the connections that began under it.
type settings struct {
	config *config.Config
	users  *users

	address           string // to listen on, host:port
	reusePort         bool
	keepAlive         net.KeepAliveConfig
	method            auth.Method
	loginTimeout      time.Duration
	maxClients        int // 0: no limit
	shutdownTimeout   time.Duration
	logConnections    bool
	logDisconnections bool
	tls               tlsSettings
}

// tlsSettings are the files of TLS towards clients.
type tlsSettings struct {
	certificate, privateKey, clientCA string
	required                          bool
	minVersion                        uint16 // of package tls
}

func newSettings(c *config.Config, authenticator *auth.Authenticator, previous *settings) *settings {
	maxClients := 0
	if most := c.General.MaxClientConnections; most != nil {
		maxClients = *most
	}
	return &settings{
		maxClients:        maxClients,
		config:            c,
		users:             newUsers(c, authenticator, previous),
		address:           net.JoinHostPort(c.General.Host, strconv.Itoa(c.General.Port)),
		reusePort:         c.General.ReusePort,
		keepAlive:         keepAlive(c.TCP),
		method:            auth.Method(c.General.AuthType),
		loginTimeout:      cmp.Or(c.General.ClientLoginTimeout, defaultLoginTimeout),
		shutdownTimeout:   c.General.ShutdownTimeout,
		logConnections:    c.General.LogConnections,
		logDisconnections: c.General.LogDisconnections,
		tls: tlsSettings{
			certificate: c.General.TLSCertificate,
			privateKey:  c.General.TLSPrivateKey,
			clientCA:    c.General.TLSClientCACertificate,
			required:    c.General.TLSClientRequired,
			minVersion:  minVersion(c.General.TLSClientMinVersion),
		},
	}
}

// minVersion is general.tls_client_min_version to package tls.
func minVersion(name string) uint16 {
	if name == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// keepAlive leaves to package net what is not configured: a dead client is
// found after minutes, not after the hours of the system's defaults.
func keepAlive(t config.TCP) net.KeepAliveConfig {
	k := net.KeepAliveConfig{Enable: t.Keepalive}
	if t.Time != nil {
		k.Idle = *t.Time
	}
	if t.Interval != nil {
		k.Interval = *t.Interval
	}
	if t.Retries != nil {
		k.Count = *t.Retries
	}
	return k
}

// place is what a client reaches with a database's name.
type place int

const (
	placeNowhere     place = iota // no such database, or not for this user
	placeAdmin                    // the admin database
	placeApplication              // a cluster of [[databases]]
)

// login is what a user and a database in a StartupMessage amount to.
type login struct {
	place    place
	readOnly bool          // a reader of the admin database
	account  *auth.Account // nil if there is none

	// foreign: users.toml has no password of the user, but servers may have.
	foreign     bool
	credentials auth.Credentials // that the client has shown

	// identity, if not empty, is the name in the client certificate that logs
	// in without a password.
	identity string
	// certificateRequired: a verified client certificate is needed as well
	// as the password, where client certificates can be verified.
	certificateRequired bool
}
