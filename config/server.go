package config

import (
	"cmp"
	"net"
	"strconv"
	"time"
)

// Server says how to reach one PostgreSQL database: everything a connection
// needs.
type Server struct {
	Cluster        string
	Shard          int
	Host           string // name, address, or the directory of a Unix socket
	Port           int
	Database       string
	User           string
	Password       Secret // empty if none is known
	TLSVerify      TLSVerify
	CAFile         string // "": the system's authorities
	CertFile       string // with KeyFile, what to show the server; "" for none
	KeyFile        string
	ConnectTimeout time.Duration
}

// Server gives how a user reaches an entry of [[databases]]. User and password
// are looked for, each on its own, in the database's entry, then in the user's
// server_user and server_password, then in the user's name and password, or
// the first of its passwords. A user with only password_hash has no password
// to log in with.
func (c *Config) Server(db Database, user User) Server {
	password := cmp.Or(db.Password, user.ServerPassword, user.Password)
	if password == "" {
		password = cmp.Or(user.Passwords...)
	}
	return Server{
		Cluster:        db.Name,
		Shard:          db.Shard,
		Host:           db.Host,
		Port:           db.Port,
		Database:       cmp.Or(db.DatabaseName, db.Name),
		User:           cmp.Or(db.User, user.ServerUser, user.Name),
		Password:       password,
		TLSVerify:      c.General.TLSVerify,
		CAFile:         c.General.TLSServerCACertificate,
		CertFile:       c.General.TLSServerCertificate,
		KeyFile:        c.General.TLSServerPrivateKey,
		ConnectTimeout: c.General.ConnectTimeout,
	}
}

// Address is host:port, for messages.
func (s Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }
