package schema

import (
	"github.com/pgdrover/pgdrover/dump"
)

// Phases gives each entry of the source's dump its phase, by dump id. The
// kind's own phase (dump.PhaseOf) is refined by what the catalogs know, and no
// entry comes before one it depends on: a comment on an index follows the
// index, a view that needs a primary key waits for it.
//
// With keysAfterRows primary keys and the indexes of replica identities are
// built when the rows are there, which is faster; without it they are there
// before, for rows that arrive as changes.
//
// An unknown kind is an error: nothing is left out unnoticed.
func (s *Source) Phases(keysAfterRows bool) (map[int]dump.Phase, error) {
	phases := make(map[int]dump.Phase, len(s.Archive.Entries))
	for i := range s.Archive.Entries {
		phase, err := s.ownPhase(&s.Archive.Entries[i], keysAfterRows)
		if err != nil {
			return nil, err
		}
		phases[s.Archive.Entries[i].DumpID] = phase
	}
	// The table of contents is sorted so that what is depended on comes first
	// (pg_dump_sort.c); a second pass is needed only where that is not so.
	for changed := true; changed; {
		changed = false
		for i := range s.Archive.Entries {
			e := &s.Archive.Entries[i]
			if phase := phases[e.DumpID]; phase != dump.NoPhase {
				if later := s.latest(e, phase, phases); later != phase {
					phases[e.DumpID], changed = later, true
				}
			}
		}
	}
	return phases, nil
}

func (s *Source) latest(e *dump.Entry, phase dump.Phase, phases map[int]dump.Phase) dump.Phase {
	for _, dependency := range e.Dependencies {
		if of, ok := phases[dependency]; ok && of != dump.NoPhase && of > phase {
			phase = of
		}
	}
	return phase
}

// ownPhase is the phase of an entry without regard to what it depends on.
func (s *Source) ownPhase(e *dump.Entry, keysAfterRows bool) (dump.Phase, error) {
	phase, err := dump.PhaseOf(e.Kind)
	if err != nil {
		return phase, err
	}
	switch e.Kind {
	case dump.KindConstraint:
		k := s.Constraints[e.OID]
		switch {
		case keysAfterRows && k.Type != 'n':
			return dump.PostData, nil
		case k.Type == 'p' || k.Type == 'n' || s.Indexes[k.Index].ReplicaIdentity:
			return dump.PreData, nil
		default:
			return dump.PostData, nil
		}
	case dump.KindIndex:
		// Changes cannot be applied without the index that identifies rows.
		if s.Indexes[e.OID].ReplicaIdentity && !keysAfterRows {
			return dump.PreData, nil
		}
	case dump.KindIndexAttach:
		// As early as both indexes are there: partitions of a primary key.
		if keysAfterRows {
			return dump.PostData, nil
		}
		return dump.PreData, nil
	case dump.KindTrigger, dump.KindRule:
		// These would fire while changes are applied, a second time for what
		// the source's own have already done.
		if s.Firing[e.OID].OnReplica() {
			return dump.Cutover, nil
		}
	}
	return phase, nil
}
