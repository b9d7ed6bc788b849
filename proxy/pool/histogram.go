package pool

import (
	"math/bits"
	"time"
)

// Bucket i of a histogram counts durations below firstBucket << i; the last one
// counts all others.
const (
	buckets     = 22
	firstBucket = 64 * time.Microsecond // the next to last is below 67 s
)

// histogram counts durations. It is not safe for concurrent use.
type histogram struct {
	counts [buckets]uint32 // since it was merged last, or since the start modulo 2^32
	any    bool
}

// observe counts a duration in nanoseconds.
func (h *histogram) observe(took int64) {
	h.counts[bucketOf(took)]++
	h.any = true
}

func bucketOf(took int64) int {
	if took < 0 {
		return 0
	}
	return min(bits.Len64(uint64(took)/uint64(firstBucket)), buckets-1)
}

// Histogram is how often durations of each length were seen.
type Histogram struct {
	Counts [buckets]uint64
	Sum    time.Duration
}

// take adds what from has counted and empties it.
func (h *Histogram) take(from *histogram) {
	if !from.any {
		return
	}
	for i, n := range from.counts {
		h.Counts[i] += uint64(n)
	}
	*from = histogram{}
}

// Bounds gives the upper bounds of all buckets but the last, which has none.
func Bounds() []time.Duration {
	out := make([]time.Duration, buckets-1)
	for i := range out {
		out[i] = firstBucket << i
	}
	return out
}
