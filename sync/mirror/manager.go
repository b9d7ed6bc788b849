package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// ErrShutdown is the cause with which tasks end when their process does.
var ErrShutdown = errors.New("pgdrover was shut down")

// Options are what a Manager needs.
type Options struct {
	Config  func() *config.Config // the configuration in force; read anew for every command
	Version string
	Logger  *slog.Logger
	Metrics metrics.Data // nil for none
}

// Manager starts tasks, stops them and tells about them. It owns the goroutines
// of the tasks it has started: Close stops them and waits for them. It is safe
// for concurrent use.
type Manager struct {
	config     func() *config.Config
	runner     string
	log        *slog.Logger
	metrics    metrics.Data
	tasks      sync.WaitGroup
	mu         sync.Mutex
	closing    bool
	running    map[TaskID]context.CancelCauseFunc
	mirrors    map[TaskID]string // of the tasks that run
	supervises bool              // see Supervise
	pokes      chan struct{}     // pokes Supervise: there is a mirror to take up

	configuring sync.Mutex
	taken       map[string]*config.Config // the configuration that a mirror was brought in line with
	last        TaskID
}

// NewManager makes a Manager. It starts nothing.
func NewManager(opts Options) *Manager {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	if opts.Metrics == nil {
		opts.Metrics = metrics.Discard
	}
	return &Manager{
		config: opts.Config, log: opts.Logger, metrics: opts.Metrics, running: map[TaskID]context.CancelCauseFunc{}, mirrors: map[TaskID]string{},
		pokes: make(chan struct{}, 1), taken: map[string]*config.Config{}, runner: fmt.Sprintf("pgdrover %s on %s, process %d", opts.Version, host, os.Getpid()),
	}
}

// Close stops every task that this Manager has started and waits until they
// have ended and are recorded as interrupted, or until ctx ends.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closing = true
	for _, stop := range m.running {
		stop(ErrShutdown)
	}
	m.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last task: each has been told to
		m.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.running) == 0 {
			return nil
		}
		return fmt.Errorf("wait for tasks to end: %w", context.Cause(ctx))
	}
}

// SchemaSync starts a phase. It checks both sides first: findings that forbid
// the work are its error, and nothing was changed; the others are warnings.
// The task then runs on its own, whatever becomes of ctx.
func (m *Manager) SchemaSync(ctx context.Context, req SchemaSyncRequest) (Started, error) {
	pair, err := resolve(m.config(), req.Source, req.Destination)
	if err != nil {
		return Started{}, err
	}
	if err := pair.settle(ctx); err != nil {
		return Started{}, err
	}
	found := pair.preflight(req).Run(ctx)
	if err := context.Cause(ctx); err != nil {
		return Started{}, err
	}
	if err := refuse(found.Errors); err != nil {
		return Started{Warnings: found.Warnings}, err
	}
	job := &schemaSync{manager: m, pair: pair, req: req, binary: found.Binary, quoteAll: found.MajorsDiffer}
	id, err := m.begin(ctx, pair, job)
	if err != nil {
		return Started{}, err
	}
	return Started{Task: id, Warnings: found.Warnings}, nil
}

// job is the work of a task.
type job interface {
	typeName() string
	mirror() state.Mirror
	subtasks() []state.Subtask
	// begun gives the job its journal, which the Manager closes.
	begun(journal *journal)
	// run does the work and returns when nothing of it is in flight any more.
	run(ctx context.Context) error
	record() *journal
	phase() string // of the statements that the journal records
	// request is what a mirror is taken up by again, as JSON; "" for work that
	// ends by itself.
	request() string
}

// recordStart records what is to happen to a mirror from now on.
func (m *Manager) recordStart(ctx context.Context, conn *pgx.Conn, mirrorID int32, job job) error {
	request := job.request()
	if request == "" {
		return nil
	}
	if err := state.SetRequest(ctx, conn, mirrorID, request); err != nil {
		return err
	}
	if err := state.SetWanted(ctx, conn, mirrorID, string(MirrorRunning), stateTexts(StartMirror.From())...); err != nil {
		return err
	}
	return state.AddEvents(ctx, conn, mirrorID, happened("mirror", string(MirrorRunning)))
}

// recordEnd records how a task has ended, and what becomes of its mirror.
func (m *Manager) recordEnd(ctx context.Context, conn *pgx.Conn, id TaskID, job job, to TaskState, failure *pgerror.Error) error {
	mirrorID := job.record().mirrorID
	event := happened("task", job.typeName()+" "+string(to))
	event.TaskID, event.Error = int64(id), failure
	switch to {
	case Failed:
		event.Level = "error"
	case Cancelled, Interrupted:
		event.Level = "warning"
	}
	if err := state.AddEvents(ctx, conn, mirrorID, event); err != nil {
		return err
	}
	if job.request() == "" {
		return nil
	}
	m.mu.Lock()
	again := m.supervises
	m.mu.Unlock()
	next := mirrorStops
	switch {
	case to == Failed:
		next = mirrorFails
	case to == Cancelled && errors.Is(failure, state.ErrRestartAsked):
		return nil // whoever has asked starts it, or else who looks for mirrors to take up
	case to == Interrupted && (again || errors.Is(failure, state.ErrLeaseLost)):
		return nil // it is taken up again
	}
	for from, after := range mirrorTransitions[next] {
		if err := state.SetWanted(ctx, conn, mirrorID, string(after), string(from)); err != nil && !errors.Is(err, state.ErrMirrorChanged) {
			return err
		}
	}
	return nil
}

