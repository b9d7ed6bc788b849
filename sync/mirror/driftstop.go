package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// start compares every table before anything is applied.
func (w *driftWatch) start(ctx context.Context) error {
	err := w.job.persist(ctx, func() error {
		w.turn.Lock()
		defer w.turn.Unlock()
		return w.checkAll(ctx)
	})
	w.mu.Lock()
	w.started = true
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("compare the structure of the tables: %w", err)
	}
	return w.flush(ctx)
}

// stopAll stops a table on every shard of the source, as a comparison has found
// that it must not go on. Those that are stopped already are told why.
func (w *driftWatch) stopAll(ctx context.Context, table catalog.Name, j *drift.Judgement) error {
	if j.Verdict == drift.ResyncTable && len(j.Steps) == 0 {
		return w.copyAgain(ctx, table)
	}
	var errs []error
	for _, s := range w.job.sources {
		key := tableKey{s.number, table}
		row, ok := w.job.tables.get(key)
		switch {
		case !ok:
		case TableState(row.State) == TableStopped:
			w.explain(key, row, j)
		case row.Part == "" && (TableState(row.State) == TableStreaming || TableState(row.State) == TableCatchingUp):
			errs = append(errs, w.stopOne(ctx, s, key, j))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		w.again([]catalog.Name{table})
	}
	return err
}

// copyAgain has a table copied whose rows were not in the stream.
func (w *driftWatch) copyAgain(ctx context.Context, table catalog.Name) error {
	for _, s := range w.job.sources {
		key := tableKey{s.number, table}
		if row, ok := w.job.tables.get(key); !ok || row.Part != "" && !isHold(row.Part) || TableState(row.State) == TablePending || TableState(row.State) == TableCopying || TableState(row.State) == TableUnpublished {
			continue
		}
		if err := w.job.tables.set(ctx, TableResyncing, nil, key); err != nil {
			return err
		}
		s.forget(table)
		s.want()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.table(table)
	t.row.Stopped, t.dirty = false, true
	return nil
}

// explain tells a table that is stopped already what is wrong with its structure.
func (w *driftWatch) explain(key tableKey, row state.Table, j *drift.Judgement) {
	w.mu.Lock()
	t := w.table(key.table)
	ours := t.row.Stopped
	if isHold(row.Part) && !ours {
		t.row.Stopped, t.dirty, ours = true, true, true
	}
	w.mu.Unlock()
	e := driftError(j, row.StoppedLSN, w.sourceOf(key).slotOfPart(holdOf(row.Part)))
	if !ours && row.Error != nil { // it was stopped by a change that could not be applied
		kept := *row.Error
		if !strings.Contains(kept.Detail, e.Message) {
			kept.Detail = strings.TrimSpace(kept.Detail + "\n" + upperFirst(e.Message) + "\n" + e.Detail)
		}
		kept.Hint = e.Hint
		e = &kept
	}
	w.job.tables.note(key, func(t *state.Table) { t.Error = e })
}

func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func holdOf(part string) string {
	if isHold(part) {
		return part
	}
	return ""
}

func (w *driftWatch) sourceOf(key tableKey) *sourceShard {
	for _, s := range w.job.sources {
		if s.number == key.shard {
			return s
		}
	}
	return w.job.sources[0]
}

// stopOne stops a table of one shard of the source at a point where everything
// before it is applied on every shard of the destination, and nothing behind it.
func (w *driftWatch) stopOne(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement) error {
	live := s.running()
	w.mu.Lock()
	started := w.started
	w.mu.Unlock()
	if live == nil && started {
		return errNotStreaming
	}
	if live == nil { // nothing is applied yet: where each shard has recorded itself to be
		main := &pipeline{source: s, mirror: w.job.pair.mirror}
		lowest, err := main.lowest(ctx)
		if err != nil {
			return err
		}
		return w.stopAt(ctx, s, key, j, lowest, func(server config.Server) (stream.LSN, error) { return main.recorded(ctx, server) })
	}
	return live.applier.At(ctx, func(at stream.LSN) error {
		if row, ok := w.job.tables.get(key); !ok || TableState(row.State) != TableStreaming && TableState(row.State) != TableCatchingUp {
			return nil // the stream has met it first
		}
		err := w.stopAt(context.WithoutCancel(ctx), s, key, j, at, func(config.Server) (stream.LSN, error) { return at, nil })
		s.forget(key.table)
		return err
	})
}

// stopAt stops a table at a position of the mirror's stream, and keeps its
// changes from there on.
func (w *driftWatch) stopAt(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement, at stream.LSN, positions func(config.Server) (stream.LSN, error)) error {
	if j.NeedsCopy() {
		return w.stopForCopy(ctx, s, key, j)
	}
	part := w.hold(ctx, s, key, positions)
	why := driftError(j, at, s.slotOfPart(part))
	return w.stopped(ctx, s, key, part, why, at)
}

// stopForCopy stops a table that is to be copied again as soon as its structure
// is right: what its older rows hold now was not in the stream.
func (w *driftWatch) stopForCopy(ctx context.Context, s *sourceShard, key tableKey, j *drift.Judgement) error {
	if err := w.stopped(ctx, s, key, "", driftError(j, 0, ""), 0); err != nil {
		return err
	}
	w.job.tables.note(key, func(t *state.Table) { t.StoppedLSN, t.Attempt = 0, max(t.Attempt, 1) })
	return nil
}

// stopped records that a table is stopped because of its structure.
func (w *driftWatch) stopped(ctx context.Context, s *sourceShard, key tableKey, part string, why *pgerror.Error, at stream.LSN) error {
	row, _ := w.job.tables.get(key)
	at = max(at, row.SyncLSN)
	if err := w.job.tables.set(ctx, TableStopped, func(t *state.Table) {
		endResync(t)
		t.Error, t.StoppedLSN, t.Part = why, at, part
	}, key); err != nil {
		return err
	}
	w.mu.Lock()
	t := w.table(key.table)
	t.row.Schema, t.row.Name = key.table.Schema, key.table.Name
	t.row.Stopped, t.row.LSN, t.dirty = true, at, true
	if t.row.Since.IsZero() {
		t.row.Since, t.row.CheckedAt = time.Now(), time.Now()
	}
	w.mu.Unlock()
	w.job.manager.log.Error("a table is stopped", "task", w.job.journal.task, "table", key.table.String(), "shard", key.shard, "lsn", at.String(), "error", why.Message, "detail", why.Detail)
	w.job.manager.metrics.TableStop(w.job.pair.mirror, s.number)
	return w.flush(ctx)
}

// hint is called when the stream has met a relation: in its transaction at at.
// It tells whether the table is stopped there, because the source has changed it
// so that its rows must not be applied as they come. It never waits for turn.
func (w *driftWatch) hint(ctx context.Context, s *sourceShard, relation *stream.Relation, at stream.LSN) (stopped bool, err error) {
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	shape := shapeText(relation)
	w.mu.Lock()
	t := w.table(name)
	known, seen := t.shapes[s.number]
	waits, expected := t.pending != nil, !seen && t.before != nil && expects(t.before, relation)
	w.mu.Unlock()
	if !waits && (expected || seen && known == shape) {
		w.mu.Lock()
		t.shapes[s.number] = shape
		w.mu.Unlock()
		if seen {
			w.ask(name) // something about it has changed, if not its form
		}
		return false, nil
	}
	st := w.structure()
	found, err := st.read(ctx, []catalog.Name{name})
	if err != nil {
		return false, err
	}
	w.mu.Lock()
	before := t.before
	w.mu.Unlock()
	reports := st.judge(found[0], before, behind(relation, found[0]))
	judged := worst(reports)
	w.mu.Lock()
	t.shapes[s.number] = shape
	w.mu.Unlock()
	if !judged.Verdict.Stops() && judged.Verdict != drift.Apply {
		w.mu.Lock()
		t.judged, t.reports = judged, reports
		t.row.Schema, t.row.Name = name.Schema, name.Name
		events := w.allow(t, time.Now()) // the rows behind it are counted
		w.mu.Unlock()
		w.changedHandling(name)
		w.ask(name)
		return false, w.tellEvents(ctx, events)
	}
	now := time.Now()
	w.mu.Lock()
	goodAt := t.goodAt
	news := t.record(reports, found[0], now)
	t.pending = nil
	w.mu.Unlock()
	for _, d := range news {
		w.job.manager.metrics.SchemaMismatch(w.job.pair.mirror, string(d.Kind))
	}
	if !goodAt.IsZero() {
		w.job.manager.metrics.SchemaDetect(w.job.pair.mirror, now.Sub(goodAt))
	}
	key := tableKey{s.number, name}
	if err := w.stopAt(ctx, s, key, &judged, at, func(config.Server) (stream.LSN, error) { return at, nil }); err != nil {
		return false, err
	}
	w.ask(name)
	return true, nil
}

// expects tells whether a relation of the stream has the form of a description,
// as far as the stream tells it.
func expects(d *catalog.TableDescription, r *stream.Relation) bool {
	if d.OID != r.OID {
		return false
	}
	for _, c := range r.Columns {
		if there := d.Column(c.Name); there == nil || there.Modifier != c.Modifier {
			return false
		}
	}
	sent := 0
	for i := range d.Columns {
		c := &d.Columns[i]
		if slices.ContainsFunc(r.Columns, func(o stream.RelationColumn) bool { return o.Name == c.Name }) {
			sent++
		} else if c.Generated == "" && len(d.Publications) > 0 && !slices.ContainsFunc(d.Publications, func(p catalog.PublicationDescription) bool {
			return len(p.Columns) > 0 && !slices.Contains(p.Columns, c.Name)
		}) {
			return false // it had been sent
		}
	}
	return sent == len(r.Columns)
}

// shapeText is what a relation of the stream says of itself.
func shapeText(r *stream.Relation) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d %c", r.OID, r.Identity)
	for _, c := range r.Columns {
		fmt.Fprintf(&out, "\x00%s %d %d %t", c.Name, c.Type, c.Modifier, c.Key)
	}
	return out.String()
}

// behind leaves out differences that the source has made behind a relation of
// the stream: they count when the stream comes to them.
func behind(relation *stream.Relation, r *tableStructure) func(*drift.TableDifference) bool {
	has := func(source string) bool {
		return slices.ContainsFunc(relation.Columns, func(c stream.RelationColumn) bool { return c.Name == source })
	}
	return func(d *drift.TableDifference) bool {
		switch d.Kind {
		case drift.AddedNull, drift.AddedConstant, drift.AddedVolatile, drift.AddedIdentity, drift.AddedNotNull, drift.AddedDomain, drift.RenamedColumn:
			return !has(d.Column)
		case drift.RemovedColumn, drift.RemovedRequired:
			for _, c := range relation.Columns {
				there := c.Name
				if r.mapping != nil {
					there, _ = r.mapping.Column(c.Name)
				}
				if there == d.Column {
					return true
				}
			}
		case drift.TypeUnsafe, drift.TypeWarn, drift.TypeSafe:
			if r.source == nil {
				return false
			}
			now := r.source.Column(d.Column)
			for _, c := range relation.Columns {
				if c.Name == d.Column && now != nil && c.Modifier != now.Modifier {
					return true
				}
			}
		}
		return false
	}
}

// refused looks at a table of which a change could not be applied. If its
// structure may be why, the change and those behind it are kept, and the error
// tells both. part is what keeps them, "" for nothing. everywhere says that no
// shard of the destination has had the change yet.
func (w *driftWatch) refused(ctx context.Context, s *sourceShard, key tableKey, failure *pgerror.Error, at stream.LSN, everywhere bool) (why *pgerror.Error, part string) {
	st := w.structure()
	found, err := st.read(ctx, []catalog.Name{key.table})
	if err != nil {
		w.ask(key.table)
		return nil, ""
	}
	w.mu.Lock()
	t := w.table(key.table)
	before := t.before
	w.mu.Unlock()
	reports := st.judge(found[0], before, nil)
	judged := worst(reports)
	if !slices.ContainsFunc(judged.Differences, func(d drift.Judged) bool { return d.Verdict.Stops() }) {
		return nil, ""
	}
	w.mu.Lock()
	t.record(reports, found[0], time.Now())
	// If it went on by an escape hatch, only a command or a change lets it try again.
	t.failed = !judged.Verdict.Stops() && judged.Verdict != drift.Apply
	w.mu.Unlock()
	if everywhere || len(w.job.pair.destination) == 1 { // else others may be ahead of the one that refuses
		part = w.hold(ctx, s, key, func(config.Server) (stream.LSN, error) { return at, nil })
	}
	if len(judged.Ways) == 0 { // it went on by an option: what resolves it is what would without
		strict := st.judgeStrict(found[0], before)
		judged.Ways, judged.Differences, judged.Reason = strict.Ways, strict.Differences, strict.Reason
	}
	e := driftError(&judged, at, s.slotOfPart(part))
	out := *failure
	out.Detail = strings.TrimSpace(out.Detail + "\n" + upperFirst(e.Message) + "\n" + e.Detail)
	out.Hint = e.Hint
	w.ask(key.table)
	return &out, part
}

// judgeStrict judges without the options that let a table go on.
func (s *structure) judgeStrict(t *tableStructure, before *catalog.TableDescription) drift.Judgement {
	plain := *t
	plain.policy = drift.Policy{Mirror: t.policy.Mirror, Drift: config.Drift{Validation: "strict"}}
	return worst(s.judge(&plain, before, nil))
}

// beforeCopy compares tables that are about to be copied, and stops those into
// which it must not be copied; the others are what is compared with from here on.
// What the policy lets run is run first.
func (w *driftWatch) beforeCopy(ctx context.Context, s *sourceShard, keys []tableKey, through func(*sourceShard, catalog.Name)) ([]tableKey, error) {
	if len(keys) == 0 {
		return keys, nil
	}
	st := w.structure()
	found, err := st.read(ctx, tableNames(keys))
	if err != nil {
		return nil, err
	}
	var out []tableKey
	for i, r := range found {
		reports := st.judge(r, nil, madeLater)
		judged := worst(reports)
		if judged.Verdict == drift.Apply || judged.Verdict == drift.ResyncTable && len(judged.Steps) > 0 {
			if err := w.alterForCopy(ctx, st, r, reports); err != nil {
				return nil, err
			}
			again, err := st.read(ctx, []catalog.Name{r.table})
			if err != nil {
				return nil, err
			}
			r = again[0]
			reports = st.judge(r, nil, madeLater)
			judged = worst(reports)
		}
		w.mu.Lock()
		t := w.table(r.table)
		t.judged, t.reports, t.pending, t.failed, t.stamps = judged, reports, nil, false, nil
		clear(t.shapes)
		t.row.Schema, t.row.Name = r.table.Schema, r.table.Name
		t.row.Verdict, t.row.Reason, t.row.Judgements = string(judged.Verdict), judged.Reason, reportsText(reports)
		now := time.Now()
		t.row.Since, t.row.CheckedAt, t.row.Stopped = now, now, false
		if r.source != nil {
			t.setBefore(r.source)
		}
		t.handling = handlingOf(&judged)
		events := w.allow(t, now)
		w.mu.Unlock()
		if err := w.tellEvents(ctx, events); err != nil {
			return nil, err
		}
		if !judged.Verdict.Stops() || r.there[0] == nil || r.source == nil { // what is not there is for the copy to tell
			out = append(out, keys[i])
			continue
		}
		if err := w.stopped(ctx, s, keys[i], "", driftError(&judged, 0, ""), 0); err != nil {
			return nil, err
		}
		w.job.tables.note(keys[i], func(t *state.Table) { t.StoppedLSN = 0 })
		through(s, keys[i].table)
	}
	return out, w.flush(ctx)
}

// madeLater leaves out what is built when the rows are in: nobody has to approve
// that a table gets its key.
func madeLater(d *drift.TableDifference) bool {
	switch d.Kind {
	case drift.PrimaryKeyMissing, drift.UniqueSource, drift.IndexMissing, drift.ExclusionSource, drift.ForeignKeyMissing, drift.TriggerMissing, drift.IdentityIndex:
		return true
	}
	return false
}

// beforeJoin is beforeCopy of tables that join a stream: those that are stopped
// are missing no more.
func (w *driftWatch) beforeJoin(ctx context.Context, parts []*part) error {
	for _, p := range parts {
		missing := namesOf(p.source.missing())
		var live []tableKey // those that go on while they are copied beside
		keys := slices.DeleteFunc(slices.Clone(p.keys), func(key tableKey) bool {
			row, _ := w.job.tables.get(key)
			if row.LiveLSN != 0 {
				live = append(live, key)
			}
			return row.LiveLSN != 0 || !missing[key.table]
		})
		if err := w.renew(ctx, live); err != nil {
			return err
		}
		if _, err := w.beforeCopy(ctx, p.source, keys, func(*sourceShard, catalog.Name) {}); err != nil {
			return err
		}
	}
	return nil
}

// renew reads what tables that are copied beside are to be compared with when
// their copy has taken their place.
func (w *driftWatch) renew(ctx context.Context, keys []tableKey) error {
	if len(keys) == 0 {
		return nil
	}
	found, err := w.structure().read(ctx, tableNames(keys))
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range found {
		w.table(r.table).next = r.source
	}
	return nil
}

// handles looks at a table whose rows do not fit as they come, and tells whether
// the policy says how they are to be written instead.
func (w *driftWatch) handles(ctx context.Context, relation *stream.Relation) bool {
	name := catalog.Name{Schema: relation.Schema, Name: relation.Name}
	st := w.structure()
	found, err := st.read(ctx, []catalog.Name{name})
	if err != nil {
		return false // the table stops; what is asked for then compares it again
	}
	w.mu.Lock()
	t := w.table(name)
	before := t.before
	w.mu.Unlock()
	reports := st.judge(found[0], before, behind(relation, found[0]))
	judged := worst(reports)
	if judged.Verdict.Stops() || judged.Verdict == drift.Apply {
		return false
	}
	w.mu.Lock()
	next := handlingOf(&judged)
	changed := !next.equal(t.handling)
	t.handling, t.judged, t.reports = next, judged, reports
	t.row.Schema, t.row.Name = name.Schema, name.Name
	events := w.allow(t, time.Now()) // the rows behind it are counted
	w.mu.Unlock()
	if err := w.tellEvents(ctx, events); err != nil {
		w.job.manager.log.Warn("an event could not be recorded", "task", w.job.journal.task, "error", err)
	}
	return changed
}
