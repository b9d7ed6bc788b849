package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	tablecopy "github.com/pgdrover/pgdrover/sync/copy"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// checkedFilter is a row filter of the publication that is the mapping's, as the
// planner of the source has said.
type checkedFilter struct {
	relation uint32
	filter   string
}

// checkFilters stops the tables for which the publication has another row filter
// than the mapping, whichever of the two has changed. A filter is planned once.
func (s *sourceShard) checkFilters(ctx context.Context, conn *pgx.Conn, publication catalog.Publication) error {
	for _, published := range publication.Tables {
		key := tableKey{s.number, published.Table}
		row, ok := s.job.tables.get(key)
		if state := TableState(row.State); !ok || state == TableStopped || state == TableUnpublished {
			continue
		}
		now := checkedFilter{published.OID, published.Filter}
		if t, problem := s.job.mapping.Table(published.Table); problem != nil || t.Filter == "" || s.filters[published.Table] == now {
			continue
		}
		problem, err := s.filterProblem(ctx, conn, publication, published)
		if err != nil {
			return err
		}
		if problem == nil {
			s.filters[published.Table] = now
			continue
		}
		delete(s.filters, published.Table)
		if err := s.stopTable(ctx, key, problem); err != nil {
			return err
		}
	}
	return nil
}

func (s *sourceShard) filterProblem(ctx context.Context, conn *pgx.Conn, publication catalog.Publication, published catalog.PublishedTable) (*pgerror.Error, error) {
	relations, err := catalog.ReadRelations(ctx, conn, []catalog.Name{published.Table})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", published.Table, err)
	}
	one := publication
	one.Tables = []catalog.PublishedTable{published}
	problems, err := tablecopy.CheckFilters(ctx, conn, s.job.mapping, one, relations)
	if err != nil || len(problems) == 0 {
		return nil, err
	}
	return problems[0], nil
}

// stopTable stops a table that may be streaming, between two transactions.
func (s *sourceShard) stopTable(ctx context.Context, key tableKey, why *pgerror.Error) error {
	s.job.manager.log.Error("a table is stopped", "table", key.table.String(), "sqlstate", why.Code, "error", why.Message, "detail", why.Detail)
	s.job.manager.metrics.TableStop(s.job.pair.mirror, s.number)
	stop := func(at stream.LSN) error {
		if err := s.job.tables.stop(ctx, key, withWayOut(why, s.job.pair.mirror, key.table), at); err != nil {
			return err
		}
		s.forget(key.table)
		return nil
	}
	live := s.running()
	if live == nil {
		return stop(s.applied())
	}
	return live.applier.At(ctx, stop)
}