// begin takes the mirror's lease, records the task and starts it.
func (m *Manager) begin(ctx context.Context, p *pair, job job) (id TaskID, err error) {
	server := p.destination0
	open := func(ctx context.Context) (*pgx.Conn, error) { return connect.Open(ctx, server, "task") }
	conn, err := open(ctx)
	if err != nil {
		return 0, err
	}
	listener, err := connect.OpenListener(ctx, server, "lease")
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return 0, err
	}
	defer func() {
		if err != nil { // else the task owns both
			_ = listener.Close(context.WithoutCancel(ctx))
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	if err := state.Install(ctx, conn); err != nil {
		return 0, fmt.Errorf("prepare the schema pgdrover on %s: %w", connect.Place(server), err)
	}
	row, err := state.EnsureMirror(ctx, conn, job.mirror())
	if err != nil {
		return 0, err
	}
	lease, ok, err := state.Acquire(ctx, listener, row.ID, func(ctx context.Context) (*pgx.Conn, error) {
		return connect.OpenListener(ctx, server, "lease")
	})
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, busy(ctx, conn, row)
	}
	if err := m.recordStart(ctx, conn, row.ID, job); err != nil {
		return 0, err
	}
	number, err := state.StartTask(ctx, conn, row.ID, job.typeName(), m.runner, job.subtasks(), m.highest(ctx))
	if err != nil {
		return 0, err
	}
	job.begun(newJournal(open, conn, row.ID, number, job.phase()))
	return TaskID(number), m.launch(ctx, TaskID(number), lease, listener, job)
}

// launch starts the goroutine of a task.
func (m *Manager) launch(ctx context.Context, id TaskID, lease *state.Lease, listener *pgx.Conn, job job) error {
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		stop(ErrShutdown)
		return pgerror.New(pgerror.AdminShutdown, "%w", ErrShutdown)
	}
	m.running[id], m.mirrors[id], m.last = stop, job.mirror().Name, id
	m.log.Info("task started", "task", int64(id), "type", job.typeName())
	m.metrics.TaskStart(job.typeName())
	lease.Hold(ctx, listener, int64(id), stop)
	m.tasks.Go(func() {
		defer stop(nil)
		err := job.run(ctx)
		m.end(ctx, id, job, err)
		lease.Release()
		m.mu.Lock()
		delete(m.running, id)
		delete(m.mirrors, id)
		m.mu.Unlock()
		if errors.Is(context.Cause(ctx), state.ErrRestartAsked) {
			m.lookNow()
		}
	})
	return nil
}

// runs tells whether this Manager runs the task.
func (m *Manager) runs(id TaskID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.running[id]
	return ok
}

// end records how a task has ended.
func (m *Manager) end(ctx context.Context, id TaskID, job job, err error) {
	to, failure := outcome(ctx, err)
	journal := job.record()
	journal.flush(ctx)
	write := journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		to, failure, err = recordOutcome(ctx, conn, id, to, failure)
		return err
	})
	told := journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error { return m.recordEnd(ctx, conn, id, job, to, failure) })
	recorded := errors.Join(write, told, journal.close(ctx))
	m.metrics.TaskEnd(job.typeName(), string(to))
	if failure != nil && to == Failed {
		m.metrics.Error(job.mirror().Name, failure.Code)
	}
	log := m.log.With("task", int64(id), "type", job.typeName())
	switch {
	case recorded != nil:
		log.Error("task ended but could not be recorded", "state", string(to), "error", recorded)
	case to == Cancelled || to == Interrupted:
		log.Warn("task ended", "state", string(to), "cause", failure.Message)
	case failure != nil:
		log.Error("task ended", "state", string(to), "sqlstate", failure.Code, "error", failure.Message)
	default:
		log.Info("task ended", "state", string(to), "failed_statements", journal.failed())
	}
}

// recordOutcome records how a task has ended, and gives that: a task that was to
// be started anew, and that STOP_TASK has met since, was stopped.
func recordOutcome(ctx context.Context, conn *pgx.Conn, id TaskID, to TaskState, failure *pgerror.Error) (TaskState, *pgerror.Error, error) {
	if failure != nil && errors.Is(failure, state.ErrRestartAsked) {
		ok, err := state.SetTask(ctx, conn, int64(id), string(to), []string{string(Restarting)}, failure, true)
		if err != nil || ok {
			return to, failure, err
		}
		instead := stopped(state.ErrStopAsked)
		if ok, err = state.SetTask(ctx, conn, int64(id), string(to), []string{string(Cancelling)}, instead, true); ok {
			failure = instead
		}
		return to, failure, err
	}
	_, err := state.SetTask(ctx, conn, int64(id), string(to), from(to), failure, true)
	return to, failure, err
}

