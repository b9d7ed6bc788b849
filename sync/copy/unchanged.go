package copy

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// A snapshot does not see the rows that an ALTER TABLE has rewritten: their new
// versions are not old enough, and the old ones are gone, without any error
// (PostgreSQL's documentation, "Caveats" of concurrency control). The stream has
// no changes for them either. So each range asks, while it still holds its lock,
// whether the table has the file that it has in the snapshot.

// checkUnchanged is a query for that: the first answer is about the file, the
// second about whether the name still means this table.
func checkUnchanged(r *catalog.Relation) string {
	oid := strconv.FormatUint(uint64(r.OID), 10)
	return "SELECT relfilenode = pg_catalog.pg_relation_filenode(oid), oid = pg_catalog.to_regclass(" + dump.QuoteLiteral(quote(r.Table)) + ") FROM pg_catalog.pg_class WHERE oid = " + oid
}

// checkRewritten takes the answer. A table that is not in the snapshot at all is
// younger: all its rows are in the stream.
func (w *worker) checkRewritten(ctx context.Context, r *Range, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	if len(rows[0]) != 2 || rows[0][1] != "t" {
		return rewritten(r, "another table has its name now")
	}
	if rows[0][0] == "t" {
		return nil
	}
	// TRUNCATE, which is in the stream, CLUSTER and VACUUM FULL, which keep what
	// snapshots see, give a table a new file too. They do not touch its columns.
	before, err := w.from.exec(ctx, shape(r.Relation.OID))
	if err != nil {
		w.from.abandon(ctx)
		return err
	}
	now, err := openSession(ctx, w.source.Server, sourceSetup)
	if err != nil {
		return &openError{err}
	}
	defer now.close()
	after, err := now.exec(ctx, shape(r.Relation.OID))
	if err != nil {
		return err
	}
	if fmt.Sprint(before.rows) != fmt.Sprint(after.rows) {
		return rewritten(r, "its columns, persistence or access method have changed")
	}
	return nil
}

// shape is a query for what changes with every rewriting ALTER TABLE.
func shape(oid uint32) string {
	return fmt.Sprintf(`SELECT c.relpersistence, c.relam, (SELECT pg_catalog.string_agg(a.attnum || ':' || a.xmin, ',' ORDER BY a.attnum)
FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) FROM pg_catalog.pg_class c WHERE c.oid = %d`, oid)
}

func rewritten(r *Range, why string) error {
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "table %s cannot be read in the snapshot any more: %w", r.Relation.Table, ErrRewritten).
		WithDetail("%s", why)
}

// leaveOutEmpty drops the ranges of relations that had no page when they were
// looked at and still have none: then none of their rows can be in the
// snapshot, however old it is. It is one query for all of them.
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
		a, err := s.exec(ctx, "SELECT oid FROM pg_catalog.unnest('{"+strings.Join(oids, ",")+"}'::pg_catalog.oid[]) AS t (oid) WHERE pg_catalog.pg_relation_size(oid) IS DISTINCT FROM 0; "+rollbackToSavepoint)
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
