package copy

import (
	"encoding/binary"

	"github.com/pgdrover/pgdrover/pgerror"
)

// longestMessage is the most a server may send in one message that is not
// CopyData: errors, notices, the rows of our own small queries.
const longestMessage = 1 << 20

// message is one message of a server. Its body is valid until the next is read.
type message struct {
	kind byte
	body []byte
}

// scanner follows the messages of a server through a stream that comes in
// pieces. CopyData is hopped over, however long it is; other messages are
// collected. The zero scanner is at the start of a message.
type scanner struct {
	left    int64   // bytes of a CopyData that are still to come
	have    int     // bytes of a CopyData's header that have come, 0 to 4
	length  [4]byte // of a header that is not complete
	other   []byte  // what has come of another message
	copied  int64   // CopyData that have begun
	decoded bool    // other has been handed out
}

// boundary tells whether the stream is between two messages.
func (s *scanner) boundary() bool {
	return s.left == 0 && s.have == 0 && (len(s.other) == 0 || s.decoded)
}

// copyData gives how many bytes at the start of data belong to CopyData,
// headers included. What follows begins, or goes on with, another message.
func (s *scanner) copyData(data []byte) (int, error) {
	if len(s.other) > 0 && !s.decoded {
		return 0, nil
	}
	n := 0
	for n < len(data) {
		switch {
		case s.left > 0:
			hop := min(s.left, int64(len(data)-n))
			s.left -= hop
			n += int(hop)
		case s.have > 0:
			s.length[s.have-1] = data[n]
			s.have++
			n++
			if s.have == 5 {
				s.have = 0
				if err := s.enter(s.length[:]); err != nil {
					return n, err
				}
			}
		case data[n] != 'd':
			return n, nil
		case len(data)-n >= 5:
			s.copied++
			if err := s.enter(data[n+1 : n+5]); err != nil {
				return n, err
			}
			n += 5
		default:
			s.copied++
			s.have = 1
			n++
		}
	}
	return n, nil
}

// enter takes the length of a CopyData.
func (s *scanner) enter(length []byte) error {
	size := binary.BigEndian.Uint32(length)
	if size < 4 || size > 1<<31-1 {
		return malformed('d', size)
	}
	s.left = int64(size) - 4
	return nil
}

// next collects a message that is not CopyData from the start of data. ok is
// false if data ends before it does.
func (s *scanner) next(data []byte) (m message, rest []byte, ok bool, err error) {
	if s.decoded {
		s.other, s.decoded = s.other[:0], false
	}
	if missing := 5 - len(s.other); missing > 0 {
		n := min(missing, len(data))
		s.other = append(s.other, data[:n]...)
		data = data[n:]
		if len(s.other) < 5 {
			return m, nil, false, nil
		}
	}
	size := binary.BigEndian.Uint32(s.other[1:])
	if size < 4 || size > longestMessage {
		return m, nil, false, malformed(s.other[0], size)
	}
	n := min(int(size)+1-len(s.other), len(data))
	s.other = append(s.other, data[:n]...)
	if len(s.other) < int(size)+1 {
		return m, nil, false, nil
	}
	s.decoded = true
	return message{kind: s.other[0], body: s.other[5:]}, data[n:], true, nil
}

func malformed(kind byte, size uint32) error {
	return pgerror.New(pgerror.ProtocolViolation, "the server sent a message of type %q with the length %d", kind, size)
}
