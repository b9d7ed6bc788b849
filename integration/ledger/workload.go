package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Connect opens a connection to the source as a role that may write to the
// workload's tables. It is called again whenever a connection was lost.
type Connect func(ctx context.Context) (*pgx.Conn, error)

// DSN is Connect for a connection string.
func DSN(dsn string) Connect {
	return func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, dsn) }
}

// Stats are what a workload has done.
type Stats struct {
	Committed  int
	RolledBack int          // on purpose or by an error of the server's that is met by going on
	Prepared   int          // of both, those in two phases
	Big        int          // of Committed, those with BigRows rows
	Unknown    int          // of both, those whose end had to be looked up after a connection was lost
	Reconnects int          // connections opened again
	Kinds      map[Kind]int // writes of committed transactions
	LSN        string       // where the source's log ended after the last commit; of Stop alone
}

// acknowledgement is a transaction whose end is known for certain.
type acknowledgement struct {
	id     int64
	writes int
}

// Workload is a set of connections that write. Its methods may be called
// concurrently.
type Workload struct {
	run     *run
	connect Connect
	cancel  context.CancelFunc
	workers sync.WaitGroup
	stop    func() // no new transactions
	stopped chan struct{}

	mu         sync.Mutex
	committed  []acknowledgement
	rolledBack []int64
	stats      Stats
	err        error
}

// run is what the workers of one Start, or one Setup, have in common.
type run struct {
	number   int64
	options  Options
	kinds    []operation
	weights  int
	accounts []int64
}

// worker is one connection that writes. All is used by one goroutine.
type worker struct {
	run      *run
	workload *Workload // nil in Setup
	number   int
	sequence int64
	random   *rand.Rand
	conn     *pgx.Conn
	event    int64 // the last it inserted
	batch    int64 // the last big transaction it committed
}

// graceful is the time that Stop gives transactions, and lookups of their end.
const graceful = time.Minute

// Start begins to write. ctx limits the workload's life; Stop ends it in order.
// A database has one workload at a time: each worker owns rows by its number.
func Start(ctx context.Context, connect Connect, options Options) (*Workload, error) {
	conn, err := connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect the workload: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	options = options.complete()
	r, err := newRun(ctx, conn, options)
	if err == nil {
		err = r.readAccounts(ctx, conn)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Workload{run: r, connect: connect, cancel: cancel, stopped: make(chan struct{})}
	w.stats.Kinds = map[Kind]int{}
	w.stop = sync.OnceFunc(func() { close(w.stopped) })
	for i := range options.Workers {
		worker := r.worker(i + 1)
		worker.workload = w
		w.workers.Go(func() {
			if err := worker.loop(ctx); err != nil {
				w.fail(fmt.Errorf("worker %d of the workload: %w", worker.number, err))
			}
		})
	}
	return w, nil
}

// Stop lets the transactions in flight end, looks up those whose end is not
// known, and waits for the workers. The source must be there, or come back
// within a minute. It may be called again and gives the same.
func (w *Workload) Stop() (Stats, error) {
	w.stop()
	deadline := time.AfterFunc(graceful, w.cancel)
	w.workers.Wait()
	deadline.Stop()
	w.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	lsn, err := w.position(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.LSN = lsn
	return w.copyStats(), errors.Join(w.err, err)
}

// Stats are what was done so far.
func (w *Workload) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.copyStats()
}

// Err is the error that ended a worker, nil as long as all work.
func (w *Workload) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Workload) copyStats() Stats {
	stats := w.stats
	stats.Kinds = maps.Clone(stats.Kinds)
	return stats
}

// position is where the source's log ends.
func (w *Workload) position(ctx context.Context) (lsn string, err error) {
	conn, err := w.connect(ctx)
	if err == nil {
		defer func() { _ = conn.Close(ctx) }()
		err = conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&lsn)
	}
	if err != nil {
		return "", fmt.Errorf("ask for the source's position: %w", err)
	}
	return lsn, nil
}

