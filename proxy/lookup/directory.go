// Package lookup knows the users that servers know and users.toml does not: by
// auth_query, a statement that finds the hash of a password, and by
// passthrough_auth, a login with the client's own password.
//
// Whoever asks is not logged in yet. So what strangers can make it do is bounded:
// a few connections to each database at a time, one for all who ask the same,
// answers remembered for a while (that there is no such user, too), and as many
// of them as there is room for.
package lookup

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

const (
	// maxUsers is how many users are remembered of each kind.
	maxUsers = 10_000
	// maxQuestions is how many connections ask one database at a time.
	maxQuestions = 4
	// unknownTTL is the longest that a user who does not exist is remembered.
	unknownTTL = 10 * time.Second
	// doubtAfter is the age from which an answer is asked for again when the
	// password does not fit it.
	doubtAfter = 2 * time.Second
)

// Options are what a Directory needs.
type Options struct {
	Authenticator *auth.Authenticator // makes the accounts
	Now           func() time.Time    // time.Now if nil
}

// Directory asks servers about users and remembers what they say. It is safe
// for concurrent use; Close ends its goroutines.
type Directory struct {
	options Options
	base    context.Context // of questions: those who ask come and go
	stop    context.CancelFunc
	asking  sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	epoch     int // counts Forget
	found     *recentlyUsed[who, answer]
	accepted  *recentlyUsed[who, password]
	questions map[question]*flight
	places    map[string]chan struct{} // by database: maxQuestions at a time
	tls       map[tlsFiles]*dial.TLS
}

// who is a user of a database of a configuration. What was asked under another
// configuration, perhaps of another server, says nothing of this one.
type who struct {
	user, database string
	under          *config.Config
}

// answer is what auth_query has said.
type answer struct {
	account *auth.Account // nil: there is no such user
	at      time.Time
}

// password is one that a server has accepted.
type password struct {
	credentials auth.Credentials
	digest      [sha256.Size]byte
	at          time.Time // when the server has said so last
}

// New makes a Directory that knows nobody.
func New(o Options) *Directory {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Directory{options: o, places: make(map[string]chan struct{}), questions: make(map[question]*flight)}
	d.base, d.stop = context.WithCancel(context.Background())
	d.forget()
	return d
}

// Forget forgets every answer, and has the files of TLS read again. Questions
// that are under way are answered, but not remembered.
func (d *Directory) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
}

func (d *Directory) forget() {
	d.epoch++
	d.found, d.accepted = newRecentlyUsed[who, answer](maxUsers), newRecentlyUsed[who, password](maxUsers)
	d.tls = make(map[tlsFiles]*dial.TLS)
}

// Close ends questions that are under way and waits for them.
func (d *Directory) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	d.asking.Wait()
}

// Len is how many users are remembered.
func (d *Directory) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found.len() + d.accepted.len()
}

// primary is what questions go to, that of shard 0; false if the database has
// none.
func primary(c *config.Config, database string) (config.Database, bool) {
	cluster, ok := c.Cluster(database)
	if !ok || len(cluster.Shards) == 0 || cluster.Shards[0].Primary.Host == "" {
		return config.Database{}, false
	}
	return cluster.Shards[0].Primary, true
}

// tlsFiles are what a dial.TLS is made from.
type tlsFiles struct {
	mode                config.TLSVerify
	host, ca, cert, key string
}

// loadTLS reads the files of TLS towards a server once until Forget.
func (d *Directory) loadTLS(s config.Server) (*dial.TLS, error) {
	files := tlsFiles{s.TLSVerify, s.Host, s.CAFile, s.CertFile, s.KeyFile}
	d.mu.Lock()
	known, epoch := d.tls[files], d.epoch
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	loaded, err := dial.LoadTLS(s)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.epoch == epoch {
		d.tls[files] = loaded // as many as the configuration has servers
	}
	return loaded, nil
}
