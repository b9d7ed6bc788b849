package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// A mirror that [[mirrors]] has is kept with its entry as it was last taken
// over. What is other in the file since then is taken over when the file is
// read: at the start and by RELOAD, so that two pgdrovers with different files do
// not take turns. What was altered by command and not in the file stays as it
// was altered. A change by which tables would have to be copied again, or that
// makes another mirror of it, is told with the command that does it, and so is
// an entry that is gone: a file never empties a table, and never ends a mirror.

// TakeConfiguration brings mirrors in line with [[mirrors]], and tells what was
// done, as SQLSTATE 00000, and what was not, with what does it.
func (m *Manager) TakeConfiguration(ctx context.Context) []*pgerror.Error {
	m.configuring.Lock()
	defer m.configuring.Unlock()
	var out []*pgerror.Error
	cfg := m.config()
	for _, definition := range cfg.Mirrors {
		findings, err := m.configured(ctx, definition)
		if err != nil {
			findings = append(findings, pgerror.From(err))
		} else {
			m.taken[definition.Name] = cfg
		}
		out = append(out, findings...)
	}
	return append(out, m.entriesGone(ctx)...)
}

// createConfigured is TakeConfiguration for what has not been taken over since
// the configuration is in force, and makes mirrors that are not there. What it
// finds is logged, once as long as it is the same.
func (m *Manager) createConfigured(ctx context.Context, attempts map[string]*attempt) {
	m.configuring.Lock()
	defer m.configuring.Unlock()
	cfg := m.config()
	for _, definition := range cfg.Mirrors {
		a := attempts["config "+definition.Name]
		if a == nil {
			a = &attempt{}
			attempts["config "+definition.Name] = a
		}
		if time.Now().Before(a.after) {
			continue
		}
		findings, err := m.configured(ctx, definition)
		if err != nil && ctx.Err() == nil {
			a.delay = min(max(2*a.delay, superviseInterval), longestDelay)
			a.after = time.Now().Add(a.delay)
			m.tellOnce(a, definition.Name, err)
			continue
		}
		m.taken[definition.Name] = cfg
		a.after, a.delay, a.told = time.Time{}, 0, ""
		m.logFindings(definition.Name, findings)
	}
	if m.taken[""] != cfg {
		m.logFindings("", m.entriesGone(ctx))
	}
}

func (m *Manager) logFindings(mirror string, findings []*pgerror.Error) {
	for _, f := range findings {
		if f.Code == successful {
			m.log.Info("mirror and its entry of [[mirrors]]", "mirror", mirror, "what", f.Message)
		} else {
			m.log.Warn("mirror and its entry of [[mirrors]]", "mirror", mirror, "what", f.Message, "detail", f.Detail, "hint", f.Hint)
		}
	}
}

// successful is the SQLSTATE of what is told and is no warning.
const successful = "00000"

// configured makes the mirror of an entry, or brings the one that is there in
// line with it.
func (m *Manager) configured(ctx context.Context, definition config.Mirror) (findings []*pgerror.Error, err error) {
	kept, err := m.findMirror(ctx, definition.Name)
	switch {
	case pgerror.Code(err) == pgerror.UndefinedObject:
		if err := m.createEntry(ctx, definition); err != nil {
			return nil, err
		}
		findings = append(findings, pgerror.New(successful, "mirror %q is made, as [[mirrors]] has it", definition.Name))
		if kept, err = m.findMirror(ctx, definition.Name); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case m.taken[definition.Name] != m.config():
		if findings, err = m.takeEntry(ctx, definition); err != nil {
			return nil, err
		}
	}
	if !definition.Autostart || MirrorState(kept.row.Wanted) != MirrorCreated {
		return findings, nil
	}
	return findings, m.recordMirror(ctx, kept, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.SetWanted(ctx, conn, kept.row.ID, string(MirrorRunning), string(MirrorCreated)); err != nil {
			return err
		}
		return state.AddEvents(ctx, conn, kept.row.ID, happened("mirror", string(MirrorRunning)))
	})
}

func (m *Manager) createEntry(ctx context.Context, definition config.Mirror) error {
	pair, err := resolve(m.config(), definition.Source, definition.Destination)
	if err != nil {
		return err
	}
	return m.createMirror(ctx, pair, recorded{Mirror: definition, Entry: &definition})
}

