package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/stream"
)

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
