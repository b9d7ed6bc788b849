package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/progress"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// mirrorLogCommand is the twin of SHOW MIRROR_LOG.
type mirrorLogCommand struct {
	mirrorTarget
	Level  string `enum:"info,warning,error" default:"info" help:"Leave out what is below: info, warning or error (${default})."`
	Search string `placeholder:"TEXT" help:"Text that message, table or error have, in any case."`
	Limit  int    `default:"1000" help:"The newest so many (${default})."`
}

// Validate is kong's.
func (m mirrorLogCommand) Validate() error {
	if m.Limit < 1 {
		return fmt.Errorf("--limit must be at least 1")
	}
	return nil
}

// Run is kong's.
func (m mirrorLogCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	err := m.work(c, io, ctx, func(ctx context.Context, engine mirrorEngine, _ *config.Config) error { return m.log(ctx, engine, io) })
	if told := exit(0); err == nil || errors.As(err, &told) {
		return err
	}
	progress.Print(io.err, "ERROR", err)
	return exit(exitNotKnown)
}

func (m mirrorLogCommand) log(ctx context.Context, engine mirrorEngine, io *streams) error {
	levels, err := admin.LevelsFrom(m.Level)
	if err != nil {
		return err
	}
	events, err := engine.MirrorLog(ctx, m.Mirror, mirror.LogFilter{Levels: levels, Search: m.Search, Limit: m.Limit})
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(io.out)
	for _, e := range events {
		if m.JSON {
			err = encoder.Encode(eventObject(e))
		} else {
			_, err = fmt.Fprintln(io.out, eventLines(e))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loggedEvent is an event as JSON, with the names of SHOW MIRROR_LOG.
type loggedEvent struct {
	ID       int64     `json:"id"`
	At       time.Time `json:"at"`
	Level    string    `json:"level"`
	Kind     string    `json:"kind"`
	Task     int64     `json:"task_id,omitempty"`
	Shard    *int      `json:"shard,omitempty"`
	Schema   string    `json:"schema,omitempty"`
	Table    string    `json:"table,omitempty"`
	LSN      string    `json:"lsn,omitempty"`
	Message  string    `json:"message"`
	SQLState string    `json:"sqlstate,omitempty"`
	Error    string    `json:"error,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	Hint     string    `json:"hint,omitempty"`
}

func eventObject(e mirror.MirrorEvent) loggedEvent {
	out := loggedEvent{
		ID: e.ID, At: e.At.UTC(), Level: e.Level, Kind: e.Kind, Task: int64(e.Task), Schema: e.Schema, Table: e.Table, LSN: e.LSN, Message: e.Message,
	}
	if e.Shard >= 0 {
		out.Shard = &e.Shard
	}
	if e.Error != nil {
		out.SQLState, out.Error, out.Detail, out.Hint = e.Error.Code, e.Error.Message, e.Error.Detail, e.Error.Hint
	}
	return out
}

// eventLines is an event on one line, with its error on lines of its own.
func eventLines(e mirror.MirrorEvent) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s  %-7s  %s", e.At.UTC().Format("2006-01-02 15:04:05.000 MST"), e.Level, e.Kind)
	if e.Table != "" {
		fmt.Fprintf(&out, " %s.%s", e.Schema, e.Table)
	}
	if e.Shard >= 0 {
		fmt.Fprintf(&out, " shard %d", e.Shard)
	}
	if e.LSN != "" {
		out.WriteString(" at " + e.LSN)
	}
	out.WriteString(": " + e.Message)
	if e.Task != 0 {
		fmt.Fprintf(&out, " (task %d)", e.Task)
	}
	if e.Error != nil {
		fmt.Fprintf(&out, "\n    %s (SQLSTATE %s)", e.Error.Message, e.Error.Code)
		for _, more := range []struct{ word, text string }{{"DETAIL", e.Error.Detail}, {"HINT", e.Error.Hint}} {
			if more.text != "" {
				fmt.Fprintf(&out, "\n    %s:  %s", more.word, more.text)
			}
		}
	}
	return out.String()
}
