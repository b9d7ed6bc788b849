package copy

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mapping"
)

// CheckFilters compares the row filters that a mapping says with those that the
// publication has, as the planner of the source understands them. It gives a
// problem per table whose rows would be others; conn is of the source, and in no
// transaction.
func CheckFilters(ctx context.Context, conn *pgx.Conn, m *mapping.Mapping, publication catalog.Publication, relations map[catalog.Name]*catalog.Relation) ([]*pgerror.Error, error) {
	var out []*pgerror.Error
	for _, published := range publication.Tables {
		t, problem := m.Table(published.Table)
		if problem != nil || t.Filter == "" { // the former is for Mapping.Check
			continue
		}
		same, problem, err := sameFilter(ctx, conn, t, published)
		switch {
		case err != nil:
			return nil, fmt.Errorf("compare the row filter of %s: %w", published.Table, err)
		case problem != nil:
			out = append(out, problem)
		case !same:
			out = append(out, mapping.FilterProblem(t, publication, published, relations[published.Table]))
		}
	}
	return out, nil
}

// sameFilter plans both conditions. problem is one of the mirror's filter itself.
func sameFilter(ctx context.Context, conn *pgx.Conn, t *mapping.Table, published catalog.PublishedTable) (same bool, problem *pgerror.Error, err error) {
	if published.Filter == "" {
		return false, nil, nil
	}
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, mapping.FilterPlanSettings); err != nil {
			return err
		}
		var has, wants string
		if err := tx.QueryRow(ctx, mapping.FilterPlan(published.Table, published.Relkind, published.Filter)).Scan(&has); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, mapping.FilterPlan(published.Table, published.Relkind, t.Filter)).Scan(&wants)
		if err != nil && !pgerror.IsConnectionLost(err) && ctx.Err() == nil {
			problem = pgerror.New(pgerror.Code(err), "row_filter of table %s is no condition for its rows: %w", published.Table, err).
				WithHint("correct row_filter of [[mirrors.tables]] schema = %q, name = %q; the publication has WHERE (%s)", published.Table.Schema, published.Table.Name, published.Filter)
			return err
		}
		same = has == wants
		return err
	})
	if problem != nil {
		err = nil
	}
	return same, problem, err
}
