package mirror

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mapping"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// structure compares tables of a mirror with each shard of its destination. It
// only reads, on connections of its own.
type structure struct {
	config     *config.Config
	definition config.Mirror
	pair       *pair
	mapping    *mapping.Mapping
}

// tableStructure is one table on both sides.
type tableStructure struct {
	table, destination catalog.Name
	source             *catalog.TableDescription   // of the first shard; nil: it is not there
	others             []*catalog.TableDescription // of the source's other shards, in order
	there              []*catalog.TableDescription // by shard of the destination
	mapping            drift.Mapping
	policy             drift.Policy
}

// stamped is what ReadStamps gives of one table: of each shard of the source, then
// of each shard of the destination. Equal ones mean equal descriptions.
type stamped []string

// names gives the names of tables at the destination, and what the mapping says.
func (s *structure) names(tables []catalog.Name) ([]catalog.Name, []drift.Mapping, error) {
	destinations, mappings := make([]catalog.Name, len(tables)), make([]drift.Mapping, len(tables))
	for i, table := range tables {
		m, err := drift.MappingOf(s.mapping, table)
		if err != nil {
			return nil, nil, err
		}
		destinations[i], mappings[i] = table, m
		if m != nil {
			destinations[i] = m.Table(table)
		}
	}
	return destinations, mappings, nil
}

// sides gives the servers that are read: the source's shards, the first of which
// counts, and the destination's.
func (s *structure) sides() []config.Server {
	return slices.Concat(s.pair.source, s.pair.destination)
}

// stamps tells cheaply which tables may have to be described again.
func (s *structure) stamps(ctx context.Context, tables []catalog.Name) (map[catalog.Name]stamped, error) {
	destinations, _, err := s.names(tables)
	if err != nil {
		return nil, err
	}
	sides := s.sides()
	found := make([]map[catalog.Name]string, len(sides))
	group, reading := errgroup.WithContext(ctx)
	for i, server := range sides {
		group.Go(func() error {
			conn, err := connect.Open(reading, server, "validate")
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			names := destinations
			if i < len(s.pair.source) {
				names = tables
			}
			found[i], err = catalog.ReadStamps(reading, conn, names)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make(map[catalog.Name]stamped, len(tables))
	for i, table := range tables {
		var stamp stamped
		for k, side := range found {
			if k < len(s.pair.source) {
				stamp = append(stamp, side[table])
			} else {
				stamp = append(stamp, side[destinations[i]])
			}
		}
		out[table] = stamp
	}
	return out, nil
}

// read describes tables on both sides.
func (s *structure) read(ctx context.Context, tables []catalog.Name) ([]*tableStructure, error) {
	destinations, mappings, err := s.names(tables)
	if err != nil {
		return nil, err
	}
	sides := s.sides()
	found := make([]map[catalog.Name]*catalog.TableDescription, len(sides))
	group, reading := errgroup.WithContext(ctx)
	for i, server := range sides {
		group.Go(func() (err error) {
			names := destinations
			if i < len(s.pair.source) {
				names = tables
			}
			found[i], err = describe(reading, server, names)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out := make([]*tableStructure, len(tables))
	for i, table := range tables {
		t := &tableStructure{
			table: table, destination: destinations[i], source: found[0][table], mapping: mappings[i],
			policy: drift.PolicyOf(s.config, s.definition, table),
		}
		for _, other := range found[1:len(s.pair.source)] {
			t.others = append(t.others, other[table])
		}
		for _, there := range found[len(s.pair.source):] {
			t.there = append(t.there, there[destinations[i]])
		}
		out[i] = t
	}
	return out, nil
}

// judge says what the differences of a table mean, shard by shard. before is the
// source's table as it was when the destination was right, nil if that is not
// known; leave leaves differences out and may be nil.
func (s *structure) judge(t *tableStructure, before *catalog.TableDescription, leave func(*drift.TableDifference) bool) []TableReport {
	out := make([]TableReport, len(t.there))
	for i, there := range t.there {
		comparison := drift.Comparison{Source: t.source, Destination: there, Before: before, Mapping: t.mapping, Publication: s.definition.Publication}
		var differences []drift.TableDifference
		found := comparison.Differences()
		for k, other := range t.others {
			found = append(found, comparison.OfShard(s.pair.source[k+1].Shard, other, found)...)
		}
		for _, d := range found {
			if !meant(s.definition, d) && (leave == nil || !leave(&d)) {
				differences = append(differences, d)
			}
		}
		judged := drift.Judge(differences, t.policy)
		judged.Table, judged.Destination = t.table, t.destination
		out[i] = TableReport{
			Mirror: s.definition.Name, Shard: s.pair.destination[i].Shard, Judgement: judged,
			SourceFingerprint: fingerprint(t.source), DestinationFingerprint: fingerprint(there), policy: t.policy,
		}
	}
	return out
}

// sourceEnds gives where the log of each shard of the source ends: a change that
// was seen before lies before it.
func (s *structure) sourceEnds(ctx context.Context) ([]stream.LSN, error) {
	out := make([]stream.LSN, len(s.pair.source))
	for i, server := range s.pair.source {
		conn, err := connect.Open(ctx, server, "validate")
		if err != nil {
			return nil, err
		}
		err = conn.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END`).Scan(&out[i])
		_ = conn.Close(context.WithoutCancel(ctx))
		if err != nil {
			return nil, fmt.Errorf("ask %s where its log ends: %w", connect.Place(server), err)
		}
	}
	return out, nil
}

// worst is what several shards together mean for a table: the heaviest verdict
// counts, and what is left out or cast on one is so on all.
func worst(reports []TableReport) drift.Judgement {
	out := drift.Judgement{Verdict: drift.OK, Would: drift.OK}
	for i, r := range reports {
		j := r.Judgement
		if i == 0 {
			out = j
			continue
		}
		heavier := j.Would.Worse(out.Would) == j.Would && j.Would != out.Would
		both, other := out, j
		if heavier {
			both, other = j, out
		}
		both.Verdict, both.Would = out.Verdict.Worse(j.Verdict), out.Would.Worse(j.Would)
		both.Skipped, both.Preserved, both.Nulled = union(both.Skipped, other.Skipped), union(both.Preserved, other.Preserved), union(both.Nulled, other.Nulled)
		both.Used = union(both.Used, other.Used)
		both.Approval = both.Approval || other.Approval
		if len(other.Casts) > 0 {
			casts := map[string]string{}
			for _, all := range []map[string]string{other.Casts, both.Casts} {
				for column, to := range all {
					casts[column] = to
				}
			}
			both.Casts = casts
		}
		out = both
	}
	return out
}

func union(a, b []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range append(append([]string{}, a...), b...) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
