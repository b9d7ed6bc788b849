package pgtest

import (
	"bytes"
	"net"
	"sync"
)

// rule says when a connection is to be reset. Exactly one of budget and request is used.
type rule struct {
	direction  Direction
	budget     int64  // bytes that may still pass
	request    []byte // what the client sends
	untilReply bool   // the request passes, the reset comes with the reply
	reply      []byte // what the server's answer contains, empty for anything
	fired      chan struct{}
	once       sync.Once // closes fired: several connections may await one rule's reply
}

// link is one forwarded connection. Its fields below done are guarded by the proxy's mutex.
type link struct {
	client, server *net.TCPConn
	once           sync.Once
	done           chan struct{} // closed by reset

	matched  *rule  // whose requests sent belongs to
	sent     []byte // the end of what the client sent, shorter than the request
	awaiting *rule  // the request has passed, its reply is held back
	answer   []byte // the end of what is held back, shorter than the reply
}

// reset sends RST to both sides.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.done)
		for _, conn := range []*net.TCPConn{l.client, l.server} {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
	})
}

// filter gives what of data passes and the rule that fires, if one does.
func (l *link) filter(armed *rule, direction Direction, data []byte) ([]byte, *rule) {
	if l.awaiting != nil && direction == ToClient {
		if !appendAndFind(&l.answer, data, l.awaiting.reply) {
			return nil, nil
		}
		return nil, l.awaiting
	}
	if armed == nil || armed.direction != direction || l.awaiting != nil {
		return data, nil
	}
	if armed.request == nil {
		pass := min(armed.budget, int64(len(data)))
		armed.budget -= pass
		if armed.budget > 0 {
			return data, nil
		}
		return data[:pass], armed
	}
	if l.matched != armed {
		l.matched, l.sent = armed, nil
	}
	before := len(l.sent)
	end := findEnd(l.sent, data, armed.request)
	if end < 0 {
		appendAndFind(&l.sent, data, armed.request)
		return data, nil
	}
	if !armed.untilReply {
		return data[:max(0, end-before-1)], armed
	}
	l.awaiting = armed
	return data, nil
}

// findEnd gives the index after the first occurrence of text in before+data, -1 if there is none.
func findEnd(before, data, text []byte) int {
	i := bytes.Index(append(bytes.Clone(before), data...), text)
	if i < 0 {
		return -1
	}
	return i + len(text)
}

// appendAndFind reports whether kept+data contains text; kept becomes its last
// len(text)-1 bytes, so that text is found across reads.
func appendAndFind(kept *[]byte, data, text []byte) bool {
	all := append(*kept, data...)
	found := bytes.Contains(all, text)
	*kept = bytes.Clone(all[max(0, len(all)-max(0, len(text)-1)):])
	return found
}
