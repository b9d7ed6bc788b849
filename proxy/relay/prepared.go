package relay

import (
	"cmp"
	"container/list"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/proxy/statement"
)

// effect is what a single statement does to the session, known from its text.
type effect struct {
	change statement.Change
}

// prepared is a statement that clients have prepared by the protocol: one for all
// that have the same text and parameter types. But for dropped, it does not change.
type prepared struct {
	name    string // on servers
	body    []byte // of Parse, behind the name
	summary statement.Summary
	effect  *effect
	// dropped: no client has it or can get it any more. Servers close it.
	dropped atomic.Bool
}

// namePrefix begins the names of statements on servers.
const namePrefix = "pgdrover_"

const (
	// maxPreparedLength is the longest text that is kept so that a statement
	// survives a change of its server connection, in bytes.
	maxPreparedLength = 1 << 20
	// maxUnnamedLength is the same of the statement without a name.
	maxUnnamedLength = 4 << 10
	// maxUnused is how many statements are kept that no client has.
	maxUnused = 1000
	// maxUnusedBytes bounds their texts.
	maxUnusedBytes = 8 << 20
	// maxNames is how many statements one client may have.
	maxNames = 10_000
)

// statements are the prepared statements of all clients, by their text.
type statements struct {
	mu     sync.Mutex
	byBody map[string]*entry
	last   uint64
	unused list.List // of *entry, the one unused longest first
	bytes  int       // of texts in unused
}

type entry struct {
	prepared *prepared
	clients  int
	place    *list.Element // in unused
	gone     bool          // not in byBody any more
}

// take gives the statement of a Parse for a client, which is to release it.
func (s *statements) take(body []byte) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byBody == nil {
		s.byBody = make(map[string]*entry)
	}
	e := s.byBody[string(body)]
	if e == nil {
		s.last++
		e = &entry{prepared: newPrepared(namePrefix+strconv.FormatUint(s.last, 10), body)}
		s.byBody[string(body)] = e
	}
	if e.place != nil {
		s.unused.Remove(e.place)
		e.place = nil
		s.bytes -= len(e.prepared.body)
	}
	e.clients++
	return e
}

// release says that a client has it no more.
func (s *statements) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.clients--; e.clients > 0 {
		return
	}
	if e.gone {
		e.prepared.dropped.Store(true)
		return
	}
	e.place = s.unused.PushBack(e)
	s.bytes += len(e.prepared.body)
	for s.unused.Len() > maxUnused || s.bytes > maxUnusedBytes {
		s.dropOldest()
	}
}

// dropOldest forgets the statement that no client has had for longest. mu is held.
func (s *statements) dropOldest() {
	oldest := s.unused.Remove(s.unused.Front()).(*entry)
	oldest.place = nil
	s.bytes -= len(oldest.prepared.body)
	s.forget(oldest)
	oldest.prepared.dropped.Store(true)
}

// ResetPrepared forgets the prepared statements that no client has. Server
// connections close theirs when they are used for such statements next.
func (r *Relay) ResetPrepared() {
	s := &r.statements
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unused.Len() > 0 {
		s.dropOldest()
	}
}

// retire has the text prepared under a new name from now on: what it describes has
// changed.
func (s *statements) retire(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(e)
}

func (s *statements) forget(e *entry) {
	if !e.gone {
		e.gone = true
		delete(s.byBody, string(e.prepared.body))
	}
}

// Prepared is a prepared statement as SHOW PREPARED tells of it.
type Prepared struct {
	Name      string // on servers
	Statement string
	Clients   int
}

// Prepared gives the prepared statements that are kept, by their names.
func (r *Relay) Prepared() []Prepared {
	s := &r.statements
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Prepared, 0, len(s.byBody))
	for _, e := range s.byBody {
		out = append(out, Prepared{e.prepared.name, string(textOf(e.prepared.body)), e.clients})
	}
	slices.SortFunc(out, func(a, b Prepared) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func newPrepared(name string, body []byte) *prepared {
	p := &prepared{name: name, body: append([]byte(nil), body...)}
	p.summary, p.effect = understand(textOf(p.body))
	return p
}

// textOf gives the SQL that a Parse's body begins with.
func textOf(body []byte) []byte {
	for i, c := range body {
		if c == 0 {
			return body[:i]
		}
	}
	return body
}

// understand reads SQL; the effect is nil if there is none, or if it is not known.
func understand(sql []byte) (statement.Summary, *effect) {
	summary := statement.Scan(sql)
	if summary.Flags&statement.Sets != 0 && summary.Statements == 1 {
		if change := statement.ParseSet(sql); change.Scope != statement.Unclear {
			return summary, &effect{change: change}
		}
	}
	return summary, nil
}
