package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// knownDrift is what is recorded of one table's structure.
type knownDrift struct {
	row    state.Drift
	before *catalog.TableDescription // the source's table as it was when the destination was right
}

// recordedDrift reads what is recorded of a mirror's tables.
func recordedDrift(ctx context.Context, kept keptMirror) (map[catalog.Name]knownDrift, error) {
	conn, err := connect.Open(ctx, kept.server, "show")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := state.Drifts(ctx, conn, kept.row.ID)
	if err != nil {
		return nil, err
	}
	return knownDrifts(rows)
}

func knownDrifts(rows []state.Drift) (map[catalog.Name]knownDrift, error) {
	out := make(map[catalog.Name]knownDrift, len(rows))
	for _, row := range rows {
		known := knownDrift{row: row}
		if row.Before != "" {
			var err error
			if known.before, err = catalog.ParseDescription([]byte(row.Before)); err != nil {
				return nil, err
			}
		}
		out[catalog.Name{Schema: row.Schema, Name: row.Name}] = known
	}
	return out, nil
}

// tableDrift is what the running task knows of one table's structure.
type tableDrift struct {
	knownDrift
	judged  drift.Judgement // of all shards together
	stamps  stamped         // of the newest comparison; nil: there was none
	kinds   map[drift.Kind]bool
	goodAt  time.Time             // of the newest comparison that did not stop it
	pending *pendingDrift         // a stop, or change, that waits for its position in the stream
	shapes  map[int]string        // of the relation in the stream of each shard of the source
	allowed map[string]*allowance // by option
	failed  bool                  // it could not go on though its structure is right: only a command tries again
	dirty   bool

	next      *catalog.TableDescription // what before will be when the copy that is made beside is in
	handling  handling
	reports   []TableReport // of the newest comparison
	notBefore time.Time     // no attempt to let it go on before
	promises  bool          // what it waits for is of a change that is being made
}

// pendingDrift is something that the source has changed, which counts from a
// position in its log on.
type pendingDrift struct {
	at     []stream.LSN // by shard of the source
	source string       // fingerprint of the source's table then
	rounds int
}

// allowance is an escape hatch that lasts, or has lasted.
type allowance struct {
	state.Allowance
	inserts, updates bool // which rows it costs
	dirty            bool
}

// level is what metrics tell of the table.
func (t *tableDrift) level(stopped bool) metrics.SchemaLevel {
	switch {
	case stopped || t.judged.Verdict.Stops():
		return metrics.SchemaBlocked
	case slices.ContainsFunc(slices.Collect(maps.Values(t.allowed)), func(a *allowance) bool { return a.Until == nil }):
		return metrics.SchemaAllowed
	case t.judged.Verdict == drift.OK:
		return metrics.SchemaEqual
	}
	return metrics.SchemaDiffers
}

// worstKind is the kind of the difference that decides.
func worstKind(j *drift.Judgement) string {
	for _, d := range j.Differences {
		if d.Final == j.Would {
			return string(d.Kind)
		}
	}
	return "unknown"
}

// record notes what a comparison has found. It tells what is new of it.
func (t *tableDrift) record(reports []TableReport, r *tableStructure, now time.Time) (found []drift.Judged) {
	t.judged, t.reports = worst(reports), reports
	if t.failed && !slices.ContainsFunc(t.judged.Differences, func(d drift.Judged) bool { return d.Verdict.Stops() }) {
		t.failed = false
	}
	kinds := map[drift.Kind]bool{}
	for _, report := range reports {
		for _, d := range report.Differences {
			if d.Verdict == drift.OK || kinds[d.Kind] {
				continue
			}
			kinds[d.Kind] = true
			if !t.kinds[d.Kind] {
				found = append(found, d)
			}
		}
	}
	t.kinds = kinds
	verdict := string(t.judged.Verdict)
	if t.row.Verdict != verdict || t.row.Reason != t.judged.Reason {
		t.row.Since = now
	}
	t.row.Schema, t.row.Name = r.table.Schema, r.table.Name
	t.row.Verdict, t.row.Reason, t.row.CheckedAt = verdict, t.judged.Reason, now
	t.row.Judgements = reportsText(reports)
	t.advance(reports, r)
	t.dirty = true
	return found
}

