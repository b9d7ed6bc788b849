package schema

import (
	"fmt"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/drift"
)

// Compare lists every difference between the source and one shard, each with
// the phase that would remove it.
func Compare(source *Source, destination *Destination, opts PlanOptions) ([]drift.Difference, error) {
	phases, err := source.Phases(false)
	if err != nil {
		return nil, err
	}
	entries := source.Archive.Entries
	if opts.OnlyPublished {
		if err := source.publishes(); err != nil {
			return nil, err
		}
		entries = source.inScope()
	}
	all := drift.Compare(entries, destination.Archive.Entries, Rules(source, destination.Shards, opts))
	left := opts.Without.of(source.Archive.Entries)
	out := all[:0]
	for _, d := range all {
		if left[d.SourceID] {
			continue // whatever the destination has of it is its own
		}
		if opts.OnlyPublished && d.What == drift.Extra {
			continue // what is beside the published tables is nobody's business
		}
		d.Shard = destination.Server.Shard
		if phase, ok := phases[d.SourceID]; ok {
			d.Phase = phase
		}
		d.Hint = hintForDifference(source, destination, d)
		out = append(out, d)
	}
	return out, nil
}

// inScope gives the entries that scope = "publication" takes.
func (s *Source) inScope() []dump.Entry {
	byID := make(map[int]*dump.Entry, len(s.Archive.Entries))
	for i := range s.Archive.Entries {
		byID[s.Archive.Entries[i].DumpID] = &s.Archive.Entries[i]
	}
	scope, _ := s.published(byID)
	var out []dump.Entry
	for _, e := range s.Archive.Entries {
		if scope[e.DumpID] {
			out = append(out, e)
		}
	}
	return out
}

func hintForDifference(source *Source, destination *Destination, d drift.Difference) string {
	switch d.What {
	case drift.Missing:
		return fmt.Sprintf("SCHEMA_SYNC %s %s %s %s; creates it", phaseWord(d.Phase), dump.QuoteIdent(source.Server.Cluster),
			dump.QuoteIdent(destination.Server.Cluster), publicationWord(source))
	case drift.Extra:
		return "drop it on the destination, or create it on the source"
	case drift.Owner:
		return fmt.Sprintf("ALTER … OWNER TO %s; on the destination", dump.QuoteIdent(d.Source))
	}
	return "change one side, or drop the object on the destination and run its phase again"
}

func publicationWord(source *Source) string {
	if source.Publication.Name == "" {
		return "<publication>"
	}
	return dump.QuoteIdent(source.Publication.Name)
}

func phaseWord(p dump.Phase) string {
	switch p {
	case dump.PostData:
		return "POST"
	case dump.Cutover:
		return "CUTOVER"
	case dump.PostCutover:
		return "POST_CUTOVER"
	}
	return "PRE"
}
