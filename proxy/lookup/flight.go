package lookup

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// question is what is asked of a server. All who ask the same share the answer.
type question struct {
	who
	passed bool // by passthrough_auth, with this password
	digest [sha256.Size]byte
}

// flight is a question under way.
type flight struct {
	done chan struct{} // closed when err and what the question is about are there
	err  error

	answer   answer   // of auth_query
	password password // of passthrough_auth
}

// ask has f answer the question, unless it is being answered: f runs once, in a
// goroutine of its own, so that it does not end with the one who asked first.
// It waits at most until ctx ends.
func (d *Directory) ask(ctx context.Context, c *config.Config, q question, f func(context.Context, *flight) error) (*flight, error) {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, errClosed
	}
	shared, ok := d.questions[q]
	if !ok {
		shared = &flight{done: make(chan struct{})}
		d.questions[q] = shared
		d.asking.Go(func() { d.answer(q, shared, timeout(c), f) })
	}
	d.mu.Unlock()
	select {
	case <-shared.done:
		return shared, shared.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

var errClosed = pgerror.New(pgerror.CannotConnectNow, "the server is shutting down")

// answer runs f when there is a place for one more question to the database. If
// there is none for so long, those who wait are told: they have waited as well.
func (d *Directory) answer(q question, shared *flight, patience time.Duration, f func(context.Context, *flight) error) {
	defer close(shared.done)
	defer func() {
		d.mu.Lock()
		delete(d.questions, q)
		d.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(d.base, patience)
	defer cancel()
	place := d.place(q.database)
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
		shared.err = f(ctx, shared)
	case <-ctx.Done():
		shared.err = errBusy
	}
	if shared.err != nil && d.base.Err() != nil {
		shared.err = errClosed
	}
}

var errBusy = pgerror.New(pgerror.CannotConnectNow, "too many users are being looked up").
	WithDetail("At most %d connections ask the server of a database at a time.", maxQuestions)

// timeout bounds one question: connecting, and what is asked.
func timeout(c *config.Config) time.Duration {
	return max(time.Second, 2*c.General.ConnectTimeout)
}

// place gives the places of a database; there are as many of these as the
// configuration had databases.
func (d *Directory) place(database string) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.places[database] == nil {
		d.places[database] = make(chan struct{}, maxQuestions)
	}
	return d.places[database]
}
