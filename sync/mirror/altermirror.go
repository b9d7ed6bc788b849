package mirror

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// The settings of a mirror that runs are changed in one transaction with the
// record that its task is to be started anew. What the mirror is to do is not
// touched: whoever is killed in between leaves a mirror that is to run, with the
// settings from before or those from after, and a pgdrover that serves takes it
// up.

// AlterMirror changes the settings of a mirror. Its task, if one runs, is
// started anew with them.
func (m *Manager) AlterMirror(ctx context.Context, name string, change func(*config.Mirror) error) (Started, error) {
	done, err := m.alter(ctx, name, func(r *recorded) error { return altered(&r.Mirror, change) })
	if err != nil || !done.restarts {
		return Started{}, err
	}
	if _, err := m.Wait(ctx, TaskID(done.kept.task.ID), func(string) {}); err != nil {
		return Started{}, err
	}
	return m.goOn(ctx, name)
}

// AskAlter changes the settings of a mirror. Its task, if one runs, is ended for
// a pgdrover that serves to start it anew: Asked.Restarts tells.
func (m *Manager) AskAlter(ctx context.Context, name string, change func(*config.Mirror) error) (Asked, error) {
	done, err := m.alter(ctx, name, func(r *recorded) error { return altered(&r.Mirror, change) })
	return Asked{Mirror: name, after: TaskID(done.kept.task.ID), Restarts: done.restarts}, err
}

// alteration is what has become of a mirror whose settings were changed.
type alteration struct {
	kept     keptMirror
	restarts bool // its task was told to end, to be started anew
}

// alter changes what is recorded of a mirror. What cannot be is refused before
// anything is changed.
func (m *Manager) alter(ctx context.Context, name string, change func(*recorded) error) (alteration, error) {
	for {
		kept, err := m.findMirror(ctx, name)
		if err != nil {
			return alteration{}, err
		}
		done, err := m.alterKept(ctx, kept, change)
		if !errors.Is(err, state.ErrMirrorChanged) {
			return done, err
		}
	}
}

func (m *Manager) alterKept(ctx context.Context, kept keptMirror, change func(*recorded) error) (alteration, error) {
	done := alteration{kept: kept}
	before, err := kept.recorded()
	if err != nil {
		return done, err
	}
	after := before
	if err := change(&after); err != nil {
		return done, err
	}
	differences := slices.DeleteFunc(config.MirrorChanges(before.Mirror, after.Mirror), func(c config.MirrorChange) bool { return c.Key == "autostart" })
	if len(differences) > 0 {
		if err := m.possible(ctx, kept, before.Mirror, &after); err != nil {
			return done, err
		}
	}
	text, err := after.text()
	if err != nil || text == kept.row.Definition {
		return done, err
	}
	err = m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.ChangeDefinition(ctx, conn, kept.row.ID, kept.row.Definition, text); err != nil {
			return err
		}
		if len(differences) == 0 {
			return nil
		}
		if err := state.AddEvents(ctx, conn, kept.row.ID, happened("mirror", "settings changed: "+changesText(differences))); err != nil {
			return err
		}
		if !kept.moves() {
			return nil
		}
		done.restarts, err = state.SetTask(ctx, conn, kept.task.ID, string(Restarting), from(Restarting), nil, false)
		if err != nil || !done.restarts {
			return err
		}
		return state.AskRestart(ctx, conn, kept.task.ID)
	})
	return done, err
}

// moves tells whether a task is at work that goes by the mirror's settings.
func (k keptMirror) moves() bool {
	return k.runs && MirrorState(k.row.Wanted) == MirrorRunning && (strings.HasPrefix(k.task.Type, verbCopyData) || strings.HasPrefix(k.task.Type, verbReplicate))
}

