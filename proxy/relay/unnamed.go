package relay

import (
	"slices"

	"github.com/pgdrover/pgdrover/proxy/statement"
)

// unnamed is the client's prepared statement without a name.
type unnamed struct {
	generation uint64 // 0: there is none
	last       uint64
	kept       bool // body is the whole of it
	body       []byte
	flags      statement.Flags
	effect     *effect
}

// formerUnnamed is what the statement without a name was before a message that may be
// skipped: the client's, and the server's.
type formerUnnamed struct {
	unnamed
	owner, generation uint64
}

// formerly notes it. Only what follows other messages up to a Sync can be skipped; there is
// nothing to note for the first one, which is what most drivers send.
func (s *session) formerly() *formerUnnamed {
	if !s.unsynced {
		return nil
	}
	was := &formerUnnamed{unnamed: s.unnamed, owner: s.slot.unnamedOwner, generation: s.slot.unnamedGeneration}
	s.unnamed.body = slices.Clone(s.unnamed.body) // the other one stays as it is
	return was
}

// restore makes it so again.
func (s *session) restore(was *formerUnnamed) {
	last := s.unnamed.last // is not given twice
	s.unnamed = was.unnamed
	s.unnamed.last = last
	s.slot.unnamedOwner, s.slot.unnamedGeneration = was.owner, was.generation
}
