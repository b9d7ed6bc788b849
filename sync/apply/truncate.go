package apply

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// truncateSQL empties exactly the tables that the source says it has emptied.
// CASCADE has been followed there: all tables that it reached and that are
// published are in the list. Here it would reach others.
//
// beside are tables of the mirror that the source has emptied with them, but whose
// changes are left out here: a newer copy of theirs was made without these rows, or
// they are stopped. If nothing but their foreign keys is in the way, the rows are
// deleted, as the row by row changes of a table are: keys are not looked at by who
// applies changes. RESTART IDENTITY is left out then; a cutover sets sequences.
func truncateSQL(targets []*Target, c *stream.Truncated, beside []catalog.Name) string {
	names, deletes := make([]string, len(targets)), make([]string, len(targets))
	emptied := make([]catalog.Name, len(targets))
	for i, t := range targets {
		names[i], emptied[i] = t.only+t.name, t.Table
		deletes[i] = "DELETE FROM " + names[i] + ";\n"
	}
	sql := "TRUNCATE TABLE " + strings.Join(names, ", ")
	if c.RestartIdentity {
		sql += " RESTART IDENTITY"
	}
	if len(beside) == 0 {
		return sql
	}
	return "DO " + dump.QuoteLiteral(fmt.Sprintf(`DECLARE
  emptied oid[] := %s;
  known oid[] := emptied || %s;
BEGIN
  %s;
EXCEPTION WHEN feature_not_supported THEN
  -- Constraints of partitioned tables are there for each partition, too.
  IF EXISTS (SELECT FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid AND r.relkind = 'r'
    WHERE k.contype = 'f' AND (k.confrelid = ANY (emptied) OR EXISTS (SELECT FROM pg_partition_ancestors(k.confrelid) a WHERE a = ANY (emptied)))
    AND NOT (k.conrelid = ANY (known) OR EXISTS (SELECT FROM pg_partition_ancestors(k.conrelid) a WHERE a = ANY (known)))) THEN
    RAISE;
  END IF;
%sEND`, oids(emptied), oids(beside), sql, strings.Join(deletes, "")))
}

// oids is an array of the OIDs of those tables that are there.
func oids(tables []catalog.Name) string {
	out := make([]string, len(tables))
	for i, t := range tables {
		out[i] = "to_regclass(" + dump.QuoteLiteral(dump.QuoteIdent(t.Schema)+"."+dump.QuoteIdent(t.Name)) + ")::oid"
	}
	return "array_remove(ARRAY[" + strings.Join(out, ", ") + "], NULL)"
}

// truncatedElsewhere is why a TRUNCATE of one shard of the source is not applied
// to a table that holds the rows of others as well. Which of its rows came from
// which shard is not known here.
func truncatedElsewhere(t *Target) *pgerror.Error {
	return pgerror.New(pgerror.FeatureNotSupported, "TRUNCATE of %s on one shard of the source would remove the rows of the others", t.sourceName()).
		WithHint("RESYNC copies the table again, from all shards. Next time use DELETE, or TRUNCATE it on every shard and RESYNC")
}

// truncate writes a chunk that is a TRUNCATE. Its statement is used once.
func (b *builder) truncate(s *script, entries []entry, destination func(catalog.Name) (catalog.Name, bool)) {
	truncated := entries[0].change.Truncated
	targets := make([]*Target, len(entries))
	for i, e := range entries {
		targets[i] = e.target
	}
	var beside []catalog.Name
	for _, r := range truncated.Relations {
		here := slices.ContainsFunc(targets, func(t *Target) bool { return t.Source.OID == r.OID })
		if here || destination == nil {
			continue
		}
		if name, ok := destination(catalog.Name{Schema: r.Schema, Name: r.Name}); ok {
			beside = append(beside, name)
		}
	}
	b.serial++
	name := "pgdrover_truncate_" + strconv.Itoa(b.serial)
	s.parse(name, truncateSQL(targets, truncated, beside))
	s.plain(name, op{kind: opTruncate, entry: entries[0], want: anyCount})
	b.leftOver = append(b.leftOver, name)
}