// possible refuses settings with which the mirror could not go on, and notes the
// tables that are others at the destination by them.
func (m *Manager) possible(ctx context.Context, kept keptMirror, before config.Mirror, after *recorded) error {
	mapped, problem := mapping.New(m.config(), after.Mirror)
	if problem != nil {
		return problem
	}
	if kept.moves() {
		if _, _, err := m.checkedCopy(ctx, kept.request(), &after.Mirror); err != nil {
			return err
		}
	}
	old, problem := mapping.New(m.config(), before)
	if problem != nil {
		old = nil // it has been put right, or its databases are sharded in another way now
	}
	return m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := state.Tables(ctx, conn, kept.row.ID)
		if err != nil {
			return err
		}
		after.Remapped = slices.Clone(after.Remapped)
		for _, row := range rows {
			if other, moved := remaps(old, mapped, catalog.Name{Schema: row.Schema, Name: row.Name}); other {
				after.remap(remapped{Schema: row.Schema, Name: row.Name, Moved: moved})
			}
		}
		return nil
	})
}

// remap notes a table once.
func (r *recorded) remap(t remapped) {
	at := slices.IndexFunc(r.Remapped, func(o remapped) bool { return o.table() == t.table() })
	if at < 0 {
		r.Remapped = append(r.Remapped, t)
		return
	}
	r.Remapped[at].Moved = r.Remapped[at].Moved || t.Moved
}

// remaps tells whether a table is another one at the destination by another
// mapping: has it other columns, or moved it to a table of another name.
func remaps(before, after *mapping.Mapping, table catalog.Name) (other, moved bool) {
	from, problem := before.Table(table)
	if problem != nil {
		return true, true
	}
	to, problem := after.Table(table)
	if problem != nil {
		return true, true // it is stopped until it can have a name
	}
	if from.Destination != to.Destination {
		return true, true
	}
	return !from.SameAs(to), false
}

// goOn starts a mirror's task again, if the mirror is still to run and nobody
// was quicker.
func (m *Manager) goOn(ctx context.Context, name string) (Started, error) {
	kept, err := m.findMirror(ctx, name)
	switch {
	case err != nil:
		return Started{}, err
	case MirrorState(kept.row.Wanted) != MirrorRunning:
		return Started{}, nil // somebody lets it rest meanwhile
	case kept.runs:
		return Started{Task: TaskID(kept.task.ID)}, nil
	}
	started, err := m.CopyData(ctx, kept.request())
	if pgerror.Code(err) != pgerror.ObjectInUse {
		return started, err
	}
	if kept, again := m.findMirror(ctx, name); again == nil && kept.runs {
		return Started{Task: TaskID(kept.task.ID)}, nil
	}
	return started, err
}

// takeRemapped lets the tables be copied again that are others at the
// destination since the last task. That they are is forgotten once it is
// recorded that they have to be copied.
func (j *copyData) takeRemapped(ctx context.Context) error {
	if len(j.remapped) == 0 {
		return nil
	}
	for _, t := range j.remapped {
		for _, s := range j.sources {
			if err := j.takeRemappedTable(ctx, tableKey{s.number, t.table()}, t.Moved); err != nil {
				return err
			}
		}
	}
	return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		row, ok, err := state.FindMirror(ctx, conn, j.pair.mirror)
		if err != nil || !ok {
			return err
		}
		now, err := keptMirror{row: row}.recorded()
		if err != nil {
			return err
		}
		now.Remapped = slices.DeleteFunc(now.Remapped, func(t remapped) bool { return slices.Contains(j.remapped, t) })
		text, err := now.text()
		if err != nil {
			return err
		}
		err = state.ChangeDefinition(ctx, conn, row.ID, row.Definition, text)
		if errors.Is(err, state.ErrMirrorChanged) {
			return nil // its settings are being changed again: the next task copies them once more
		}
		return err
	})
}

func (j *copyData) takeRemappedTable(ctx context.Context, key tableKey, moved bool) error {
	row, ok := j.tables.get(key)
	if !ok {
		return nil
	}
	to := TableState(row.State)
	if to != TablePending && to != TableUnpublished {
		to = TablePending
		if err := j.tables.set(ctx, TableResyncing, endResync, key); err != nil || !moved {
			return err
		}
	}
	if !moved {
		return nil
	}
	// As if it never was copied: what the other table holds is not ours to remove.
	return j.tables.set(ctx, to, func(row *state.Table) { row.Attempt = 0 }, key)
}

// altered changes settings, and refuses what is dangerous and not forced.
func altered(definition *config.Mirror, change func(*config.Mirror) error) error {
	if err := change(definition); err != nil {
		return err
	}
	return CheckDrift(*definition)
}
