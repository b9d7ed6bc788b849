package relay

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/pool"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

// replicationBuffer is how much is copied at a time, in bytes.
const replicationBuffer = 64 << 10

// replicate serves a connection of the replication protocol: it has a server
// connection of its own, and bytes go both ways at the same time.
func (s *session) replicate() error {
	user, _ := s.relay.options.Config().User(s.login.User, s.login.Database)
	if mode := s.poolMode(user); mode != config.ModeSession {
		return pgerror.New(pgerror.FeatureNotSupported, "replication connections need pooler_mode = \"session\"").
			WithDetail("User \"%s\" of database \"%s\" has pooler_mode = %q.", s.login.User, s.login.Database, mode).
			WithHint("Set pooler_mode = \"session\" for the user in users.toml.")
	}
	server, err := s.client.Checkout(s.ctx, pool.Want{})
	if err != nil {
		return err
	}
	var b []byte
	for name, value := range server.Parameters() {
		b = wire.AppendParameterStatus(b, name, value)
	}
	err = s.toClient(wire.AppendReadyForQuery(b, wire.Idle))
	s.mu.Lock()
	s.server, s.slot = server, &slot{}
	s.pending.push(expectation{kind: expectQuery}) // it is never idle
	s.setState(stateActive)
	s.mu.Unlock()
	if err == nil {
		err = s.both(server.Conn())
	}
	s.mu.Lock()
	s.downRest, s.fatal = 1, true // nobody knows whether a message is torn
	s.mu.Unlock()
	return err
}

// poolMode is that of the session's user and database: a client of the replication
// protocol is always in session mode as far as its pool is concerned.
func (s *session) poolMode(user config.User) config.PoolerMode {
	c := s.relay.options.Config()
	mode := user.PoolerMode
	if cluster, ok := c.Cluster(s.login.Database); ok && mode == "" && len(cluster.Shards) > 0 {
		mode = cluster.Shards[0].Primary.PoolerMode
	}
	if mode == "" {
		mode = c.General.PoolerMode
	}
	return mode
}

// both copies until one side ends.
func (s *session) both(server net.Conn) error {
	var back sync.WaitGroup
	var serverErr error
	back.Go(func() {
		_, serverErr = io.CopyBuffer(onlyWriter{s.conn}, onlyReader{server}, make([]byte, replicationBuffer))
		_ = s.conn.SetReadDeadline(longAgo) // closed: as well
	})
	_, err := io.CopyBuffer(onlyWriter{server}, onlyReader{s.conn}, make([]byte, replicationBuffer))
	// What the server still has to say is short: the client has said goodbye.
	_ = server.SetReadDeadline(time.Now().Add(farewellTimeout)) // closed: as well
	_ = s.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	back.Wait()
	if err != nil && !isTimeout(err) {
		return clientError{err}
	}
	if serverErr != nil && !isTimeout(serverErr) {
		return clientError{serverErr}
	}
	return nil
}

// onlyReader and onlyWriter have the copy go through the buffer: splice(2) costs
// more calls for messages of this size.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }
