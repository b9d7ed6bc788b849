package pool

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/dial"
)

// Options are what Pools are made of.
type Options struct {
	Config func() *config.Config // the configuration in force
	Logger *slog.Logger

	// MaxWaiting is how many clients of one pool may wait for a server connection;
	// 0 is DefaultMaxWaiting. Further ones are refused.
	MaxWaiting int
}

// DefaultMaxWaiting bounds the queue of a pool where Options do not.
const DefaultMaxWaiting = 10_000

// tick is how often connections are looked through for what is too old, dead or
// missing.
const tick = 250 * time.Millisecond

// Pools are the pools of all databases. They are safe for concurrent use.
type Pools struct {
	options Options
	log     *slog.Logger
	base    time.Time // what instants count from

	ctx  context.Context // ends with Run
	stop context.CancelCauseFunc
	work sync.WaitGroup // goroutines of go_

	mu        sync.Mutex // guards what follows; taken before a pool's, never after
	closed    bool
	databases map[string]*database
	gate      *gate // of all databases
	lastID    int64 // of targets
	dialers   map[string]chan struct{}
	tls       map[tlsKey]*dial.TLS
}

// New makes the pools of a configuration. They have no connections yet: a pool
// begins with its first client.
func New(o Options) *Pools {
	o.MaxWaiting = cmp.Or(o.MaxWaiting, DefaultMaxWaiting)
	p := &Pools{
		options: o, log: o.Logger, base: time.Now(),
		databases: map[string]*database{}, dialers: map[string]chan struct{}{}, tls: map[tlsKey]*dial.TLS{},
	}
	p.gate = newGate()
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	return p
}

// errStopped is what clients get once Run has ended.
var errStopped = pgerror.New(pgerror.CannotConnectNow, "the proxy is shutting down")

// Run looks after the pools until ctx ends: replaces what is old, keeps the
// smallest sizes, checks health, watches roles. Then it closes all connections
// and returns when every goroutine of the package has ended. Clients that are
// still there get errors. Pools that Run has left are not used again.
func (p *Pools) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.maintain()
		case <-ctx.Done():
			p.close()
			return nil
		}
	}
}

// close ends everything.
func (p *Pools) close() {
	p.mu.Lock()
	p.closed = true
	all := p.poolsLocked(nil)
	p.mu.Unlock()
	p.stop(errStopped)
	for _, pool := range all {
		pool.close(errStopped)
	}
	p.work.Wait()
}

// start runs f in a goroutine that Run waits for; false after Run's end. f ends
// soon after its context does.
func (p *Pools) start(f func(ctx context.Context)) bool {
	if p.ctx.Err() != nil {
		return false
	}
	p.work.Add(1)
	go func() {
		defer p.work.Done()
		f(p.ctx)
	}()
	return true
}

// now is an instant: nanoseconds of the monotonic clock since base.
func (p *Pools) now() int64 { return int64(time.Since(p.base)) }

// at gives an instant as a time.
func (p *Pools) at(instant int64) time.Time { return p.base.Add(time.Duration(instant)) }

// poolsLocked gives the pools of databases for which of says so, all for nil, in
// a fixed order. p.mu is held.
func (p *Pools) poolsLocked(of func(*database) bool) []*pool {
	var out []*pool
	for _, d := range p.databases {
		if of == nil || of(d) {
			for _, pool := range d.pools {
				out = append(out, pool)
			}
		}
	}
	slices.SortFunc(out, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(a.key.Database, b.key.Database), cmp.Compare(a.key.User, b.key.User))
	})
	return out
}

// Attach makes a client of a user and a database. It waits for nothing: a server
// is connected to at the first Checkout. Refusals are *pgerror.Error, ready to be
// sent to the application.
func (p *Pools) Attach(_ context.Context, l Login) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errStopped
	}
	d, err := p.database(l.Database)
	if err != nil {
		return nil, err
	}
	if err := d.admits(); err != nil {
		return nil, err
	}
	pool, err := d.poolOf(l)
	if err != nil {
		return nil, err
	}
	return pool.attach(l)
}

// database finds a database, or makes it from the configuration. p.mu is held.
func (p *Pools) database(name string) (*database, error) {
	if d, known := p.databases[name]; known {
		return d, nil
	}
	cluster, known := p.options.Config().Cluster(name)
	if !known {
		return nil, pgerror.New(pgerror.InvalidCatalogName, "database %q does not exist", name)
	}
	d, err := newDatabase(p, cluster)
	if err != nil {
		return nil, err
	}
	p.databases[name] = d
	return d, nil
}

// sorted gives the databases by name. p.mu is held.
func (p *Pools) sorted() []*database {
	return slices.SortedFunc(maps.Values(p.databases), func(a, b *database) int { return cmp.Compare(a.name, b.name) })
}
