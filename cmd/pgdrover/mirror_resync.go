package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/resync"
)

// mirrorResyncCommand is the twin of RESYNC.
type mirrorResyncCommand struct {
	mirrorTarget
	Tables   []string `arg:"" optional:"" placeholder:"TABLE" help:"Tables of the source, as schema.table; the name alone where one schema has it. All of the mirror without any."`
	Stopped  bool     `help:"The tables that are stopped."`
	Strategy string   `enum:",truncate,swap,reconcile" default:"" placeholder:"STRATEGY" help:"truncate, swap or reconcile; the mirror's resync_strategy without it."`
	NoWait   bool     `help:"Ask for it and exit; SHOW TABLE_COPIES in the admin database tells how far it is."`

	every time.Duration // between two looks
}

// Validate is kong's.
func (m mirrorResyncCommand) Validate() error {
	if m.Stopped && len(m.Tables) > 0 {
		return errors.New("--stopped and tables exclude one another")
	}
	return nil
}

// Run is kong's.
func (m mirrorResyncCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	return m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error {
		return m.resync(ctx, engine, io)
	})
}

func (m mirrorResyncCommand) resync(ctx context.Context, engine mirrorEngine, io *streams) error {
	asked, err := engine.Resync(ctx, m.Mirror, mirror.ResyncRequest{Tables: m.Tables, Stopped: m.Stopped, Strategy: resync.Strategy(m.Strategy), NoStart: true})
	if err != nil {
		return err
	}
	if m.NoWait {
		return m.done(io, "asked", fmt.Sprintf("is to copy %s again", countTables(len(asked.Tables))))
	}
	if asked.Task == 0 {
		return m.notKnown(io, pgerror.New(pgerror.ObjectNotInPrerequisiteState, "nobody works on mirror %s", dump.QuoteIdent(m.Mirror)).
			WithDetail("That %s are to be copied again is recorded.", countTables(len(asked.Tables))).
			WithHint("pgdrover mirror resume %s lets it go on", m.Mirror))
	}
	return m.follow(ctx, engine, asked.Tables, io)
}

func countTables(n int) string {
	if n == 1 {
		return "one table"
	}
	return fmt.Sprintf("%d tables", n)
}

// notKnown ends the command with exit code 3.
func (m mirrorResyncCommand) notKnown(io *streams, e *pgerror.Error) error {
	_ = m.told(io, e)
	progress.Print(io.err, "ERROR", e)
	return exit(exitNotKnown)
}

// follow prints how far the tables are until all have ended. Its error is that of
// the first table that could not be copied.
func (m mirrorResyncCommand) follow(ctx context.Context, engine mirrorEngine, tables []catalog.Name, io *streams) error {
	ticker := time.NewTicker(cmp.Or(m.every, time.Second))
	defer ticker.Stop()
	told := map[catalog.Name]string{}
	for {
		rows, err := engine.Resyncs(ctx, m.Mirror, tables)
		if err != nil && ctx.Err() == nil && !pgerror.IsConnectionLost(err) {
			return err
		}
		for _, r := range rows {
			name := catalog.Name{Schema: r.Schema, Name: r.Table}
			if line := resyncLine(r); told[name] != line {
				told[name] = line
				if err := m.tell(io, r, line); err != nil {
					return err
				}
			}
		}
		if err == nil && len(rows) > 0 && !slices.ContainsFunc(rows, func(r mirror.ResyncRow) bool { return !r.Over() }) {
			return resyncFailure(rows)
		}
		select {
		case <-ctx.Done():
			return m.notKnown(io, pgerror.New(pgerror.QueryCanceled, "the waiting was ended; the resync goes on").
				WithHint("SHOW TABLE_COPIES; in the admin database tells how far it is. STOP_TASK ends it together with its mirror's task"))
		case <-ticker.C:
		}
	}
}

func resyncFailure(rows []mirror.ResyncRow) error {
	for _, r := range rows {
		if r.Error != nil {
			return r.Error
		}
	}
	return nil
}

// resyncLine says how far a table is, to the tenth.
func resyncLine(r mirror.ResyncRow) string {
	switch {
	case r.Over() && r.Error != nil:
		return fmt.Sprintf("%s, not copied again: %s", r.State, r.Error.Message)
	case r.Over():
		return fmt.Sprintf("%s, %s rows copied", r.State, progress.Count(r.Rows))
	case r.Asked || r.Step == "":
		return "waiting"
	}
	line := fmt.Sprintf("%s: %s", r.Strategy, r.Step)
	if r.Percent != nil {
		line += fmt.Sprintf(", %d%%", int(*r.Percent)/10*10)
	}
	if r.Error != nil {
		line += ": " + r.Error.Message
	}
	return line
}

func (m mirrorResyncCommand) tell(io *streams, r mirror.ResyncRow, line string) error {
	if !m.JSON {
		left := ""
		if r.ETA != nil {
			left = fmt.Sprintf(", about %s left", r.ETA.Round(time.Second))
		}
		_, err := fmt.Fprintf(io.out, "%s.%s: %s%s\n", r.Schema, r.Table, line, left)
		return err
	}
	object := struct {
		Schema   string   `json:"schema"`
		Table    string   `json:"table"`
		Shard    int      `json:"shard"`
		State    string   `json:"state"`
		Strategy string   `json:"strategy,omitempty"`
		Step     string   `json:"step,omitempty"`
		Percent  *float64 `json:"percent,omitempty"`
		ETA      *float64 `json:"eta_seconds,omitempty"`
		Rows     int64    `json:"rows"`
		SQLState string   `json:"sqlstate,omitempty"`
		Error    string   `json:"error,omitempty"`
	}{r.Schema, r.Table, r.Shard, string(r.State), string(r.Strategy), r.Step, r.Percent, nil, r.Rows, "", ""}
	if r.ETA != nil {
		seconds := r.ETA.Seconds()
		object.ETA = &seconds
	}
	if r.Error != nil {
		object.SQLState, object.Error = r.Error.Code, r.Error.Message
	}
	return json.NewEncoder(io.out).Encode(object)
}
