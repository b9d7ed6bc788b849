package stream

import (
	"bytes"
	"encoding/binary"
)

// The messages of pgoutput that are not changes (PostgreSQL manual, "Logical
// Replication Message Formats").
const (
	beginMessage        = 'B'
	commitMessage       = 'C'
	originMessage       = 'O'
	relationMessage     = 'R'
	typeMessage         = 'Y'
	streamStartMessage  = 'S'
	streamStopMessage   = 'E'
	streamCommitMessage = 'c'
	streamAbortMessage  = 'A'
)

// The bits of a Truncate message's options.
const (
	truncateCascade         = 1
	truncateRestartIdentity = 2
)

// decodeChange decodes the body (what is behind the kind, and behind the xid
// that streaming adds) of an Insert, Update, Delete or Truncate message into c.
// Its tuples point into body.
func decodeChange(kind byte, body []byte, known *relations, c *Change) error {
	if kind == byte(Truncate) {
		return decodeTruncate(body, known, c)
	}
	if len(body) < 5 {
		return malformed(kind, "its length is wrong")
	}
	oid := binary.BigEndian.Uint32(body)
	relation := known.find(oid)
	if relation == nil {
		return unknownRelation(kind, oid)
	}
	*c = Change{Kind: Kind(kind), Relation: relation}
	mark, rest := body[4], body[5:]
	var err error
	if (mark == 'K' || mark == 'O') && kind != byte(Insert) {
		c.OldFull = mark == 'O'
		if c.Old, rest, err = decodeTuple(kind, rest, relation); err != nil {
			return err
		}
		if kind == byte(Delete) {
			return atEnd(kind, rest)
		}
		if len(rest) == 0 {
			return malformed(kind, "it has no new tuple")
		}
		mark, rest = rest[0], rest[1:]
	}
	if mark != 'N' || kind == byte(Delete) {
		return malformed(kind, "a tuple of unknown meaning")
	}
	if c.New, rest, err = decodeTuple(kind, rest, relation); err != nil {
		return err
	}
	return atEnd(kind, rest)
}

func atEnd(kind byte, rest []byte) error {
	if len(rest) > 0 {
		return malformed(kind, "its length is wrong")
	}
	return nil
}

// decodeTuple checks TupleData and cuts it off.
func decodeTuple(kind byte, data []byte, relation *Relation) (tuple Tuple, rest []byte, err error) {
	if len(data) < 2 || int(binary.BigEndian.Uint16(data)) != len(relation.Columns) {
		return nil, nil, malformed(kind, "it has another number of columns than its relation")
	}
	data = data[2:]
	n := measureTuple(data, len(relation.Columns))
	if n < 0 {
		return nil, nil, malformed(kind, "a value goes beyond its end, or is of unknown format")
	}
	return data[:n:n], data[n:], nil
}

// measureTuple gives the length of a tuple with that many columns at the start
// of data, -1 if there is none.
func measureTuple(data []byte, columns int) int {
	at := 0
	for range columns {
		if at >= len(data) {
			return -1
		}
		switch Format(data[at]) {
		case Null, Unchanged:
			at++
		case Text, Binary:
			if len(data)-at < 5 {
				return -1
			}
			length := int64(binary.BigEndian.Uint32(data[at+1:]))
			at += 5
			if length > int64(len(data)-at) {
				return -1
			}
			at += int(length)
		default:
			return -1
		}
	}
	return at
}

func decodeTruncate(body []byte, known *relations, c *Change) error {
	in := cursor{rest: body}
	n, options := in.uint32(), in.byte()
	if in.bad || int64(n)*4 != int64(len(in.rest)) {
		return malformed(byte(Truncate), "its length is wrong")
	}
	t := &Truncated{
		Relations: make([]*Relation, n),
		Cascade:   options&truncateCascade != 0, RestartIdentity: options&truncateRestartIdentity != 0,
	}
	for i := range t.Relations {
		oid := in.uint32()
		if t.Relations[i] = known.find(oid); t.Relations[i] == nil {
			return unknownRelation(byte(Truncate), oid)
		}
	}
	*c = Change{Kind: Truncate, Truncated: t}
	return nil
}

// messagePrefix begins the prefix of every logical message that is kept.
var messagePrefix = []byte("pgdrover.")

// ours tells whether the body of a Message has a prefix of ours. Nothing else is
// looked at: what others write is not for anybody here, and neither is the
// heartbeat.
func ours(body []byte) bool {
	const flagsAndLSN = 1 + 8
	return len(body) > flagsAndLSN && bytes.HasPrefix(body[flagsAndLSN:], messagePrefix)
}

// decodeLogical decodes the body of a Message. Its content points into body.
func decodeLogical(body []byte) (event LogicalEvent, transactional bool, err error) {
	in := cursor{rest: body}
	transactional = in.byte()&1 != 0
	event.LSN, event.Prefix = in.lsn(), in.string()
	event.Content = in.take(int(in.uint32()))
	return event, transactional, in.end(byte(Message))
}
