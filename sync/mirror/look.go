package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// lookTime bounds a look at one database's state: SHOW must answer while a
// database is down.
const lookTime = 5 * time.Second

// everywhere calls look on every database that may hold state, at the same
// time. Databases without the schema pgdrover are passed over; those that
// cannot be asked become warnings.
func (m *Manager) everywhere(ctx context.Context, look func(context.Context, *pgx.Conn, config.Server) error) []*pgerror.Error {
	var mu sync.Mutex
	var warnings []*pgerror.Error
	var wait sync.WaitGroup
	for _, server := range mirrored(m.config()) {
		wait.Go(func() {
			if err := at(ctx, server, look); err != nil {
				e := *pgerror.From(err)
				e.Message = fmt.Sprintf("cannot tell the tasks kept in %s: %s", connect.Place(server), e.Message)
				mu.Lock()
				warnings = append(warnings, &e)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return warnings
}

func at(ctx context.Context, server config.Server, look func(context.Context, *pgx.Conn, config.Server) error) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := connect.Open(ctx, server, "show")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	there, err := state.Installed(ctx, conn)
	if err != nil || !there {
		return err
	}
	return look(ctx, conn, server)
}

// highest is the highest number of a task that any reachable database knows.
func (m *Manager) highest(ctx context.Context) int64 {
	var mu sync.Mutex
	m.mu.Lock()
	top := int64(m.last)
	m.mu.Unlock()
	m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		id, err := state.MaxTask(ctx, conn)
		mu.Lock()
		defer mu.Unlock()
		top = max(top, id)
		return err
	})
	return top
}

// Tasks tells every task, the newest first. Warnings name the databases whose
// tasks cannot be told.
func (m *Manager) Tasks(ctx context.Context) ([]Task, []*pgerror.Error, error) {
	var mu sync.Mutex
	var out []Task
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		rows, err := state.Tasks(ctx, conn, 0)
		tasks := make([]Task, len(rows))
		for i := range rows {
			tasks[i] = m.fromRow(&rows[i])
		}
		if err == nil {
			err = addData(ctx, conn, rows, tasks)
		}
		mu.Lock()
		defer mu.Unlock()
		out = append(out, tasks...)
		return err
	})
	sortTasks(out)
	return out, warnings, context.Cause(ctx)
}

// Statements tells every recorded statement, with the progress of the index
// builds that run now.
func (m *Manager) Statements(ctx context.Context) ([]StatementRow, []*pgerror.Error, error) {
	var mu sync.Mutex
	var out []StatementRow
	cfg := m.config()
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		rows, err := state.Statements(ctx, conn)
		if err != nil {
			return err
		}
		told := tell(rows)
		err = percents(ctx, cfg, told, rows)
		mu.Lock()
		defer mu.Unlock()
		out = append(out, told...)
		return err
	})
	return out, warnings, context.Cause(ctx)
}

// find looks for the database that holds a task.
func (m *Manager) find(ctx context.Context, id TaskID) (config.Server, Task, error) {
	var mu sync.Mutex
	var servers []config.Server
	var tasks []Task
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		row, ok, err := state.FindTask(ctx, conn, int64(id))
		if err != nil || !ok {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		servers, tasks = append(servers, server), append(tasks, m.fromRow(&row))
		return nil
	})
	if err := context.Cause(ctx); err != nil {
		return config.Server{}, Task{}, err
	}
	switch {
	case len(tasks) == 1:
		return servers[0], tasks[0], nil
	case len(tasks) > 1:
		// Two processes numbered at the same moment in two databases: the one
		// that still runs is meant.
		for i, t := range tasks {
			if !t.State.Ended() {
				return servers[i], t, nil
			}
		}
		return servers[0], tasks[0], nil
	case len(warnings) > 0:
		return config.Server{}, Task{}, pgerror.New(pgerror.UndefinedObject, "task %d was not found, and a database could not be asked", id).
			WithDetail("%s", warnings[0].Message).WithHint("%s", warnings[0].Hint)
	}
	return config.Server{}, Task{}, pgerror.New(pgerror.UndefinedObject, "there is no task %d", id).WithHint("SHOW TASKS; lists them")
}

// patience is how long Watch waits for an announcement before it looks anyway:
// a runner that is killed announces nothing.
const patience = 2 * time.Second

// doubt is how long Watch takes a task of another process for running although
// nobody holds its mirror: after a restart of the destination the process is on
// its way back to it.
const doubt = 6 * time.Second

// watchAttempts is how often Watch tries to reach a lost server again, with
// reopenDelay in between: about as long as the task itself does.
const watchAttempts = 60

// Watch calls tell with a task each time it has changed, until it has ended,
// and gives its last state. It follows tasks of other processes as well.
func (m *Manager) Watch(ctx context.Context, id TaskID, tell func(Task)) (Task, error) {
	server, task, err := m.find(ctx, id)
	for attempt := 1; ; attempt++ {
		if err == nil {
			tell(task)
			err = m.follow(ctx, server, &task, func() {
				attempt = 1
				tell(task)
			})
		}
		switch {
		case err == nil:
			return task, nil
		case ctx.Err() != nil:
			return task, context.Cause(ctx)
		// A task of ours goes on whatever becomes of this connection.
		case !m.runs(id) && !pgerror.IsConnectionLost(err), attempt == watchAttempts:
			return task, err
		}
		timer := time.NewTimer(reopenDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return task, context.Cause(ctx)
		}
		server, task, err = m.find(ctx, id)
	}
}

