package mirror

import (
	"context"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

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
