package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// driftWatch compares the structure of a mirror's tables with their sources'
// while its task works on it, and stops those that must not go on: at the start,
// around copies, when the stream hints at a change, on an interval, and after
// errors of the applier. A table that it stops is held (drifthold.go): a slot of
// its own keeps its changes, so that it goes on from there when its structure is
// right.
//
// What the destination's owner has changed counts at once. What the source's has
// changed counts from its place in the stream on, which lies before the end of
// the source's log when it was seen: a table is stopped when the stream has
// arrived there, or at the first row that has the new form, whichever is first.
//
// run, runLater and serve are goroutines of replicate, and end with it.
type driftWatch struct {
	job  *copyData
	poke chan struct{} // something is to be looked at before the interval ends

	// turn is had by who changes what is compared: a check, a command's statements,
	// a table that goes on. It is never waited for while a barrier is held.
	turn sync.Mutex

	// altering is had by who runs statements on tables that stream, however long
	// that takes: a command, or runLater. It is taken before turn.
	altering sync.Mutex

	mu      sync.Mutex
	tables  map[catalog.Name]*tableDrift
	asked   map[catalog.Name]bool // tables to look at next; nil: none
	busy    map[catalog.Name]bool // tables a command alters now
	holds   map[string]tableKey   // slots that keep changes, by their part's name
	config  *config.Config        // that of the newest full comparison
	lastAll time.Time             // when it was
	number  int                   // of holds that were made

	started     bool      // streams have begun
	lookedHolds time.Time // when it was looked how much is kept
}

func newDriftWatch(j *copyData) *driftWatch {
	return &driftWatch{
		job: j, poke: make(chan struct{}, 1), tables: map[catalog.Name]*tableDrift{}, asked: map[catalog.Name]bool{}, busy: map[catalog.Name]bool{},
		holds: map[string]tableKey{},
	}
}

// load reads what earlier tasks have found.
func (w *driftWatch) load(ctx context.Context) error {
	var rows []state.Drift
	var allowances []state.Allowance
	err := w.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if rows, err = state.Drifts(ctx, conn, w.job.journal.mirrorID); err != nil {
			return err
		}
		allowances, err = state.Allowances(ctx, conn, w.job.journal.mirrorID)
		return err
	})
	if err != nil {
		return err
	}
	known, err := knownDrifts(rows)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, k := range known {
		w.table(name).knownDrift = k
	}
	for _, a := range allowances {
		w.table(catalog.Name{Schema: a.Schema, Name: a.Name}).allowed[a.Option] = &allowance{Allowance: a}
	}
	return nil
}

// table finds what is known of a table. The caller has mu.
func (w *driftWatch) table(name catalog.Name) *tableDrift {
	t := w.tables[name]
	if t == nil {
		t = &tableDrift{shapes: map[int]string{}, allowed: map[string]*allowance{}, kinds: nil}
		w.tables[name] = t
	}
	return t
}

// structure is what compares, under the configuration that is in force now.
func (w *driftWatch) structure() *structure {
	j := w.job
	return &structure{config: j.manager.config(), definition: j.definition, pair: j.pair, mapping: j.mapping}
}

// driftInterval is how often what waits for its position, commands and tables
// that are held are looked at.
const driftInterval = time.Second

// run looks at the tables until ctx ends.
func (w *driftWatch) run(ctx context.Context) error {
	return again(ctx, driftInterval, w.poke, w.look, w.failed)
}

// failed tells that tables could not be compared. They go on: what they were
// compared with last is what is known.
func (w *driftWatch) failed(err error) {
	if errors.Is(err, errNotStreaming) {
		return
	}
	w.job.manager.metrics.SchemaValidation(w.job.pair.mirror, "failed")
	w.job.manager.log.Warn("the structure of tables could not be compared; it is tried again", "task", w.job.journal.task, "error", err)
}

// look does what is due.
func (w *driftWatch) look(ctx context.Context) error {
	w.turn.Lock()
	defer w.turn.Unlock()
	if due := w.due(); len(due) > 0 {
		if err := w.check(ctx, due, true); err != nil {
			w.again(due)
			return err
		}
	}
	if w.fullDue() {
		if err := w.checkAll(ctx); err != nil {
			return err
		}
	}
	return errors.Join(w.migrateDue(ctx), w.rejoinDue(ctx), w.tidyHolds(ctx), w.flush(ctx))
}

