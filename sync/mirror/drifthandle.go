package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// A table that goes on with columns of other types, or without some, is written
// by a mapping of its own: the mirror's, and what the policy adds to it.

// errAsText ends a pipeline that reads values in binary form when a column has to
// be cast from its text: it is taken up again as text.
var errAsText = errors.New("the stream is read as text from here on, because a column is cast")

// handling is what a policy adds to the mapping of a table.
type handling struct {
	skipped []string
	casts   map[string]string // types at the destination by columns of the source, whatever is lost
	widened map[string]string // likewise, where every value fits
}

func handlingOf(j *drift.Judgement) handling {
	return handling{skipped: j.Skipped, casts: j.Casts, widened: j.Widened}
}

func (h handling) equal(other handling) bool {
	return slices.Equal(h.skipped, other.skipped) && maps.Equal(h.casts, other.casts) && maps.Equal(h.widened, other.widened)
}

// all are the types of columns that may have to be cast.
func (h handling) all() map[string]string {
	if len(h.widened) == 0 {
		return h.casts
	}
	out := maps.Clone(h.widened)
	maps.Copy(out, h.casts)
	return out
}

// handling is what is added to the mapping of a table now.
func (w *driftWatch) handling(table catalog.Name) handling {
	if w == nil {
		return handling{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.tables[table]; t != nil {
		return t.handling
	}
	return handling{}
}

// changedHandling takes over what the newest comparison adds to a table's mapping,
// and has the stream look the table up again if that is something else.
func (w *driftWatch) changedHandling(table catalog.Name) {
	w.mu.Lock()
	t := w.table(table)
	next := handlingOf(&t.judged)
	same := next.equal(t.handling)
	t.handling = next
	w.mu.Unlock()
	if same {
		return
	}
	for _, s := range w.job.sources {
		s.forget(table)
	}
}

// streamMapping is the mapping of a table for its changes: without the columns
// that it does without. Those that are cast are cast by Target where they have to.
func (j *copyData) streamMapping(table catalog.Name) (*mapping.Table, *pgerror.Error) {
	t, problem := j.mapping.Table(table)
	if problem != nil {
		return nil, problem
	}
	return t.With(j.drift.handling(table).skipped, nil), nil
}

// copyMapping is the mapping of a table for its copy: the source casts. A value
// that fits needs no cast: it comes as text.
func (j *copyData) copyMapping(table catalog.Name) (*mapping.Table, *pgerror.Error) {
	t, problem := j.mapping.Table(table)
	if problem != nil {
		return nil, problem
	}
	h := j.drift.handling(table)
	return t.With(h.skipped, h.casts), nil
}

// heldFrom is what a pipeline has to know of a table before it applies changes of
// a relation: out says that they are left out, as the table is stopped or has to
// be stopped here; until is where it is stopped.
type heldFrom struct {
	out   bool
	until stream.LSN
}

func (p *pipeline) heldFrom(ctx context.Context, key tableKey, relation *stream.Relation, at stream.LSN) (heldFrom, error) {
	if p.only != nil {
		return heldFrom{}, nil
	}
	row, _ := p.source.job.tables.get(key)
	if row.LiveLSN != 0 { // another copy is being made: what it meets is compared
		return heldFrom{}, nil
	}
	if isHold(row.Part) {
		return heldFrom{out: at >= row.StoppedLSN, until: row.StoppedLSN}, nil
	}
	if p.follower != nil { // what the source has changed up to here is done
		return heldFrom{}, nil
	}
	stopped, err := p.source.job.drift.hint(ctx, p.source, relation, at)
	return heldFrom{out: stopped}, err
}

// heldAgain stops a table that was to go on with what was kept of it, and ends
// its pipeline: nothing is applied, and everything is still kept.
func (w *driftWatch) heldAgain(ctx context.Context, key tableKey, failure *pgerror.Error) error {
	row, _ := w.job.tables.get(key)
	why := *withWayOut(failure, w.job.pair.mirror, key.table)
	why.Detail = strings.TrimSpace(why.Detail + fmt.Sprintf("\nIts changes since LSN %s are kept by slot %q of the source.", row.SyncLSN, w.sourceOf(key).slotOfPart(row.Part)))
	why.Hint = fmt.Sprintf("When the reason is gone: RETRY MIRROR %s; lets it go on from there. %s", dump.QuoteIdent(w.job.pair.mirror), why.Hint)
	err := w.job.tables.set(ctx, TableStopped, func(t *state.Table) { t.Error, t.StoppedLSN = &why, row.SyncLSN }, key)
	if err != nil {
		return err
	}
	w.mu.Lock()
	t := w.table(key.table)
	t.row.Schema, t.row.Name = key.table.Schema, key.table.Name
	t.row.Stopped, t.failed, t.dirty = true, true, true
	w.mu.Unlock()
	return errHeldAgain
}

// CheckDrift refuses settings of a mirror that are dangerous and not forced.
func CheckDrift(definition config.Mirror) error {
	force := definition.Drift.Force != nil && *definition.Drift.Force
	for _, allowed := range definition.Drift.AllowSchemaDrift {
		if allowed == "none" {
			continue
		}
		if err := (drift.Policy{AllowDrift: []string{allowed}, Force: force}).Check(); err != nil {
			return err
		}
	}
	return nil
}
