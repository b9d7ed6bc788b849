package resync

import (
	"context"
	"fmt"
)

// Warnings tell what a swap brings with it that an operator should know before.
func (s *Shadow) Warnings() []string { return s.warnings }

// readWarnings looks for what a swap does to others who read the destination's
// stream, and for what takes time under its locks.
func (s *Shadow) readWarnings(ctx context.Context, q querier) error {
	rows, err := q.Query(ctx, `
SELECT format('publication %I is FOR ALL TABLES: its subscribers get the rows of the shadow table %s too, and fail if they have no such table', pubname, $2::text)
FROM pg_publication WHERE puballtables
UNION ALL
SELECT DISTINCT format('subscribers of publication %I keep the rows that they have of %s: a swap is not in the stream. The strategies truncate and reconcile are', p.pubname, t.relid::regclass)
FROM unnest($1::oid[]) t (relid) CROSS JOIN pg_publication p JOIN pg_publication_tables v ON v.pubname = p.pubname
JOIN pg_class c ON c.oid = t.relid AND c.relname = v.tablename JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = v.schemaname
WHERE NOT p.puballtables
UNION ALL
SELECT DISTINCT format('the default partition %s (%s) is read while readers wait, when the new partition is attached', d.partdefid::regclass, pg_size_pretty(pg_total_relation_size(d.partdefid)))
FROM pg_inherits i JOIN pg_partitioned_table d ON d.partrelid = i.inhparent AND d.partdefid <> 0 AND d.partdefid <> i.inhrelid
WHERE i.inhrelid = ANY ($1::oid[]) AND NOT d.partdefid = ANY ($1::oid[]) AND pg_total_relation_size(d.partdefid) > 0
UNION ALL
SELECT format('materialized view %s is built anew, from the rows of the new table', c.oid::regclass) FROM pg_class c WHERE c.oid = ANY ($1::oid[]) AND c.relkind = 'm'
ORDER BY 1`, s.oids(), s.Target().String())
	if err != nil {
		return fmt.Errorf("look for publications: %w", err)
	}
	if s.warnings, err = collectText(rows); err != nil {
		return fmt.Errorf("look for publications: %w", err)
	}
	return nil
}

// subscribed gives the units into which a subscription of PostgreSQL's own writes:
// it knows them by their OIDs.
func (s *Shadow) subscribed(ctx context.Context, q querier) ([]string, error) {
	rows, err := q.Query(ctx, `SELECT format('%s is written by a subscription of PostgreSQL''s own', srrelid::regclass) FROM pg_subscription_rel WHERE srrelid = ANY ($1::oid[])`, s.oids())
	if err != nil {
		return nil, fmt.Errorf("look for subscriptions: %w", err)
	}
	out, err := collectText(rows)
	if err != nil {
		return nil, fmt.Errorf("look for subscriptions: %w", err)
	}
	return out, nil
}
