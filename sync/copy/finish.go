package copy

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
)

// mostTables is how many tables are recorded by one statement.
const mostTables = 1000

// finish records tables as complete as they get there, many at once if there
// are many, and tells of them and of those that failed. It returns when every
// table is settled.
func (c *Copier) finish(ctx context.Context) error {
	sessions := make([]*session, len(c.o.Destinations))
	defer func() {
		for _, s := range sessions {
			if s != nil {
				s.close()
			}
		}
	}()
	for {
		c.mu.Lock()
		failures, batch := c.failures, c.batch()
		c.failures = nil
		over, changed := c.unsettled == 0, c.changed
		c.mu.Unlock()
		for _, t := range failures {
			if c.o.TableFailed != nil {
				c.o.TableFailed(t.t, pgerror.From(t.err))
			}
		}
		switch {
		case len(batch) > 0:
			if err := c.retry(ctx, "the records of complete tables", nil, func(ctx context.Context) error { return c.recordComplete(ctx, sessions, batch) }); err != nil {
				return err
			}
		case over && len(failures) == 0:
			return nil
		case len(failures) == 0:
			select {
			case <-changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// batch gives tables that are copied and not recorded; c.mu is held.
func (c *Copier) batch() []*tableState {
	var batch []*tableState
	for _, t := range c.tables {
		if t.phase == tableCopied && len(batch) < mostTables {
			if t.source == nil {
				t.source = c.sources[0] // nothing was read of it
			}
			batch = append(batch, t)
		}
	}
	return batch
}

// recordComplete records tables on each shard, and tells of those that are
// complete everywhere. A shard that has crashed may have lost ranges: they are
// copied again.
func (c *Copier) recordComplete(ctx context.Context, sessions []*session, batch []*tableState) error {
	missing := make(map[*tableState][]int)
	for shard := range c.o.Destinations {
		var there []*tableState
		for _, t := range batch {
			if goesTo(t.t, shard) {
				there = append(there, t)
			}
		}
		if len(there) == 0 {
			continue
		}
		complete, err := c.recordOn(ctx, sessions, shard, there)
		if err != nil {
			return err
		}
		for i, t := range there {
			if !complete[i] {
				missing[t] = append(missing[t], shard)
			}
		}
	}
	for _, t := range batch {
		if shards := missing[t]; len(shards) > 0 {
			c.copyAgain(t, shards)
			continue
		}
		if c.o.TableDone != nil {
			c.o.TableDone(t.t, t.source.LSN)
		}
		c.mu.Lock()
		c.to(t, tableComplete)
		c.mu.Unlock()
	}
	return nil
}

func goesTo(t *Table, shard int) bool {
	if t.Key != nil {
		if only, ok := t.Key.Constant(); ok {
			return only == shard
		}
	}
	return true
}

// recordOn gives the places of the tables that are complete on a shard.
func (c *Copier) recordOn(ctx context.Context, sessions []*session, shard int, tables []*tableState) (map[int]bool, error) {
	s := sessions[shard]
	if s == nil || s.broken {
		var err error
		if s, err = openDestination(ctx, c.o.Destinations[shard]); err != nil {
			return nil, err
		}
		sessions[shard] = s
		// This commit makes all before it durable.
		if _, err := s.exec(ctx, "SET synchronous_commit = on"); err != nil {
			s.abandon(ctx)
			return nil, err
		}
	}
	a, err := s.exec(ctx, c.complete(tables))
	if err != nil {
		s.abandon(ctx)
		return nil, fmt.Errorf("record complete tables: %w", err)
	}
	complete := make(map[int]bool, len(a.rows))
	for _, row := range a.rows {
		place, err := strconv.Atoi(strings.Join(row, ""))
		if err != nil || place < 0 || place >= len(tables) {
			return nil, pgerror.New(pgerror.ProtocolViolation, "%s answers %q", connect.Place(s.server), row)
		}
		complete[place] = true
	}
	return complete, nil
}

// copyAgain puts back what shards have lost of a table.
func (c *Copier) copyAgain(t *tableState, shards []int) {
	c.o.Logger.Warn("a destination has lost ranges that it had committed; they are copied again", "mirror", c.o.Mirror, "table", t.t.Source.Table.String(), "shards", fmt.Sprint(shards))
	for _, j := range t.jobs {
		j.tried = true
		for _, shard := range shards {
			j.has[shard] = false
		}
	}
	c.again(t, t.jobs)
}
