package stream

import (
	"bytes"

	"github.com/pgdrover/pgdrover/pgerror"
)

// relations are the tables as last described, by OID. One that is described
// again in the same words stays the same Relation. It is used by one goroutine.
type relations struct {
	known    map[uint32]described
	last     *Relation // of the last find
	fallback *relations
}

type described struct {
	relation *Relation
	message  []byte // without its kind and what streaming adds
}

func newRelations(fallback *relations) *relations {
	return &relations{known: map[uint32]described{}, fallback: fallback}
}

// find gives a table, nil if it was never described.
func (r *relations) find(oid uint32) *Relation {
	if r.last != nil && r.last.OID == oid {
		return r.last
	}
	if d, ok := r.lookUp(oid); ok {
		r.last = d.relation
		return d.relation
	}
	return nil
}

func (r *relations) lookUp(oid uint32) (described, bool) {
	d, ok := r.known[oid]
	if !ok && r.fallback != nil {
		return r.fallback.lookUp(oid)
	}
	return d, ok
}

// describe takes the body of a Relation message.
func (r *relations) describe(body []byte) error {
	c := cursor{rest: body}
	oid := c.uint32()
	d, ok := r.lookUp(oid)
	if !ok || !bytes.Equal(d.message, body) {
		relation, err := decodeRelation(body)
		if err != nil {
			return err
		}
		d = described{relation, bytes.Clone(body)}
	}
	r.known[oid] = d
	r.last = d.relation
	return nil
}

// publish makes what one transaction was told known to all: it has committed.
func (r *relations) publish(to *relations) {
	for oid, d := range r.known {
		to.known[oid] = d
	}
	to.last = nil
}

func decodeRelation(body []byte) (*Relation, error) {
	c := cursor{rest: body}
	r := &Relation{OID: c.uint32(), Schema: c.string(), Name: c.string(), Identity: c.byte()}
	if r.Schema == "" { // how pg_catalog is sent
		r.Schema = "pg_catalog"
	}
	n := int(c.uint16())
	if c.bad || n > len(c.rest)/10 {
		return nil, malformed('R', "its length is wrong")
	}
	r.Columns = make([]RelationColumn, n)
	for i := range r.Columns {
		flags := c.byte()
		r.Columns[i] = RelationColumn{Name: c.string(), Key: flags&1 != 0, Type: c.uint32(), Modifier: int32(c.uint32())}
	}
	return r, c.end('R')
}

// unknownRelation is the error for a change of a table that was not described.
func unknownRelation(kind byte, oid uint32) error {
	return pgerror.New(pgerror.ProtocolViolation, "message %q of pgoutput for a relation with OID %d, which was not described", kind, oid)
}
