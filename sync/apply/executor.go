package apply

import (
	"time"
)

// flight is one chunk on its way: the script that applies it, and whether the
// transaction begins or ends with it.
type flight struct {
	group       *group
	chunk       *chunk
	script      *script
	number      int // of the chunk in its group
	first, last bool
	poll        bool // only asks how far the destination is flushed
}

// outcome is what became of a flight.
type outcome struct {
	flight   *flight
	failure  *failure
	inCommit bool // the failure is COMMIT's
	answer   answer
	took     time.Duration
}

// executor runs flights on a session, the next one behind the COMMIT of the one
// before, so that the backend goes on without a pause. It ends with its first
// failure or when in is closed.
type executor struct {
	session *session
	in      chan *flight // capacity 1
	out     chan outcome // has room for all that are in flight
	done    chan struct{}
}

func startExecutor(s *session) *executor {
	x := &executor{session: s, in: make(chan *flight, 1), out: make(chan outcome, 4), done: make(chan struct{})}
	go x.run()
	return x
}

// stop waits for the executor's end.
func (x *executor) stop() {
	close(x.in)
	<-x.done
}

func (x *executor) run() {
	defer close(x.done)
	commit := &script{}
	commit.reset()
	commit.commit()
	commit.sync()
	var next *flight // sent already
	for {
		f := next
		next = nil
		if f == nil {
			var ok bool
			if f, ok = <-x.in; !ok {
				return
			}
			x.session.send(f.script)
		}
		begin := time.Now()
		a, failed := x.session.await(f.script)
		x.session.sent()
		if failed == nil {
			failed = f.script.broken
		}
		if failed != nil {
			x.out <- outcome{flight: f, failure: failed}
			return
		}
		if !f.last {
			x.out <- outcome{flight: f, answer: a, took: time.Since(begin)}
			continue
		}
		select {
		case next = <-x.in: // nil if it is closed
		default:
		}
		if next != nil {
			x.session.send(commit, next.script)
		} else {
			x.session.send(commit)
		}
		a, failed = x.session.await(commit)
		if failed != nil {
			if next != nil && failed.fatal == nil {
				// What was sent behind has done nothing that is committed.
				if _, more := x.session.await(next.script); more != nil && more.fatal != nil {
					failed = more
				}
			}
			x.session.sent()
			x.out <- outcome{flight: f, failure: failed, inCommit: true}
			return
		}
		if next == nil {
			x.session.sent()
		}
		x.out <- outcome{flight: f, answer: a, took: time.Since(begin)}
	}
}
