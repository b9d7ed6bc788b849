package mirror

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

func compareNames(schemaA, nameA, schemaB, nameB string) int {
	return cmp.Or(strings.Compare(schemaA, schemaB), strings.Compare(nameA, nameB))
}

// tellResult tells the metrics what a comparison of tables has found, and where
// all of them are.
func (w *driftWatch) tellResult(names []catalog.Name) {
	sink, mirror := w.job.manager.metrics, w.job.pair.mirror
	w.mu.Lock()
	defer w.mu.Unlock()
	result := "ok"
	for _, name := range names {
		switch t := w.table(name); {
		case t.judged.Would.Stops() || t.judged.Would == drift.Apply:
			result = "drift"
		case t.judged.Would == drift.Warn && result == "ok":
			result = "warn"
		}
	}
	sink.SchemaValidation(mirror, result)
	var all []metrics.SchemaStatus
	for name, t := range w.tables {
		if t.stamps == nil {
			continue
		}
		status := metrics.SchemaStatus{Schema: name.Schema, Table: name.Name, Level: t.level(t.row.Stopped)}
		if status.Level == metrics.SchemaBlocked {
			status.Reason = worstKind(&t.judged)
		}
		all = append(all, status)
	}
	sink.Schema(mirror, all)
}

// allow brings the escape hatches of a table in line with what it goes on by,
// and gives the events of those that begin and end. The caller has mu.
func (w *driftWatch) allow(t *tableDrift, now time.Time) []state.Event {
	table := catalog.Name{Schema: t.row.Schema, Name: t.row.Name}
	wanted := map[string]*allowance{}
	for _, d := range t.judged.Differences {
		option, inserts, updates := hatch(&d, &t.judged)
		if option == "" {
			continue
		}
		a := wanted[option]
		if a == nil {
			a = &allowance{Allowance: state.Allowance{Schema: table.Schema, Name: table.Name, Option: option, Since: now}}
			wanted[option] = a
		}
		a.inserts, a.updates = a.inserts || inserts, a.updates || updates
		if about := cmp.Or(d.Column, d.Object); about != "" {
			if a.Columns != "" {
				a.Columns += ", "
			}
			a.Columns += about
		}
	}
	var events []state.Event
	for option, a := range wanted {
		old := t.allowed[option]
		if old != nil && old.Until == nil {
			old.inserts, old.updates = a.inserts, a.updates
			old.dirty = old.dirty || old.Columns != a.Columns
			old.Columns = a.Columns
			continue
		}
		a.dirty = true
		t.allowed[option] = a
		events = append(events, w.event("warning", table, "goes on by "+option+aboutColumns(a.Columns)))
	}
	for option, a := range t.allowed {
		if wanted[option] == nil && a.Until == nil {
			until := now
			a.Until, a.dirty = &until, true
			events = append(events, w.event("info", table, "needs "+option+" no more"+aboutColumns(a.Columns)))
		}
	}
	return events
}

func aboutColumns(columns string) string {
	if columns == "" {
		return ""
	}
	return ": " + columns
}

// hatch is the option by which a table goes on though a rule would stop it for a
// difference, and which rows that costs; "" if it needs none.
func hatch(d *drift.Judged, j *drift.Judgement) (option string, inserts, updates bool) {
	switch {
	case !d.Verdict.Stops():
		return "", false, false
	case d.Final.Stops() || d.Final == drift.Apply:
		if j.Verdict == drift.Warn { // by warn_only alone
			return "warn_only", true, true
		}
		return "", false, false
	case d.By == "":
		return "", false, false
	case d.By == "auto_migrate":
		return "", false, false
	}
	switch d.Kind {
	case drift.RemovedColumn, drift.RemovedRequired:
		return d.By, true, false
	}
	return d.By, true, true
}

// spent counts rows that were written while a table goes on by escape hatches.
func (w *driftWatch) spent(table catalog.Name, inserts, updates int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tables[table]
	if t == nil {
		return
	}
	for option, a := range t.allowed {
		var n int64
		if a.inserts {
			n += inserts
		}
		if a.updates {
			n += updates
		}
		if a.Until == nil && n > 0 {
			a.Rows, a.dirty = a.Rows+n, true
			w.job.manager.metrics.SchemaRows(w.job.pair.mirror, option, n)
		}
	}
}

// copied counts rows that were copied while the table goes on by escape hatches.
func (w *driftWatch) copied(table catalog.Name, rows int64) {
	w.mu.Lock()
	if t := w.tables[table]; t != nil && t.next != nil {
		t.setBefore(t.next)
		t.next, t.stamps, t.pending = nil, nil, nil
		t.row.Schema, t.row.Name = table.Schema, table.Name
		if t.row.Since.IsZero() {
			t.row.Since, t.row.CheckedAt = time.Now(), time.Now()
		}
	}
	w.mu.Unlock()
	w.spent(table, rows, 0)
}

// addDrift completes tables with what is recorded of their structure.
func addDrift(ctx context.Context, conn *pgx.Conn, mirrorID int32, rows []MirrorTableRow) error {
	found, err := state.Drifts(ctx, conn, mirrorID)
	if err != nil {
		return err
	}
	allowances, err := state.Allowances(ctx, conn, mirrorID)
	if err != nil {
		return err
	}
	for i := range rows {
		row := &rows[i]
		for _, d := range found {
			if d.Schema == row.Schema && d.Name == row.Table {
				row.Structure = d.Verdict
			}
		}
		for _, a := range allowances {
			if a.Schema != row.Schema || a.Name != row.Table || a.Until != nil {
				continue
			}
			if row.Allowed != "" {
				row.Allowed += "; "
			}
			row.Allowed += fmt.Sprintf("%s%s (%d rows since %s)", a.Option, aboutColumns(a.Columns), a.Rows, a.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	return nil
}