func (w *Workload) fail(err error) {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// newRun gives numbers to a new run.
func newRun(ctx context.Context, conn *pgx.Conn, options Options) (*run, error) {
	r := &run{options: options}
	var prepared int
	err := conn.QueryRow(ctx, "SELECT nextval('ledger.runs'), current_setting('max_prepared_transactions')::integer").Scan(&r.number, &prepared)
	if err != nil {
		return nil, fmt.Errorf("begin a run of the workload: %w", err)
	}
	if options.PreparedTransactions && prepared < options.Workers {
		return nil, fmt.Errorf("max_prepared_transactions is %d on the source: %d workers cannot prepare transactions", prepared, options.Workers)
	}
	r.kinds, r.weights = chosenKinds(options.Without)
	return r, nil
}

func (r *run) readAccounts(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "SELECT account FROM ledger.accounts ORDER BY abs(account), account")
	if err == nil {
		r.accounts, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err == nil && len(r.accounts) == 0 {
		err = errors.New("there are none; Setup makes them")
	}
	if err != nil {
		return fmt.Errorf("read the ledger's accounts: %w", err)
	}
	return nil
}

func (r *run) worker(number int) *worker {
	return &worker{run: r, number: number, random: newRandom(r.options.Seed, r.number, number)}
}

func (w *worker) transaction(ctx context.Context) *transaction {
	w.sequence++
	return &transaction{
		ctx: ctx, conn: w.conn, random: w.random, worker: w, commit: true,
		id: w.run.number<<40 | int64(w.number)<<30 | w.sequence,
	}
}

// must runs a transaction that nothing disturbs.
func (w *worker) must(ctx context.Context, body func(*transaction) error) error {
	done, err := w.transaction(ctx).run(body)
	if err == nil && done != committed {
		err = errors.New("the transaction was not committed")
	}
	return err
}

// loop runs transactions until the workload is stopped.
func (w *worker) loop(ctx context.Context) error {
	defer func() {
		if w.conn != nil {
			_ = w.conn.Close(context.WithoutCancel(ctx)) // nothing is open in it
		}
	}()
	var pace <-chan time.Time
	if rate := w.run.options.Rate; rate > 0 {
		ticker := time.NewTicker(max(1, time.Duration(float64(time.Second)*float64(w.run.options.Workers)/rate)))
		defer ticker.Stop()
		pace = ticker.C
	}
	for {
		if pace != nil {
			select {
			case <-pace:
			case <-w.workload.stopped:
			}
		}
		select {
		case <-w.workload.stopped:
			return nil
		default:
		}
		if err := w.one(ctx); err != nil {
			return err
		}
	}
}

// one runs one transaction and records its end. An error ends the workload.
func (w *worker) one(ctx context.Context) error {
	if err := w.reconnect(ctx); err != nil {
		return err
	}
	t := w.transaction(ctx)
	body := w.choose(t)
	done, err := t.run(body)
	if err != nil && done == rolledBack && !passes(err) {
		return err
	}
	lookedUp := done == unknown
	if lookedUp {
		if done, err = w.resolve(ctx, t); err != nil {
			return fmt.Errorf("look up the end of transaction %d: %w", t.id, err)
		}
	}
	w.workload.record(t, done, lookedUp)
	return nil
}

// choose decides what the transaction does and how it is to end.
func (w *worker) choose(t *transaction) func(*transaction) error {
	o := w.run.options
	t.commit = w.random.IntN(12) != 0
	if o.PreparedTransactions && w.random.IntN(8) == 0 {
		t.gid = fmt.Sprintf("ledger %d %d %d", w.run.number, w.number, w.sequence)
	}
	if o.BigRows > 0 && w.sequence%int64(o.BigEvery) == int64(w.number*7%o.BigEvery) {
		return func(t *transaction) error { return big(t, o.BigRows) }
	}
	return w.mixed()
}

// record keeps how a transaction ended.
func (w *Workload) record(t *transaction, done outcome, lookedUp bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lookedUp {
		w.stats.Unknown++
	}
	if t.gid != "" {
		w.stats.Prepared++
	}
	if done == rolledBack {
		w.stats.RolledBack++
		w.rolledBack = append(w.rolledBack, t.id)
		return
	}
	w.stats.Committed++
	w.committed = append(w.committed, acknowledgement{t.id, t.writes})
	for _, kind := range t.kinds {
		w.stats.Kinds[Kind(kind)]++
		if kind == string(Big) {
			w.stats.Big++
			t.worker.batch = t.id
		}
	}
}

// passes tells whether an error of the server's is one that an application
// meets by trying again.
func passes(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	switch server.Code {
	case "40001", "40P01", // serialization failure, deadlock
		"55P03", "57014", // lock not available, canceled
		"25006", // a standby, or a source that refuses writes
		"25P02", "25P03":
		return true
	}
	return strings.HasPrefix(server.Code, "57P") || strings.HasPrefix(server.Code, "53") || strings.HasPrefix(server.Code, "08")
}
