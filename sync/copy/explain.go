package copy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// explain adds to the error of a sharding key which row has it: by the primary
// key, if there is one, and its place.
func (w *worker) explain(ctx context.Context, j *job, err error) error {
	var failure *shard.KeyError
	if !errors.As(err, &failure) || ctx.Err() != nil || w.from == nil || w.from.broken {
		return err
	}
	names, list := []string{}, []string{"ctid AS place"}
	for _, k := range j.r.Relation.Keys {
		if !k.Primary {
			continue
		}
		for i, at := range k.Columns {
			name := dump.QuoteIdent(j.r.Relation.Columns[at].Name)
			names = append(names, name)
			list = append(list, fmt.Sprintf("pg_catalog.left(%s::pg_catalog.text, 200) AS key%d", name, i))
		}
	}
	sql := "SELECT * FROM (" + j.r.selectRows(strings.Join(list, ", ")+", "+dump.QuoteIdent(j.r.Table.Columns[0])+" AS sharding_key") + ") AS r WHERE " + hasKey(failure) + " LIMIT 1"
	a, queryErr := w.from.exec(ctx, sql)
	w.from.recover(ctx, &answer{ready: true}, false, rollbackToSavepoint)
	e := pgerror.From(err)
	if queryErr != nil || len(a.rows) != 1 || len(a.rows[0]) < len(list) {
		return e // it is complete without
	}
	row := a.rows[0]
	where := fmt.Sprintf("ctid = %s of %s", row[0], j.r.Relation.Table)
	if len(names) > 0 {
		where = fmt.Sprintf("(%s) = (%s), %s", strings.Join(names, ", "), strings.Join(row[1:1+len(names)], ", "), where)
	}
	e.Detail = strings.TrimSpace(e.Detail + "\nA row that has it: " + where + ".")
	return e.WithWhere("%s", connect.Place(w.source.Server))
}

// hasKey is the condition for rows whose key failed. A value may be shortened in
// the error, and blanks at its end mean nothing in character(n).
func hasKey(failure *shard.KeyError) string {
	if failure.Kind == shard.NullKey {
		return "sharding_key IS NULL"
	}
	value, cut := strings.CutSuffix(failure.Value, "...")
	literal := dump.QuoteLiteral(strings.TrimRight(value, " "))
	if cut {
		return "pg_catalog.starts_with(sharding_key::pg_catalog.text, " + literal + ")"
	}
	return "pg_catalog.rtrim(sharding_key::pg_catalog.text) = " + literal
}