// due takes the tables that were asked for, and those whose position has come.
func (w *driftWatch) due() []catalog.Name {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []catalog.Name
	for name := range w.asked {
		out = append(out, name)
	}
	clear(w.asked)
	for name, t := range w.tables {
		if t.pending != nil && w.arrived(t.pending.at) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return slices.DeleteFunc(out, func(n catalog.Name) bool { return w.busy[n] })
}

// arrived tells whether the stream of every shard has passed a position.
func (w *driftWatch) arrived(at []stream.LSN) bool {
	for i, s := range w.job.sources {
		if i < len(at) && s.applied() < at[i] {
			return false
		}
	}
	return true
}

// again has tables looked at later.
func (w *driftWatch) again(names []catalog.Name) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		w.asked[name] = true
	}
}

// ask has tables looked at soon.
func (w *driftWatch) ask(names ...catalog.Name) {
	w.again(names)
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// fullDue tells whether every table is to be compared.
func (w *driftWatch) fullDue() bool {
	cfg := w.job.manager.config()
	interval := cfg.DriftOf(w.job.definition).Interval
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.config != cfg || interval > 0 && time.Since(w.lastAll) >= interval
}

// checkAll compares every table whose stamps have changed, or all of them when
// the policy has.
func (w *driftWatch) checkAll(ctx context.Context) error {
	cfg := w.job.manager.config()
	w.mu.Lock()
	force := w.config != cfg
	w.mu.Unlock()
	if err := w.check(ctx, w.followed(), force); err != nil {
		return err
	}
	w.mu.Lock()
	w.config, w.lastAll = cfg, time.Now()
	w.mu.Unlock()
	return nil
}

// followed are the tables that are compared: published, and not waiting for a
// copy.
func (w *driftWatch) followed() []catalog.Name {
	var out []catalog.Name
	for _, s := range w.job.sources {
		for _, key := range w.job.tables.in(s.number, TableStreaming, TableCatchingUp, TableStopped) {
			if s.carries(key.table) && !slices.Contains(out, key.table) {
				out = append(out, key.table)
			}
		}
	}
	return out
}

// check compares tables and does what follows. The caller has turn. force: those
// whose stamps have not changed too.
func (w *driftWatch) check(ctx context.Context, names []catalog.Name, force bool) error {
	if len(names) == 0 {
		return nil
	}
	s := w.structure()
	stamps, err := s.stamps(ctx, names)
	if err != nil {
		return err
	}
	now := time.Now()
	w.mu.Lock()
	changed := slices.DeleteFunc(slices.Clone(names), func(n catalog.Name) bool {
		t := w.table(n)
		same := !force && t.stamps != nil && slices.Equal(t.stamps, stamps[n])
		if same && !t.judged.Would.Stops() {
			t.goodAt = now
		}
		return same || w.busy[n]
	})
	w.mu.Unlock()
	var found []*tableStructure
	if len(changed) > 0 {
		if found, err = s.read(ctx, changed); err != nil {
			return err
		}
	}
	var ends []stream.LSN
	if len(found) > 0 {
		if ends, err = s.sourceEnds(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, r := range found {
		errs = append(errs, w.took(ctx, s, r, stamps[r.table], ends, now))
	}
	w.tellResult(names)
	return errors.Join(errs...)
}

// took does what follows from the comparison of one table.
func (w *driftWatch) took(ctx context.Context, s *structure, r *tableStructure, stamp stamped, ends []stream.LSN, now time.Time) error {
	w.mu.Lock()
	t := w.table(r.table)
	before := t.before
	w.mu.Unlock()
	reports := s.judge(r, before, nil)
	first := worst(reports)
	w.mu.Lock()
	sourceIs := fingerprint(r.source)
	// Whose change it is: the source is as it was when the destination was right,
	// or the stream has passed the place where it was changed.
	byHand := before != nil && sourceIs == fingerprint(before)
	counts := byHand || t.pending != nil && w.arrived(t.pending.at) && (t.pending.source == sourceIs || t.pending.rounds >= mostRounds)
	// What waits already need not be planned a second time.
	made := first.Would == drift.Apply && t.row.After != ""
	acts := (first.Would.Stops() || first.Would == drift.Apply) && !made
	if acts && !counts && !w.isStopped(r.table) {
		rounds := 0
		if t.pending != nil {
			rounds = t.pending.rounds + 1
		}
		t.pending = &pendingDrift{at: ends, source: sourceIs, rounds: rounds}
		t.stamps = stamp
		w.mu.Unlock()
		return nil
	}
	t.pending = nil
	goodAt := t.goodAt
	news := t.record(reports, r, now)
	t.stamps = stamp
	judged := t.judged
	if !judged.Would.Stops() {
		t.goodAt = now
	}
	events := w.allow(t, now)
	w.mu.Unlock()
	for _, d := range news {
		w.job.manager.metrics.SchemaMismatch(w.job.pair.mirror, string(d.Kind))
	}
	w.changedHandling(r.table)
	events = append(events, w.differencesFound(r.table, &judged, news)...)
	if err := w.tellEvents(ctx, events); err != nil {
		return err
	}
	if !judged.Verdict.Stops() && judged.Verdict != drift.Apply || made {
		return nil
	}
	if !goodAt.IsZero() && len(news) > 0 {
		w.job.manager.metrics.SchemaDetect(w.job.pair.mirror, now.Sub(goodAt))
	}
	return w.stopAll(ctx, r.table, &judged)
}

// madeAs notes that all that the source has altered of a table is made on the
// destination.
func (w *driftWatch) madeAs(name catalog.Name, after *catalog.TableDescription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.table(name)
	t.row.Schema, t.row.Name = name.Schema, name.Name
	t.made(after)
}

// mostRounds bounds how often a source that changes all the time puts a stop
// off.
const mostRounds = 3

// isStopped tells whether the table is applied nowhere.
func (w *driftWatch) isStopped(table catalog.Name) bool {
	for _, s := range w.job.sources {
		row, ok := w.job.tables.get(tableKey{s.number, table})
		if ok && TableState(row.State) != TableStopped {
			return false
		}
	}
	return true
}

// differencesFound are events of what was found and does not stop the table.
func (w *driftWatch) differencesFound(table catalog.Name, j *drift.Judgement, news []drift.Judged) []state.Event {
	if len(news) == 0 || j.Verdict.Stops() || j.Verdict == drift.Apply {
		return nil // the table's stop tells it
	}
	event := w.event("info", table, fmt.Sprintf("%d differences of structure: %s", len(news), j.Verdict))
	if j.Would.Stops() {
		event.Level = "warning"
	}
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%s goes on, and is not as its source: %s", table, j.Reason)
	for i, d := range news {
		if i > 0 {
			e.Detail += "\n"
		}
		e.Detail += d.Sides()
	}
	event.Error = e
	return []state.Event{event}
}

func (w *driftWatch) event(level string, table catalog.Name, message string) state.Event {
	return state.Event{At: time.Now(), Level: level, Kind: "drift", TaskID: w.job.journal.task, Shard: -1, Schema: table.Schema, Name: table.Name, Message: message}
}

func (w *driftWatch) tellEvents(ctx context.Context, events []state.Event) error {
	if len(events) == 0 {
		return nil
	}
	return w.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, w.job.journal.mirrorID, events...)
	})
}