// takeEntry changes what is recorded of a mirror as its entry has changed since
// it was taken over.
func (m *Manager) takeEntry(ctx context.Context, definition config.Mirror) ([]*pgerror.Error, error) {
	var left, taken []config.MirrorChange
	back := false
	done, err := m.alter(ctx, definition.Name, func(r *recorded) error {
		left, taken = nil, nil
		back, r.Gone = r.Gone, false
		differences := config.MirrorChanges(r.Mirror, definition)
		if len(differences) == 0 {
			r.Entry = &definition
			return nil
		}
		if r.Entry == nil { // it was made by command: nobody knows which of the two is meant
			left = differences
			return nil
		}
		entry := *r.Entry
		for _, c := range config.MirrorChanges(entry, definition) {
			at := slices.IndexFunc(differences, func(d config.MirrorChange) bool { return d.Key == c.Key })
			switch {
			case at < 0: // it was altered by command already
			case differences[at].Kind == config.ChangesWork:
				differences[at].Apply(&r.Mirror)
				taken = append(taken, differences[at])
			default:
				left = append(left, differences[at])
				continue
			}
			c.Apply(&entry)
		}
		r.Entry = &entry
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change mirror %q as [[mirrors]] has changed: %w", definition.Name, err)
	}
	var findings []*pgerror.Error
	if back {
		findings = append(findings, pgerror.New(successful, "mirror %q is in [[mirrors]] again", definition.Name))
	}
	if len(taken) > 0 {
		text := "mirror %q is altered as [[mirrors]] has changed: %s"
		if done.restarts {
			text += "; its task is started anew"
		}
		findings = append(findings, pgerror.New(successful, text, definition.Name, changesText(taken)))
	}
	return append(findings, notTaken(definition, left)...), nil
}

// notTaken tells of changes in a file that are not made, and what makes them.
func notTaken(definition config.Mirror, left []config.MirrorChange) []*pgerror.Error {
	var place, rest []config.MirrorChange
	rows := false
	for _, c := range left {
		if c.Kind == config.ChangesPlace {
			place = append(place, c)
			continue
		}
		rest, rows = append(rest, c), rows || c.Kind == config.ChangesRows
	}
	quoted := dump.QuoteIdent(definition.Name)
	var out []*pgerror.Error
	if len(place) > 0 {
		out = append(out, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q is between others than its entry of [[mirrors]] says: %s", definition.Name, changesText(place)).
			WithDetail("The mirror goes on as it was made.").
			WithHint("give the entry another name for a mirror of its own, or DROP MIRROR %s; lets it be made anew, and its rows be copied", quoted))
	}
	if len(rest) > 0 {
		e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "mirror %q differs from its entry of [[mirrors]], and is left as it is: %s", definition.Name, changesText(rest)).
			WithHint("%s makes it what the file says", config.AlterMirror(definition.Name, rest))
		if rows {
			e = e.WithDetail("Tables that are others at the destination have to be copied again, which a file alone does not do.")
		}
		out = append(out, e)
	}
	return out
}

func changesText(changes []config.MirrorChange) string {
	texts := make([]string, len(changes))
	for i, c := range changes {
		texts[i] = fmt.Sprintf("%s %s -> %s", c.Key, orNone(c.Old), orNone(c.New))
	}
	return strings.Join(texts, ", ")
}

func orNone(text string) string {
	if text == "" {
		return "(nothing)"
	}
	return text
}

// entriesGone tells of mirrors whose entry is in the file no more, and remembers
// that it was told.
func (m *Manager) entriesGone(ctx context.Context) []*pgerror.Error {
	cfg := m.config()
	var mu sync.Mutex
	var names []string
	warnings := m.everywhere(ctx, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		rows, err := state.Mirrors(ctx, conn)
		for _, row := range rows {
			r, broken := keptMirror{server: server, row: row}.recorded()
			if _, there := cfg.Mirror(row.Name); broken == nil && !there && r.Entry != nil && !r.Gone {
				mu.Lock()
				names = append(names, row.Name)
				mu.Unlock()
			}
		}
		return err
	})
	slices.Sort(names)
	var out []*pgerror.Error
	failed := len(warnings) > 0
	for _, name := range names {
		if _, err := m.alter(ctx, name, func(r *recorded) error { r.Gone = true; return nil }); err != nil {
			out, failed = append(out, pgerror.From(err)), true
			continue
		}
		out = append(out, pgerror.New("01000", "mirror %q is in [[mirrors]] no more, and stays as it is", name).
			WithHint("DROP MIRROR %s; ends it", dump.QuoteIdent(name)))
	}
	if !failed {
		m.taken[""] = cfg // which is no mirror's name
	}
	return out
}

// entryText says how a mirror stands to [[mirrors]]; "" if it never was there.
func entryText(cfg *config.Config, row state.Mirror) string {
	r, err := keptMirror{row: row}.recorded()
	definition, there := cfg.Mirror(row.Name)
	switch {
	case err != nil:
		return ""
	case !there && r.Entry == nil:
		return ""
	case !there:
		return "gone"
	}
	differences := config.MirrorChanges(r.Mirror, definition)
	if len(differences) == 0 {
		return "same"
	}
	keys := make([]string, len(differences))
	for i, d := range differences {
		keys[i] = d.Key
	}
	return "differs: " + strings.Join(keys, ", ")
}
