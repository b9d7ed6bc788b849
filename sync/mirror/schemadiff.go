package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// compare proves, at the end of POST, that the schemas are the same: both sides
// were dumped by the same pg_dump and are compared entry by entry. What belongs
// to a later phase is not there yet; what only the destination has is its own.
func (j *schemaSync) compare(ctx context.Context) error {
	if err := j.journal.inner(ctx, "comparing both schemas"); err != nil {
		return err
	}
	differences, err := j.compareShards(ctx)
	if err != nil {
		return err
	}
	differences = slices.DeleteFunc(differences, func(d drift.Difference) bool {
		return d.What == drift.Extra || d.Phase > dump.PostData || j.postponed.explains(d)
	})
	if len(differences) > 0 && j.req.IgnoreErrors {
		j.manager.log.Warn("differences remain and are ignored", "task", j.journal.task, "differences", len(differences))
		return nil
	}
	if len(differences) == 0 {
		return nil
	}
	var detail strings.Builder
	for _, d := range differences[:min(len(differences), 20)] {
		fmt.Fprintf(&detail, "shard %d: %s %q in schema %q: %s\n", d.Shard, d.Kind, d.Object, d.Schema, d.What)
	}
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "every statement was run, and %s between %q and %q", remain(len(differences)), j.req.Source, j.req.Destination).
		WithDetail("%s", strings.TrimRight(detail.String(), "\n")).
		WithHint("SHOW SCHEMA_DIFF %s %s; tells both sides of each", dump.QuoteIdent(j.req.Source), dump.QuoteIdent(j.req.Destination))
}

func remain(n int) string {
	if n == 1 {
		return "one difference remains"
	}
	return fmt.Sprintf("%d differences remain", n)
}

// compareShards compares every shard with the source as it was read.
func (j *schemaSync) compareShards(ctx context.Context) ([]drift.Difference, error) {
	perShard := make([][]drift.Difference, len(j.pair.destination))
	group, reading := errgroup.WithContext(ctx)
	for i, server := range j.pair.destination {
		group.Go(func() error {
			read := j.read()
			read.Phase = dump.PreData // no counters, no sequences: only the dump
			d, err := schema.ReadDestination(reading, server, len(j.pair.destination), read)
			if err != nil {
				return err
			}
			opts, err := j.comparable(reading, d)
			if err != nil {
				return err
			}
			perShard[i], err = schema.Compare(j.source, d, opts)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(perShard...), nil
}

// differences reads both sides and compares them.
func (j *schemaSync) differences(ctx context.Context) ([]drift.Difference, []*pgerror.Error, error) {
	read := j.read()
	source, err := schema.ReadSource(ctx, j.pair.source[0], read)
	if err != nil {
		return nil, nil, err
	}
	j.source = source
	differences, err := j.compareShards(ctx)
	return differences, dumpWarnings(source), err
}

// dumpWarnings are pg_dump's own words about what it left out.
func dumpWarnings(source *schema.Source) []*pgerror.Error {
	var out []*pgerror.Error
	for _, w := range source.Archive.Warnings {
		out = append(out, pgerror.New("01000", "pg_dump of %s: %s", connect.Place(source.Server), w))
	}
	return out
}

// leftOut says what scope = "publication" does not take.
func leftOut(plans []*schema.Plan) []*pgerror.Error {
	if len(plans) == 0 || len(plans[0].Left) == 0 {
		return nil
	}
	return []*pgerror.Error{pgerror.New("01000", "%d parts of published tables are left out: they need something that is not published", len(plans[0].Left)).
		WithDetail("%s", strings.Join(plans[0].Left, "\n")).
		WithHint("publish those tables too, or set [schema_sync] scope = \"database\"")}
}
