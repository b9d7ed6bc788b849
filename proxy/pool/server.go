package pool

import (
	"maps"
	"net"
	"syscall"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// serverState is what a server connection is there for.
type serverState uint8

const (
	serverNew      serverState = iota // logged in, not in the books yet
	serverIdle                        // in the pool
	serverUsed                        // a client's
	serverChecking                    // a health check's
	serverCleaning                    // being made fit for the next client
	serverClosed                      // out of the books; nothing follows
)

func (s serverState) String() string {
	return [...]string{"new", "idle", "active", "checking", "cleaning", "closed"}[s]
}

// serverMoves are the states that may follow each.
var serverMoves = [...][]serverState{
	serverNew:      {serverIdle, serverUsed, serverChecking, serverClosed},
	serverIdle:     {serverUsed, serverChecking, serverClosed},
	serverUsed:     {serverIdle, serverUsed, serverCleaning, serverClosed},
	serverChecking: {serverIdle, serverUsed, serverClosed},
	serverCleaning: {serverIdle, serverUsed, serverClosed},
	serverClosed:   {},
}

// serverAllowed has the moves as bits, for the way of every checkout.
var serverAllowed = func() (out [len(serverMoves)]uint8) {
	for from, to := range serverMoves {
		for _, s := range to {
			out[from] |= 1 << s
		}
	}
	return out
}()

// Server is a connection to a server that is logged in. While it is checked out
// it belongs to the goroutine of its client, but for Cancel and what the pool's
// lock guards.
type Server struct {
	// Session is the slot of whoever uses the connection: what outlives a
	// checkout, as the statements prepared on it and the last values of its
	// settings. It is nil on a new connection, and after a cleaning that has made the
	// session new.
	Session any
	// Usage is added to by whoever uses the connection.
	Usage Usage
	// Shown is what SHOW SERVERS tells as of the last Record or Release.
	Shown Shown

	target     *target
	conn       net.Conn
	raw        syscall.RawConn // below TLS; nil where it cannot be looked at
	encrypted  bool
	processID  uint32
	secretKey  []byte
	parameters map[string]string

	// What follows is guarded by the pool's lock.
	state      serverState
	client     *Client // whose it is; nil in the pool
	generation uint64
	began      int64 // instant of its login
	expires    int64
	since      int64 // instant of its last move
	checkedAt  int64 // when it was last seen to answer
	rested     int64 // nanoseconds it was idle before its checkout
	condemned  bool  // closed already by the pool: its user has only to notice
	alone      bool  // a replication connection, nobody else's ever
	cancels    int   // cancel requests under way
	parked     bool  // released, and waits for them

	usedWholly serverTotals
	shown      Shown
}

// Shown is what whoever uses a connection lets operators see of it.
type Shown struct {
	Prepared               int  // statements that are prepared on it
	LastSent, LastReceived byte // messages' types
	IdleInTransaction      bool // the client is waited for
	ApplicationName        string
}

// serverTotals count over the life of a connection.
type serverTotals struct {
	transactions, queries, rollbacks, errors, received, sent, healthchecks int64
}

func (p *Pools) newServer(t *target, c *dial.Connection, generation uint64) *Server {
	now := p.now()
	s := &Server{
		target: t, conn: c.Conn, raw: rawConn(c.Conn), encrypted: c.TLSVersion != "", processID: c.ProcessID, secretKey: c.SecretKey,
		parameters: c.Parameters, generation: generation, began: now, since: now, checkedAt: now, expires: t.lifetime(now),
	}
	if s.parameters == nil {
		s.parameters = map[string]string{}
	}
	return s
}

// move is the one place where a connection's state changes.
func (s *Server) move(to serverState, now int64) {
	if serverAllowed[s.state]&(1<<to) == 0 {
		panic("server connection moved from " + s.state.String() + " to " + to.String())
	}
	s.state, s.since = to, now
}

// Conn is the connection: TCP, a Unix socket, or TLS. Deadlines that its user
// sets have to be taken off before Release. Its user does not close it.
func (s *Server) Conn() net.Conn { return s.conn }

// ProcessID is the server's process id of the session.
func (s *Server) ProcessID() uint32 { return s.processID }

// Parameter gives the last value that the server reported.
func (s *Server) Parameter(name string) (string, bool) {
	value, known := s.parameters[name]
	return value, known
}

// Parameters gives all that the server has reported. It is the connection's own
// map: read it while the server is checked out, change it by SetParameter.
func (s *Server) Parameters() map[string]string { return s.parameters }

// SetParameter notes a ParameterStatus that the server has sent.
func (s *Server) SetParameter(name, value string) { s.parameters[name] = value }

// Address is host:port of the server, for messages.
func (s *Server) Address() string { return s.target.name }

// Lost gives why the pool has closed the connection while it was checked out,
// nil if it has not: what its client is to be told instead of that a server was
// lost.
func (s *Server) Lost() *pgerror.Error {
	p := s.target.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.condemned || s.client == nil {
		return nil
	}
	return s.client.ended
}

// Record takes Usage into the statistics; for whoever keeps a connection longer
// than a transaction. Release does it too.
func (s *Server) Record() {
	p := s.target.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s.record()
}

// Release gives the connection back; it must not be used any more. It does not
// wait, but where the connection has to be closed.
func (s *Server) Release(o Outcome) {
	p := s.target.pool
	now := p.pools.now()
	p.mu.Lock()
	client := s.client
	if client == nil {
		p.mu.Unlock()
		return // it was released before
	}
	s.record()
	client.server, s.client = nil, nil
	client.state, client.stateSince = clientIdle, now
	closing := p.takeBack(s, o, now)
	p.mu.Unlock()
	if closing {
		s.close(o != Broken)
	}
}

// welcome is what a client is told of a server's parameters, a copy.
func (s *Server) welcome() map[string]string { return maps.Clone(s.parameters) }
