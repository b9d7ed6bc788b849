package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// schemaPhase runs a phase of the schema as a part of this task.
func (j *copyData) schemaPhase(ctx context.Context, phase dump.Phase, gate *schema.Gate) error {
	return j.runSchemaPhase(ctx, phase, gate, nil)
}

func (j *copyData) runSchemaPhase(ctx context.Context, phase dump.Phase, gate *schema.Gate, tolerant *tolerance) error {
	if j.req.SkipSchema {
		return nil
	}
	part := &schemaSync{
		manager: j.manager, pair: j.pair, binary: j.binary, quoteAll: j.quoteAll, part: true, gate: gate, tolerant: tolerant, postponed: &j.postponed,
		req: SchemaSyncRequest{Phase: phase, Source: j.req.Source, Destination: j.req.Destination, Publication: j.req.Publication},
	}
	err := j.persist(ctx, func() error {
		return j.besideOthers(ctx, func() error { return j.runPart(ctx, part) })
	})
	if phase == dump.PostData || err != nil {
		err = errors.Join(err, j.endSchema(ctx, err))
	}
	return err
}

// besideOthers runs a phase again when it has collided with somebody who makes
// the same objects: another mirror of the destination, as a rule. What is there
// by then is looked at anew; if it is not the same, that is the error.
func (j *copyData) besideOthers(ctx context.Context, run func() error) error {
	var last string
	same := 0
	for attempt := 1; ; attempt++ {
		err := run()
		if err == nil || ctx.Err() != nil || !collided(err) || attempt == mostCollisions {
			return err
		}
		// Somebody who makes objects gets on: what stays the same is a difference.
		e := pgerror.From(err)
		if text := e.Message + e.Detail; text == last {
			same++
		} else {
			last, same = text, 1
		}
		if same == mostSame {
			return err
		}
		j.manager.log.Info("objects of the destination differ; in case that somebody else is making them, the phase is planned anew", "task", j.journal.task, "attempt", attempt, "error", err)
		if err := wait(ctx, time.Duration(attempt)*collisionDelay); err != nil {
			return err
		}
	}
}

const (
	mostCollisions = 20
	mostSame       = 3 // times that the same error is met
	collisionDelay = 200 * time.Millisecond
)

// collided tells whether an error means that somebody has made, or changed, the
// same object at the same moment.
func collided(err error) bool {
	switch pgerror.Code(err) {
	case "42P07", "42P06", "42710", "42723", "42701", "42P16", "23505", "40P01":
		return true
	case pgerror.InternalError:
		return strings.Contains(err.Error(), "tuple concurrently updated") || strings.Contains(err.Error(), "tuple concurrently deleted")
	}
	return false
}

// persist does something that can be done again, as often as lost connections
// make it necessary, within the attempts that are configured.
func (j *copyData) persist(ctx context.Context, do func() error) error {
	general := j.config.General
	for attempt := 1; ; attempt++ {
		err := do()
		switch {
		case err == nil || ctx.Err() != nil || !retryable(err) || pgerror.Code(err) == pgerror.ConfigurationLimitExceeded:
			return err
		case attempt >= general.ReshardingCopyRetryMaxAttempts:
			e := *pgerror.From(err)
			if e.Hint != "" {
				e.Hint += ". "
			}
			e.Hint += fmt.Sprintf("It was tried %s. Run the same command again when the servers are well: it goes on with what is missing", times(attempt))
			return &e
		}
		j.manager.log.Warn("a connection was lost; it is tried again", "task", j.journal.task, "attempt", attempt, "error", err)
		if err := wait(ctx, general.ReshardingCopyRetryMinDelay<<min(attempt-1, 5)); err != nil {
			return err
		}
	}
}

// runPart runs a phase once, with a journal of its own.
func (j *copyData) runPart(ctx context.Context, part *schemaSync) error {
	open, phase := j.journal.open, part.req.Phase
	part.begun(newJournal(open, nil, j.journal.mirrorID, j.journal.task, phase.String()))
	part.journal.part = state.SchemaPart
	err := part.run(ctx)
	part.journal.flush(ctx)
	if closed := part.journal.close(ctx); err == nil && closed != nil {
		err = closed
	}
	return err
}

// endSchema records that the schema's subtasks have ended.
func (j *copyData) endSchema(ctx context.Context, err error) error {
	to, failure := outcome(ctx, err)
	return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for _, server := range j.pair.destination {
			if err := state.EndSubtask(ctx, conn, j.journal.task, server.Shard, string(to), failure); err != nil {
				return err
			}
		}
		return nil
	})
}
