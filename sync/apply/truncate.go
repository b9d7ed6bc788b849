package apply

import (
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// truncateSQL empties exactly the tables that the source says it has emptied.
// CASCADE has been followed there: all tables that it reached and that are
// published are in the list. Here it would reach others.
func truncateSQL(targets []*Target, c *stream.Truncated) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.only + t.name
	}
	sql := "TRUNCATE TABLE " + strings.Join(names, ", ")
	if c.RestartIdentity {
		sql += " RESTART IDENTITY"
	}
	return sql
}

// truncatedElsewhere is why a TRUNCATE of one shard of the source is not applied
// to a table that holds the rows of others as well. Which of its rows came from
// which shard is not known here.
func truncatedElsewhere(t *Target) *pgerror.Error {
	return pgerror.New(pgerror.FeatureNotSupported, "TRUNCATE of %s on one shard of the source would remove the rows of the others", t.sourceName()).
		WithHint("RESYNC copies the table again, from all shards. Next time use DELETE, or TRUNCATE it on every shard and RESYNC")
}

// truncate writes a chunk that is a TRUNCATE. Its statement is used once.
func (b *builder) truncate(s *script, entries []entry) {
	targets := make([]*Target, len(entries))
	for i, e := range entries {
		targets[i] = e.target
	}
	b.serial++
	name := "pgdrover_truncate_" + strconv.Itoa(b.serial)
	s.parse(name, truncateSQL(targets, entries[0].change.Truncated))
	s.plain(name, op{kind: opTruncate, entry: entries[0], want: anyCount})
	b.leftOver = append(b.leftOver, name)
}
