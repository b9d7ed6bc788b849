package drift

import (
	"time"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Step is one statement that brings the destination's table closer to the
// source's.
type Step struct {
	Table   catalog.Name `json:"table"` // on the destination
	Kind    Kind         `json:"kind"`  // of the difference it is for
	Column  string       `json:"column,omitempty"`
	SQL     string       `json:"sql"`
	Inverse string       `json:"inverse,omitempty"` // undoes it, as far as no value is lost; "" if nothing does
	Lock    Lock         `json:"lock,omitempty"`    // of the table
	// Rewrites: the table is written anew under the lock. Scans: all of it is
	// read. Indexes: how many indexes are built.
	Rewrites bool `json:"rewrites,omitempty"`
	Scans    bool `json:"scans,omitempty"`
	Indexes  int  `json:"indexes,omitempty"`
	// Lossy: values that the destination has are lost or changed.
	Lossy bool `json:"lossy,omitempty"`
	// Alone: it cannot be run in a transaction block, or what it makes cannot
	// be used before the end of its transaction.
	Alone bool `json:"alone,omitempty"`
	// Resync: afterwards the table has to be copied again, as values are
	// needed that only the source has. After: to be run when that is done.
	Resync bool   `json:"resync,omitempty"`
	After  bool   `json:"after,omitempty"`
	Why    string `json:"why"`
}

// Rates by which steps are estimated: what one core and a plain disk do. They
// are to tell seconds from hours.
const (
	rewrittenPerSecond = 40 << 20  // bytes, of a table that is written anew
	scannedPerSecond   = 300 << 20 // bytes
	indexedPerSecond   = 400_000   // rows, per index
	momentOfLock       = 10 * time.Millisecond
)

// Estimate is about how long the step takes on a table of so many rows and
// bytes (heap and TOAST), once it has its lock.
func (s Step) Estimate(rows, bytes int64) time.Duration {
	per := func(amount, rate int64) time.Duration {
		return time.Duration(float64(max(amount, 0)) / float64(rate) * float64(time.Second))
	}
	d := momentOfLock + time.Duration(s.Indexes)*per(rows, indexedPerSecond)
	if s.Rewrites {
		d += per(bytes, rewrittenPerSecond)
	}
	if s.Scans {
		d += per(bytes, scannedPerSecond)
	}
	return d.Round(time.Millisecond)
}

// Blocks tells whether rows cannot be written while the step runs.
func (s Step) Blocks() bool { return strengths[s.Lock] > strengths[ShareUpdateExclusive] }