// advance takes the source as it is for what it was when the destination was
// right, unless that would forget what has to be decided. Columns that the
// source has removed and the destination keeps stay in it.
func (t *tableDrift) advance(reports []TableReport, r *tableStructure) {
	if r.source == nil {
		return
	}
	next := *r.source
	if t.before != nil {
		kept := map[string]bool{}
		for _, report := range reports {
			for _, d := range report.Differences {
				switch d.Kind {
				case drift.RenamedColumn, drift.ColumnRecreated, drift.PublicationChanged, drift.TableRecreated, drift.PartitionGone:
					return
				case drift.RemovedColumn, drift.RemovedRequired:
					kept[d.Column] = true
				}
			}
		}
		next.Columns = slices.Clone(next.Columns)
		for _, c := range t.before.Columns {
			name := c.Name
			if r.mapping != nil {
				if there, copied := r.mapping.Column(c.Name); copied {
					name = there
				}
			}
			if kept[name] && next.ColumnNumbered(c.Number) == nil {
				next.Columns = append(next.Columns, c)
			}
		}
	}
	t.setBefore(&next)
}

// made takes the source's table, all changes of which are made on the destination,
// for what that was made to be: its columns are known by their numbers from there
// on. Columns that the destination may have kept stay known, so that what becomes
// of them is still told.
func (t *tableDrift) made(after *catalog.TableDescription) {
	if t.before == nil {
		return // nothing was compared yet
	}
	next := *after
	next.Columns = slices.Clone(next.Columns)
	for _, c := range t.before.Columns {
		if next.ColumnNumbered(c.Number) == nil && next.Column(c.Name) == nil {
			next.Columns = append(next.Columns, c)
		}
	}
	t.setBefore(&next)
}

func (t *tableDrift) setBefore(d *catalog.TableDescription) {
	text, err := json.Marshal(d)
	if err != nil { // strings and numbers always can be written
		panic(err)
	}
	t.before, t.row.Before, t.dirty = d, string(text), true
}

// storedReport is a TableReport as it is recorded.
type storedReport struct {
	Shard int `json:"shard"`
	drift.Judgement
}

func reportsText(reports []TableReport) string {
	stored := make([]storedReport, len(reports))
	for i, r := range reports {
		stored[i] = storedReport{r.Shard, r.Judgement}
	}
	text, err := json.Marshal(stored)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// driftError is the error of a table that is stopped because of its structure:
// reason, position, both definitions, and the ways out.
func driftError(j *drift.Judgement, at stream.LSN, held string) *pgerror.Error {
	e := pgerror.New(pgerror.ObjectNotInPrerequisiteState, "the structure of %s is not that of its source: %s", j.Destination, j.Reason)
	var detail strings.Builder
	for _, d := range j.Differences {
		if d.Final.Stops() || d.Final == drift.Apply {
			fmt.Fprintf(&detail, "%s\n", d.Sides())
		}
	}
	if at != 0 {
		fmt.Fprintf(&detail, "It is stopped at LSN %s. ", at)
	}
	resync := ""
	switch {
	case held != "":
		fmt.Fprintf(&detail, "Its changes since then are kept by slot %q of the source: it goes on from there, without a new copy, when its structure is right.", held)
	case at != 0:
		detail.WriteString("Its changes since then are not kept: it has to be copied again.")
		resync = "RESYNC"
	default:
		detail.WriteString("It is not copied before that is resolved.")
	}
	hint := j.WaysText(resync)
	if held != "" && hint != "" {
		hint += "\nOr, when that is resolved, a new copy: " + resyncCommand(j.Mirror, j.Table)
	}
	return e.WithDetail("%s", strings.TrimSpace(detail.String())).WithHint("%s", hint)
}
