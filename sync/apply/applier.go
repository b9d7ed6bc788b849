package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// Source gives the transactions of one source shard in commit order.
// *stream.Reader is one.
type Source interface {
	// Next waits for a transaction or a mark. If ctx ends first nothing is lost:
	// the next call gives what this one would have given.
	Next(ctx context.Context) (*stream.Transaction, error)
	// TryNext gives what is there already.
	TryNext() (*stream.Transaction, bool)
	// Confirm says that everything before lsn is safe at the destination.
	Confirm(lsn stream.LSN)
}

// Tables tells how the changes of each table are applied, and keeps what was
// stopped. Its methods are called by one goroutine at a time.
type Tables interface {
	// Find gives the target of a relation, nil to leave its changes out because
	// the table is stopped, not mirrored or being copied. It is called once for
	// each shape of a relation, and again after Forget. An error that is not a
	// lost connection ends Run. at is the FinalLSN of the transaction whose change
	// has met the relation first.
	Find(ctx context.Context, relation *stream.Relation, at stream.LSN) (*Target, error)
	// Stop records durably that nothing of the table is applied from the
	// transaction whose commit record is at at on. It is called before the group
	// that leaves the table out commits; an error ends Run.
	Stop(ctx context.Context, table catalog.Name, failure *pgerror.Error, at stream.LSN, xid uint32) error
}

// Options are the parts of an Applier. The zero values of numbers and durations
// mean their defaults.
type Options struct {
	Mirror       string
	SourceShard  int
	Destinations []config.Server // by shard
	Tables       Tables
	Steps        Steps // nil for none

	// Destination gives what the destination calls a table of the source that is one
	// of the mirror's, whether or not its changes are applied here. Any goroutine may
	// call it; nil knows of none.
	Destination func(source catalog.Name) (name catalog.Name, ok bool)

	GroupRows  int   // changes of one group or chunk at most; 10,000
	GroupBytes int64 // bytes of their tuples at most, unless a single row has more; 8 MiB

	RetryMinDelay    time.Duration // after a first failure, doubled each time; 100 ms
	RetryMaxDelay    time.Duration // 10 s
	RetryMaxAttempts int           // in a row without success; 0 for ever
	StopGrace        time.Duration // for the group in flight when Run is told to end; then it is cancelled; 10 s

	MarkInterval time.Duration // how old the recorded position may get while nothing is applied; 5 s
	MarkBytes    int64         // or how far behind; 16 MiB

	Logger   *slog.Logger // nil for none
	Observer Observer
}

// ErrRedeliver means that a destination has come back without transactions that
// it had committed but not flushed: they are behind the slot's confirmed
// position, so that reading the stream again from there loses nothing.
var ErrRedeliver = errors.New("the destination lost transactions that were not flushed: the stream must be read again from the confirmed position")

// errGrace ends what has not ended in StopGrace.
var errGrace = errors.New("told to stop, but the destination does not answer")

// Applier applies the transactions of one source shard. Run owns its
// goroutines: the dispatcher is Run's own, each destination shard has a worker
// with an executor and a writer, all of which have ended when Run returns.
type Applier struct {
	options  Options
	log      *slog.Logger
	resolver *resolver
	stops    *stops
	workers  []*worker      // of this Run
	stats    []*workerStats // by shard
	barriers chan *barrier
	asking   atomic.Int32 // callers of At
	confirms confirms
	running  sync.Mutex

	met map[*stream.Relation]bool // relations that Steps knows; the dispatcher's

	exactOnly bool // for tests: nothing is folded

	mu      sync.Mutex
	waiting error // of the dispatcher: Find cannot be answered
	closed  chan struct{}
}

// New makes an Applier that does nothing until Run.
func New(options Options) *Applier {
	options.setDefaults()
	a := &Applier{options: options, log: options.Logger, barriers: make(chan *barrier)}
	a.stops = &stops{tables: options.Tables, log: a.log, observer: &a.options.Observer}
	a.resolver = newResolver(a)
	for range options.Destinations {
		a.stats = append(a.stats, &workerStats{})
	}
	return a
}

func (o *Options) setDefaults() {
	setDefault(&o.GroupRows, 10_000)
	setDefault(&o.GroupBytes, 8<<20)
	setDefault(&o.RetryMinDelay, 100*time.Millisecond)
	setDefault(&o.RetryMaxDelay, 10*time.Second)
	setDefault(&o.StopGrace, 10*time.Second)
	setDefault(&o.MarkInterval, 5*time.Second)
	setDefault(&o.MarkBytes, 16<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](value *T, standard T) {
	var zero T
	if *value == zero {
		*value = standard
	}
}

// Run applies what source gives until ctx ends, which is no error: the group in
// flight is then finished, the position recorded and flushed on every shard
// that can be reached, and confirmed. If source fails, what it gave before is
// applied first. Other errors are final: the caller decides what to do, and may
// call Run again with a source that begins at the confirmed position or before.
func (a *Applier) Run(ctx context.Context, source Source) error {
	if !a.running.TryLock() {
		return errors.New("this applier is running already")
	}
	defer a.running.Unlock()
	if len(a.stats) == 0 {
		return errors.New("there is no destination to apply to")
	}
	a.confirms.begin(source, len(a.stats))
	a.met = map[*stream.Relation]bool{}
	a.workers = nil
	for shard := range a.stats {
		a.workers = append(a.workers, newWorker(a, shard))
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	closed := make(chan struct{})
	a.mu.Lock()
	a.closed = closed
	a.mu.Unlock()
	defer close(closed)

	var all sync.WaitGroup
	for _, w := range a.workers {
		all.Go(func() {
			if err := w.run(runCtx); err != nil && !errors.Is(err, errGrace) {
				cancel(fmt.Errorf("apply to %s: %w", w.place, err))
			}
			w.queue.close()
		})
	}
	stopWatching := context.AfterFunc(ctx, func() {
		for _, w := range a.workers {
			w.queue.end(true)
		}
		grace := time.AfterFunc(a.options.StopGrace, func() { cancel(errGrace) })
		context.AfterFunc(runCtx, func() { grace.Stop() })
	})
	err := a.dispatch(ctx, runCtx, source)
	for _, w := range a.workers {
		w.queue.end(ctx.Err() != nil)
	}
	all.Wait()
	stopWatching()
	if cause := context.Cause(runCtx); cause != nil && !errors.Is(cause, errGrace) {
		return cause
	}
	if ctx.Err() != nil {
		a.tidyCarried(ctx)
	}
	return err
}

// Forget has the relation with this OID looked up again from the next
// transaction on. It is safe for concurrent use.
func (a *Applier) Forget(oid uint32) { a.resolver.forget(oid) }
