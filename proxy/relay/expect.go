package relay

import "github.com/pgdrover/pgdrover/pgerror"

// expectation is one message that was sent to the server, by what it answers. In
// their order they say what every message of the server belongs to.
type expectation struct {
	kind expectationKind
	// own: the proxy has sent it, and the client knows nothing of it.
	own bool
	// statement is what a Parse prepares or a Close closes on the server.
	statement *prepared
	// name is the client's own of what is parsed or closed, for undo.
	name string
	// unnamed: the Parse or Close is of the statement without a name.
	unnamed bool
	// generation is that of the unnamed statement that the Parse has made.
	generation uint64
	// was is what that was before, for undo; nil where the message cannot be skipped.
	was *formerUnnamed
	// entry, of a Close, is what name was; released when it is closed.
	entry *entry
	// effect is what the statement that runs does to the session.
	effect *effect
	// instead is the error that takes the place of the one that the server
	// will give: the message was made so that it fails.
	instead *pgerror.Error
	// insteadOf is the SQLSTATE of that error; "" for any.
	insteadOf string
}

// doubtful tells whether it depends on the answer which statements the server and the
// client have.
func (e expectation) doubtful() bool {
	return e.was != nil || e.statement != nil || e.name != "" || e.entry != nil
}

type expectationKind uint8

const (
	expectQuery    expectationKind = iota // any answers, ReadyForQuery last
	expectFunction                        // FunctionCallResponse, ReadyForQuery
	expectParse                           // ParseComplete
	expectBind                            // BindComplete
	expectDescribe                        // RowDescription or NoData, a ParameterDescription may be before
	expectExecute                         // rows, then CommandComplete, EmptyQuery or PortalSuspended
	expectClose                           // CloseComplete
	expectSync                            // ReadyForQuery
	answerParse                           // none: the proxy itself says ParseComplete
	answerClose                           // none: the proxy itself says CloseComplete
	copyEnded                             // none: CopyDone or CopyFail
)

// needsReady tells whether the message is answered by ReadyForQuery.
func (k expectationKind) needsReady() bool {
	return k == expectQuery || k == expectFunction || k == expectSync
}

// extended tells whether an error of the message has the server skip everything
// up to Sync.
func (k expectationKind) extended() bool { return !k.needsReady() }

// maxExpectations bounds what is sent ahead of its answers.
const maxExpectations = 8192

// expectations is a queue.
type expectations struct {
	ring  []expectation // its length is a power of two
	first int
	n     int
	ready int // of them, how many ReadyForQuery will answer
}

func (q *expectations) empty() bool { return q.n == 0 }

func (q *expectations) full() bool { return q.n >= maxExpectations }

func (q *expectations) push(e expectation) {
	if q.n == len(q.ring) {
		larger := make([]expectation, max(8, 2*len(q.ring)))
		for i := range q.n {
			larger[i] = *q.at(i)
		}
		q.ring, q.first = larger, 0
	}
	q.ring[(q.first+q.n)&(len(q.ring)-1)] = e
	q.n++
	if e.kind.needsReady() {
		q.ready++
	}
}

// at gives the i-th from the front.
func (q *expectations) at(i int) *expectation { return &q.ring[(q.first+i)&(len(q.ring)-1)] }

// front gives the first, nil if there is none.
func (q *expectations) front() *expectation {
	if q.n == 0 {
		return nil
	}
	return &q.ring[q.first]
}

func (q *expectations) pop() expectation {
	e := q.ring[q.first]
	q.ring[q.first] = expectation{}
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.n--
	if e.kind.needsReady() {
		q.ready--
	}
	if q.n == 0 && len(q.ring) > 64 { // after a long pipeline
		*q = expectations{}
	}
	return e
}

// ignoreSyncs is what CopyInResponse means: the server takes no notice of the Syncs
// that were sent until the copy ends. It tells whether the end was sent already.
func (q *expectations) ignoreSyncs() (ended bool) {
	kept := 0
	if q.n > 0 && q.front().kind == expectExecute {
		kept = 1
	}
	for i := kept; i < q.n; i++ {
		if q.at(i).kind == copyEnded {
			return true
		}
		if q.at(i).kind == expectSync {
			q.remove(i)
			i--
		}
	}
	return false
}

func (q *expectations) remove(i int) {
	if q.at(i).kind.needsReady() {
		q.ready--
	}
	for ; i+1 < q.n; i++ {
		*q.at(i) = *q.at(i + 1)
	}
	*q.at(i) = expectation{}
	q.n--
}