// flush records what has changed.
func (w *driftWatch) flush(ctx context.Context) error {
	w.mu.Lock()
	var rows []state.Drift
	var allowances []state.Allowance
	for name, t := range w.tables {
		if t.dirty {
			rows = append(rows, t.row)
			t.dirty = false
		}
		for _, a := range t.allowed {
			if a.dirty {
				a.Schema, a.Name = name.Schema, name.Name
				allowances = append(allowances, a.Allowance)
				a.dirty = false
			}
		}
	}
	w.mu.Unlock()
	if len(rows)+len(allowances) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b state.Drift) int { return compareNames(a.Schema, a.Name, b.Schema, b.Name) })
	slices.SortFunc(allowances, func(a, b state.Allowance) int { return compareNames(a.Schema, a.Name, b.Schema, b.Name) })
	err := w.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error {
			if err := state.PutDrift(ctx, conn, w.job.journal.mirrorID, rows...); err != nil {
				return err
			}
			return state.PutAllowances(ctx, conn, w.job.journal.mirrorID, allowances...)
		})
	})
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, r := range rows {
			w.table(catalog.Name{Schema: r.Schema, Name: r.Name}).dirty = true
		}
		for _, a := range allowances {
			if kept := w.table(catalog.Name{Schema: a.Schema, Name: a.Name}).allowed[a.Option]; kept != nil {
				kept.dirty = true
			}
		}
	}
	return err
}
