package drift

import (
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// OfShard lists what differs between the destination and another shard of the
// source, beside what the first one has told. A shard that is as the first one
// has nothing to add. Columns that it has beside all of the first one's are as if
// the first had them: they can be added at the destination. What else would stop
// its rows, or is doubtful, is a SourceShards with the verdict of its rule: only
// the source can be put right. first is what Differences has given; other may be
// nil for a table that the shard does not have, which its stream tells.
func (c Comparison) OfShard(shard int, other *catalog.TableDescription, first []TableDifference) []TableDifference {
	if c.Source == nil || other == nil || c.Destination == nil || Fingerprint(other) == Fingerprint(c.Source) {
		return nil
	}
	here := c
	here.Source, here.Before = other, nil
	superset := !slices.ContainsFunc(c.Source.Columns, func(x catalog.ColumnDescription) bool { return other.Column(x.Name) == nil })
	var out []TableDifference
	for _, d := range here.Differences() {
		known := slices.ContainsFunc(first, func(f TableDifference) bool {
			return f.Kind == d.Kind && f.Column == d.Column && f.Object == d.Object && f.SourceHas == d.SourceHas || f.Column != "" && f.Column == d.Column && f.Kind != d.Kind && f.TargetHas == d.TargetHas
		})
		if known || d.Verdict == OK {
			continue
		}
		switch d.Kind {
		case NotPublished, PublishedOperation: // its stream tells
			continue
		case SequenceDiffers, DefaultDiffers, IdentityDiffers: // shards number their rows otherwise
			continue
		case AddedNull, AddedConstant, AddedVolatile, AddedIdentity, AddedGenerated, AddedNotNull, AddedDomain:
			if superset {
				d.Reason = fmt.Sprintf("shard %d of the source has it, its first one has not: %s", shard, d.Reason)
				out = append(out, d)
				continue
			}
		}
		d.Reason = fmt.Sprintf("shard %d of the source is other than its first one (%s): %s", shard, d.Kind, d.Reason)
		d.Kind, d.match = SourceShards, nil
		d.SourceHas = fmt.Sprintf("%s on shard %d", orNothing(d.SourceHas), shard)
		out = append(out, d)
	}
	return out
}