// stopped is the error of a task that was asked to end.
func stopped(cause error) *pgerror.Error {
	if errors.Is(cause, state.ErrRestartAsked) {
		return pgerror.New(pgerror.QueryCanceled, "%w", cause).WithHint("the mirror's settings were changed: SHOW TASKS; tells the task that goes on with them")
	}
	return pgerror.New(pgerror.QueryCanceled, "%w", cause).WithHint("run the same command again: it goes on with what is missing")
}

// outcome is the state, and the error to show, with which a task ends.
func outcome(ctx context.Context, err error) (TaskState, *pgerror.Error) {
	switch {
	case err == nil:
		return Finished, nil
	case errors.Is(context.Cause(ctx), state.ErrStopAsked):
		return Cancelled, stopped(state.ErrStopAsked)
	case errors.Is(context.Cause(ctx), state.ErrRestartAsked):
		return Cancelled, stopped(state.ErrRestartAsked)
	case errors.Is(context.Cause(ctx), ErrShutdown):
		return Interrupted, pgerror.New(pgerror.AdminShutdown, "%w", ErrShutdown).
			WithHint("run the same command again: it goes on with what is missing")
	case errors.Is(context.Cause(ctx), state.ErrLeaseLost):
		return Interrupted, pgerror.New(pgerror.ObjectInUse, "%w", context.Cause(ctx)).WithHint("SHOW TASKS; tells who works on the mirror now")
	}
	return Failed, pgerror.From(err)
}

// from lists the states from which the table allows to.
func from(to TaskState) []string {
	var out []string
	for _, s := range TaskStates() {
		if _, err := s.To(to); err == nil {
			out = append(out, string(s))
		}
	}
	return out
}

// busy refuses a second task of a mirror and says who runs the first.
func busy(ctx context.Context, conn *pgx.Conn, row state.Mirror) error {
	holder, err := state.Holder(ctx, conn, row.ID)
	if err != nil {
		return err
	}
	e := pgerror.New(pgerror.ObjectInUse, "mirror %q is being worked on", row.Name).WithHint("SHOW TASKS; tells its tasks")
	task, ok, err := state.RunningTask(ctx, conn, row.ID)
	if err != nil {
		return err
	}
	if !ok {
		return e.WithDetail("its lease is held by %s", holder)
	}
	return e.WithDetail("task %d, %s, is run by %s (%s) since %s", task.ID, task.Type, task.Runner, holder, task.StartedAt.UTC().Format("2006-01-02 15:04:05 UTC")).
		WithHint("WAIT %d; waits until it ends, STOP_TASK %d; stops it", task.ID, task.ID)
}

// SchemaPlan gives what a phase would run, shard by shard, and runs nothing.
func (m *Manager) SchemaPlan(ctx context.Context, req SchemaSyncRequest) ([]schema.Statement, []*pgerror.Error, error) {
	job, warnings, err := m.look(ctx, req)
	if err != nil {
		return nil, warnings, err
	}
	plans, err := job.plans(ctx)
	if err != nil {
		return nil, warnings, err
	}
	var out []schema.Statement
	for _, p := range plans {
		for _, s := range p.Statements {
			switch s.Outcome {
			case schema.ToRun:
				out = append(out, *s)
			case schema.Differs:
				warnings = append(warnings, s.Err)
			}
		}
	}
	return out, append(warnings, leftOut(plans)...), nil
}

// look prepares a job that only reads.
func (m *Manager) look(ctx context.Context, req SchemaSyncRequest) (*schemaSync, []*pgerror.Error, error) {
	pair, err := resolve(m.config(), req.Source, req.Destination)
	if err != nil {
		return nil, nil, err
	}
	if err := pair.settle(ctx); err != nil {
		return nil, nil, err
	}
	check := pair.preflight(req)
	found := check.Run(ctx)
	if err := context.Cause(ctx); err != nil {
		return nil, nil, err
	}
	if err := refuse(found.Errors); err != nil {
		return nil, found.Warnings, err
	}
	return &schemaSync{manager: m, pair: pair, req: req, binary: found.Binary, quoteAll: found.MajorsDiffer}, found.Warnings, nil
}

// SchemaDiff compares the source with every shard of the destination, entry by
// entry.
func (m *Manager) SchemaDiff(ctx context.Context, source, destination string) ([]drift.Difference, []*pgerror.Error, error) {
	pair, err := resolve(m.config(), source, destination)
	if err != nil {
		return nil, nil, err
	}
	if err := pair.settle(ctx); err != nil {
		return nil, nil, err
	}
	publication, err := m.publicationOf(ctx, pair)
	if err != nil {
		return nil, nil, err
	}
	job := &schemaSync{manager: m, pair: pair, req: SchemaSyncRequest{Source: source, Destination: destination, Publication: publication}}
	if job.binary, job.quoteAll, err = pair.binary(ctx); err != nil {
		return nil, nil, err
	}
	return job.differences(ctx)
}