// follow calls changed each time task has changed, until it has ended.
func (m *Manager) follow(ctx context.Context, server config.Server, task *Task, changed func()) error {
	if task.State.Ended() && task.State != Interrupted {
		return nil
	}
	conn, err := connect.OpenListener(ctx, server, "wait")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := state.Listen(ctx, conn); err != nil {
		return err
	}
	var unheld time.Time // since when nobody was seen to hold the mirror
	for {
		row, ok, err := state.FindTask(ctx, conn, int64(task.ID))
		switch {
		case err != nil:
			return fmt.Errorf("wait for task %d: %w", task.ID, err)
		case !ok:
			return pgerror.New(pgerror.UndefinedObject, "task %d is gone", task.ID).WithHint("SHOW TASKS; lists what there is")
		}
		now := m.fromRow(&row)
		told := []Task{now}
		if err := addData(ctx, conn, []state.Task{row}, told); err != nil {
			return fmt.Errorf("wait for task %d: %w", task.ID, err)
		}
		now = told[0]
		switch {
		case now.State != Interrupted || TaskState(row.State).Ended() || !row.Newest:
			unheld = time.Time{}
			*task = now
			changed()
		case unheld.IsZero():
			unheld = time.Now()
		case time.Since(unheld) > doubt:
			*task = now
			changed()
		}
		if unheld.IsZero() && task.State.Ended() || !unheld.IsZero() && time.Since(unheld) > doubt {
			return nil
		}
		if err := state.Follow(ctx, conn, int64(task.ID), patience); err != nil {
			return err
		}
	}
}

// Wait blocks until a task has ended, and gives it. progress is called with a
// line of text when the task has got on by a tenth, or does something else.
func (m *Manager) Wait(ctx context.Context, id TaskID, progress func(message string)) (Task, error) {
	var last string
	return m.Watch(ctx, id, func(t Task) {
		if line := t.Progress(); line != last && !t.State.Ended() {
			last = line
			progress(line)
		}
	})
}

// StopTask asks a task to stop, whatever process runs it, and returns once it
// is asked: WAIT waits until it has ended.
func (m *Manager) StopTask(ctx context.Context, id TaskID) error {
	server, task, err := m.find(ctx, id)
	if err != nil {
		return err
	}
	if task.State.Ended() {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "task %d is not running: it is %s", id, task.State).WithHint("SHOW TASKS; lists them")
	}
	return at(ctx, server, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		if _, err := state.SetTask(ctx, conn, int64(id), string(Cancelling), from(Cancelling), nil, false); err != nil {
			return err
		}
		return state.AskStop(ctx, conn, int64(id))
	})
}

// Probe connects to a database of the configuration, or to the server of a
// connection string, and tells how long that took.
func (m *Manager) Probe(ctx context.Context, target string) (time.Duration, error) {
	cfg := m.config()
	if _, ok := cfg.Cluster(target); ok {
		all, _, err := servers(cfg, target)
		if err != nil {
			return 0, err
		}
		begin := time.Now()
		conn, err := connect.Open(ctx, all[0], "probe")
		if err != nil {
			return 0, err
		}
		took := time.Since(begin)
		return took, conn.Close(ctx)
	}
	return probeURL(ctx, target)
}

func probeURL(ctx context.Context, target string) (time.Duration, error) {
	cfg, err := pgconn.ParseConfig(target)
	if err != nil {
		// pgconn's error repeats the string, with a password in it.
		return 0, pgerror.New(pgerror.InvalidParameterValue, "the target is neither a database of pgdog.toml nor a connection string").
			WithHint("PROBE 'postgres://user:password@host:5432/database'; or PROBE <database>;")
	}
	begin := time.Now()
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		code := pgerror.Code(err)
		var server *pgconn.PgError
		reason := "no connection"
		if errors.As(err, &server) {
			reason = server.Message
		} else if ctx.Err() != nil {
			reason = "no answer in time"
		}
		return 0, pgerror.New(code, "cannot connect to %s:%d: %s", cfg.Host, cfg.Port, reason)
	}
	took := time.Since(begin)
	return took, conn.Close(ctx)
}

// publicationOf is the publication that the pair's mirror was last synced with,
// "" if it was never synced.
func (m *Manager) publicationOf(ctx context.Context, p *pair) (name string, err error) {
	err = at(ctx, p.destination0, func(ctx context.Context, conn *pgx.Conn, _ config.Server) error {
		name, err = state.PublicationOf(ctx, conn, p.mirror)
		return err
	})
	return name, err
}

// binary chooses the pg_dump that is new enough for both sides, and tells
// whether their majors differ.
func (p *pair) binary(ctx context.Context) (binary dump.Binary, differ bool, err error) {
	var needs []dump.Need
	for _, server := range append([]config.Server{p.source[0]}, p.destination...) {
		conn, err := connect.Open(ctx, server, "preflight")
		if err != nil {
			return dump.Binary{}, false, err
		}
		facts, err := catalog.ReadServer(ctx, conn)
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil {
			return dump.Binary{}, false, err
		}
		needs = append(needs, dump.Need{Major: facts.Major(), Of: connect.Place(server)})
	}
	found, err := dump.Find(ctx, p.pgDump)
	if err != nil {
		return dump.Binary{}, false, err
	}
	for _, need := range needs {
		differ = differ || need.Major != needs[0].Major
	}
	binary, err = dump.Choose(found, needs)
	return binary, differ, err
}
