package copy

import (
	"context"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// A snapshot does not see what a table holds after TRUNCATE or an ALTER TABLE that
// rewrites it: the new rows are not old enough, and the old ones are gone, without
// any error (PostgreSQL's documentation, "Caveats" of concurrency control). Of an
// ALTER TABLE the stream has nothing. A TRUNCATE is in it, but so may be changes
// between the snapshot and the TRUNCATE, of rows that were not copied any more.
// CLUSTER and VACUUM FULL keep what snapshots see, but move rows to other pages:
// from a range that is still to come into one that was copied. Each of them gives
// the table a new file, and which of them it was cannot be told. So each range
// asks, while it still holds its lock, whether the table has the file that it has
// in the snapshot.

// checkUnchanged is a query for that: the first answer is about the file, the
// second about whether the name still means this table.
func checkUnchanged(r *catalog.Relation) string {
	return "SELECT " + sameFile + ", oid = pg_catalog.to_regclass(" + dump.QuoteLiteral(quote(r.Table)) + ") FROM pg_catalog.pg_class WHERE oid = " + strconv.FormatUint(uint64(r.OID), 10)
}

// sameFile compares the file that the snapshot sees with that of now; a relation
// without storage has 0.
const sameFile = "relfilenode = coalesce(pg_catalog.pg_relation_filenode(oid), 0)"

// checkRewritten takes the answer. A table that is not in the snapshot at all is
// younger: all its rows are in the stream.
func checkRewritten(r *Range, rows [][]string) error {
	switch {
	case len(rows) == 0:
		return nil
	case len(rows[0]) != 2 || rows[0][1] != "t":
		return rewritten(r, "another table has its name now")
	case rows[0][0] != "t":
		return rewritten(r, "TRUNCATE, ALTER TABLE, CLUSTER or VACUUM FULL has given it a new file")
	}
	return nil
}

func rewritten(r *Range, why string) error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s cannot be read in the snapshot any more: %w", r.Relation.Table, ErrRewritten).
		WithDetail("%s", why)
}

// leaveOutEmpty drops the ranges of relations that had no page when they were
// looked at and still have none, in the file that they have in the snapshot: then
// none of their rows can be in it. It is one query for all of them.
func (c *Copier) leaveOutEmpty(ctx context.Context) (first *session, err error) {
	var oids []string
	for _, t := range c.tables {
		for _, j := range t.jobs {
			if j.r.empty && !j.complete() {
				oids = append(oids, strconv.FormatUint(uint64(j.r.Relation.OID), 10))
			}
		}
	}
	if len(oids) == 0 {
		return nil, nil
	}
	filled := map[string]bool{}
	err = c.retry(ctx, "looking for empty tables", nil, func(ctx context.Context) error {
		s, err := openSource(ctx, c.sources[0].Source)
		if err != nil {
			return err
		}
		a, err := s.exec(ctx, "SELECT oid FROM pg_catalog.unnest('{"+strings.Join(oids, ",")+"}'::pg_catalog.oid[]) AS t (oid) LEFT JOIN pg_catalog.pg_class USING (oid) WHERE pg_catalog.pg_relation_size(oid) IS DISTINCT FROM 0 OR NOT "+sameFile+"; "+rollbackToSavepoint)
		if err != nil {
			s.abandon(ctx)
			return err
		}
		for _, row := range a.rows {
			filled[row[0]] = true
		}
		first = s
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, t := range c.tables {
		kept := t.jobs[:0]
		for _, j := range t.jobs {
			if !j.r.empty || filled[strconv.FormatUint(uint64(j.r.Relation.OID), 10)] {
				kept = append(kept, j)
				continue
			}
			for shard := range j.has {
				j.has[shard] = true
			}
		}
		t.jobs = kept
	}
	return first, nil
}
