package mirror

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// shards runs every shard's plan, at the same time, and records how each ended.
// When one fails in strict mode the others end what they have in flight.
func (j *schemaSync) shards(ctx context.Context, plans []*schema.Plan) error {
	errs := make([]error, len(plans))
	var group errgroup.Group
	for i, plan := range plans {
		group.Go(func() error {
			errs[i] = j.shard(ctx, plan)
			if j.part {
				return nil
			}
			to, failure := outcome(ctx, errs[i])
			return j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
				return state.EndSubtask(ctx, conn, j.journal.task, plan.Shard, string(to), failure)
			})
		})
	}
	recorded := group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return recorded
}

// endAll records that every shard's part has ended with err.
func (j *schemaSync) endAll(ctx context.Context, err error) error {
	if j.part {
		return nil
	}
	to, failure := outcome(ctx, err)
	var errs []error
	for _, server := range j.pair.destination {
		errs = append(errs, j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return state.EndSubtask(ctx, conn, j.journal.task, server.Shard, string(to), failure)
		}))
	}
	return errors.Join(errs...)
}

// shard runs one shard's plan. When its connection is lost the shard is looked
// at anew, as soon as it can be reached, and what is missing then is run.
func (j *schemaSync) shard(ctx context.Context, plan *schema.Plan) error {
	attempted := map[string]bool{}
	runner := &schema.Runner{
		Server: j.server(plan.Shard), Options: j.runOptions(),
		Report: func(e schema.Event) {
			if e.State != schema.StateFailed || !j.postponed.takes(e.Statement, e.Err) {
				j.tolerant.event(e)
			}
			j.journal.event(e)
		},
	}
	for attempt := 1; ; attempt++ {
		before := missing(plan)
		for _, s := range plan.Statements {
			if s.Outcome == schema.ToRun {
				attempted[identity(s)] = true
			}
		}
		j.tolerant.begin(plan.Shard)
		lost := runner.Run(ctx, plan)
		if lost == nil {
			return j.tolerant.failure(plan.Shard)
		}
		if !errors.Is(lost, schema.ErrConnectionLost) {
			return lost
		}
		j.manager.log.Warn("connection to the destination was lost", "task", j.journal.task, "shard", plan.Shard, "error", lost)
		var err error
		plan, err = j.lookAgain(ctx, plan.Shard, lost)
		if err != nil {
			return err
		}
		if err := j.journal.plan(ctx, plan.Shard, j.rows(plan, attempted)); err != nil {
			return err
		}
		if missing(plan) < before {
			attempt = 0 // it got on: the next loss is a new one
		}
		if attempt >= j.pair.settings.RetryMaxAttempts {
			e := *pgerror.From(lost)
			e.Hint = "look into the log of that server for the reason, then run the same command again: it goes on with what is missing"
			return &e
		}
	}
}

func missing(plan *schema.Plan) int {
	n := 0
	for _, s := range plan.Statements {
		if s.Outcome == schema.ToRun {
			n++
		}
	}
	return n
}

func (j *schemaSync) server(shard int) config.Server { return j.pair.destination[shard] }

// lookAgain plans a shard anew after its connection was lost, trying until the
// server answers or the attempts are used up.
func (j *schemaSync) lookAgain(ctx context.Context, shard int, lost error) (*schema.Plan, error) {
	delay := j.pair.settings.RetryMinDelay
	for range max(1, j.pair.settings.RetryMaxAttempts) + 5 {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		delay = min(2*delay, 10*time.Second)
		plan, err := j.planAgain(ctx, shard)
		if err == nil {
			return plan, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		lost = err
	}
	return nil, lost
}

func (j *schemaSync) planAgain(ctx context.Context, shard int) (*schema.Plan, error) {
	if err := schema.EndLeftOver(ctx, j.server(shard), j.runOptions()); err != nil {
		return nil, err
	}
	d, err := schema.ReadDestination(ctx, j.server(shard), len(j.pair.destination), j.read())
	if err != nil {
		return nil, err
	}
	return j.plan(ctx, d)
}
