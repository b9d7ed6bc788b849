package mirror

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// formInterval is how often the stream is looked at that is to come to where a
// copy begins.
const formInterval = 50 * time.Millisecond

// inForm waits until the mirror's own stream has passed the part's snapshot, so
// that the destination's tables have the form that the rows of the snapshot
// have, and records with begun that they are being copied. From then on their
// form stays: a change of it has them copied again.
func (p *part) inForm(ctx context.Context, begun func() error) error {
	live := p.source.running()
	if live == nil {
		return errNotStreaming
	}
	if live.follower == nil {
		return begun()
	}
	for waited := 0; ; waited++ {
		now, err := live.at(ctx)
		if err != nil {
			return err
		}
		if now >= p.from {
			break
		}
		if waited%20 == 0 {
			p.source.nudge(ctx)
		}
		if err := wait(ctx, formInterval); err != nil {
			return err
		}
	}
	forms := map[catalog.Name]*catalog.TableDescription{}
	err := live.applier.At(ctx, func(stream.LSN) error {
		for _, key := range p.keys {
			d := live.follower.registry.Named(key.table)
			if d == nil {
				continue
			}
			if live.follower.altered[d.OID] >= p.from {
				return fmt.Errorf("table %s was altered when its copy was to begin: %w", key.table, tablecopy.ErrSnapshotLost)
			}
			if slices.Contains(p.made, key.table) {
				forms[key.table] = d
			}
		}
		return begun()
	})
	if err == nil { // which columns are published may have been read before they were altered
		err = p.source.readPublication(ctx)
	}
	if err != nil {
		return err
	}
	return p.align(ctx, forms)
}

// aligned are the differences that a table may have which was made from a dump
// a moment before the snapshot of its copy.
var aligned = []drift.Kind{
	drift.AddedNull, drift.AddedConstant, drift.AddedVolatile, drift.AddedIdentity, drift.AddedGenerated, drift.AddedNotNull, drift.AddedDomain,
	drift.ExtraRequired, drift.RemovedRequired, drift.TypeSafe, drift.TypeWarn, drift.TypeUnsafe, drift.NotNullDestination,
	drift.EnumLabelEnd, drift.EnumLabelMiddle, drift.CheckDestination, drift.UniqueDestination,
}

// align gives tables that were just made the form that the source's had in the
// snapshot.
func (p *part) align(ctx context.Context, forms map[catalog.Name]*catalog.TableDescription) error {
	for name, form := range forms {
		mapping, err := drift.MappingOf(p.source.job.mapping, name)
		if err != nil {
			return err
		}
		there := p.source.job.destinationNames([]catalog.Name{name})[0]
		for _, server := range p.source.job.pair.destination {
			conn, err := connect.Open(ctx, server, "schema")
			if err != nil {
				return err
			}
			err = func() error {
				defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
				found, err := catalog.DescribeTables(ctx, conn, []catalog.Name{there})
				if err != nil || found[there] == nil {
					return err
				}
				differences := slices.DeleteFunc(drift.Comparison{Source: form, Destination: found[there], Mapping: mapping}.Differences(),
					func(d drift.TableDifference) bool { return !slices.Contains(aligned, d.Kind) })
				for _, step := range drift.Migrate(differences, drift.Policy{}) {
					if step.After {
						continue
					}
					if _, err := conn.Exec(ctx, step.SQL); err != nil {
						return fmt.Errorf("bring table %s to the form of the source: %w", there, err)
					}
				}
				return nil
			}()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// changedMeanwhile tells whether a schema could not be read because it was altered
// at the same moment.
func changedMeanwhile(err error) bool {
	e := pgerror.From(err)
	text := e.Message + e.Detail
	return strings.Contains(text, "could not open relation with OID") || strings.Contains(text, "cache lookup failed for") ||
		strings.Contains(text, "pg_dump failed") && strings.Contains(text, "does not exist")
}
