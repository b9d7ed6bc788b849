package apply

import (
	"context"
	"errors"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// class is what an error means for the work that met it.
type class byte

const (
	ofTable   class = iota // the change cannot be applied: its table stops
	transient              // nobody's fault: the group is done again
)

// classify tells errors apart by their SQLSTATE (errcodes.txt).
func classify(f *failure) class {
	if f.fatal != nil || f.op.kind == opPosition && f.err == nil {
		return transient // also a position that another session has moved: see what it did
	}
	if f.err == nil {
		return ofTable
	}
	// The session is there: what was wrong with a message was a value in it.
	if f.err.Code != pgerror.ProtocolViolation && transientCode(f.err.Code) {
		return transient
	}
	return ofTable
}

func transientCode(code string) bool {
	switch code {
	case "25006", // read only: in recovery, a replica
		"55P03", // lock not available
		"57014", // cancelled by hand
		"55006": // object in use
		return true
	}
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", // connection
		"40", // serialization, deadlock
		"53", // out of disk, memory, connections
		"58": // the server's system failed
		return true
	}
	return code[:4] == "57P0"
}

// errStopped means that waiting for a server was given up because Run is told
// to end; nothing is lost by that.
var errStopped = errors.New("told to stop")

// errRestart means that a large transaction has to be read again from its begin.
var errRestart = errors.New("the transaction begins again")

// delay is how long the n-th attempt in a row waits, n from 1.
func (o *Options) delay(n int) time.Duration {
	d := o.RetryMinDelay
	for range min(n-1, 30) {
		if d >= o.RetryMaxDelay {
			break
		}
		d *= 2
	}
	return min(d, o.RetryMaxDelay)
}

// persist calls f until it succeeds or fails for good.
func (a *Applier) persist(ctx context.Context, f func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := f(ctx)
		if err == nil || !transientCode(pgerror.Code(err)) || errors.Is(err, context.Canceled) {
			a.setWaiting(nil)
			return err
		}
		if most := a.options.RetryMaxAttempts; most > 0 && attempt >= most {
			return err
		}
		a.setWaiting(err)
		timer := time.NewTimer(a.options.delay(attempt))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (a *Applier) setWaiting(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && (a.waiting == nil || a.waiting.Error() != err.Error()) {
		a.log.Warn("waiting to look up a table", "error", err)
	}
	a.waiting = err
}
