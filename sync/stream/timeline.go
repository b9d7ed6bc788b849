package stream

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// Timeline is the history of a server's write-ahead log: which timeline it is
// on, and where it left those before (PostgreSQL manual, "Timelines").
type Timeline struct {
	ID     int32
	Before []Left // the oldest first
}

// Left is a timeline that ended, for this history, at a position.
type Left struct {
	ID    int32
	Until LSN
}

// ReadTimeline asks a server for its history.
func ReadTimeline(ctx context.Context, server config.Server) (Timeline, error) {
	conn, err := connect.OpenReplication(ctx, server, "timeline")
	if err != nil {
		return Timeline{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return Timeline{}, fmt.Errorf("ask %s for its timeline: %w", connect.Place(server), err)
	}
	t := Timeline{ID: system.Timeline}
	if t.ID <= 1 {
		return t, nil // the first has no history
	}
	history, err := pglogrepl.TimelineHistory(ctx, conn, t.ID)
	if err != nil {
		return Timeline{}, fmt.Errorf("ask %s for the history of timeline %d: %w", connect.Place(server), t.ID, err)
	}
	if t.Before, err = parseHistory(history.Content); err != nil {
		return Timeline{}, fmt.Errorf("read the history of timeline %d of %s: %w", t.ID, connect.Place(server), err)
	}
	return t, nil
}

// parseHistory reads a timeline history file: in each line a timeline, where it
// was left, and why (PostgreSQL source, timeline.c, readTimeLineHistory).
func parseHistory(content []byte) ([]Left, error) {
	var out []Left
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, pgerror.New(pgerror.ProtocolViolation, "line %q has no position", line)
		}
		id, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil || id <= 0 || len(out) > 0 && int32(id) <= out[len(out)-1].ID {
			return nil, pgerror.New(pgerror.ProtocolViolation, "%q is no timeline that could come there", fields[0])
		}
		at, err := pglogrepl.ParseLSN(fields[1])
		if err != nil {
			return nil, pgerror.New(pgerror.ProtocolViolation, "%q is no position: %w", fields[1], err)
		}
		out = append(out, Left{int32(id), at})
	}
	return out, nil
}

// Holds tells whether a position that was reached on a timeline is part of the
// history. If it is not, left is where the history left that timeline, 0 if it
// was never on it.
func (t Timeline) Holds(id int32, at LSN) (left LSN, ok bool) {
	if id == t.ID {
		return 0, true
	}
	for _, before := range t.Before {
		if before.ID == id {
			return before.Until, at <= before.Until
		}
	}
	return 0, false
}
