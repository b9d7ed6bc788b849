package stream

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// The defaults of Options.
const (
	DefaultSpillMemory    = 64 << 20
	DefaultQueueMemory    = 64 << 20
	DefaultStatusInterval = 10 * time.Second
	DefaultReceiveTimeout = 2 * time.Minute
)

// Options say what a Reader reads and what it may use.
type Options struct {
	Server       config.Server
	Slot         string
	Publications []string
	// Start is where to begin; the slot's confirmed position if that is later.
	// Transactions that end before it are not sent.
	Start LSN
	// Binary asks for values in binary where their type has a send function
	// (servers from 14 on).
	Binary bool
	// Streaming asks for large transactions while they are in progress (servers
	// from 14 on).
	Streaming bool
	// SpillDirectory is where the reader makes a directory for transactions that
	// are too large for memory; "" is the system's temporary directory.
	SpillDirectory string
	// SpillMemory bounds, in bytes, the memory of transactions that have not
	// ended. Above it they go to files. One row always fits. Default 64 MiB.
	SpillMemory int64
	// QueueMemory bounds, in bytes, the finished transactions that have not been
	// taken, those in files included: above it nothing is read. One transaction
	// always fits. Default 64 MiB.
	QueueMemory int64
	// StatusInterval is how often the server is told the position at least. It
	// is shortened if the server's wal_sender_timeout needs it. Default 10 s.
	StatusInterval time.Duration
	// Heartbeat is how long nothing is received before a logical message is
	// written, so that there is something; 0 for never, and for no SQL
	// connection beside the stream.
	Heartbeat time.Duration
	// ReceiveTimeout is how long the server may be silent, though asked for an
	// answer, before the connection is given up. Default 2 minutes.
	ReceiveTimeout time.Duration
	Logger         *slog.Logger
}

func (o Options) complete() (Options, error) {
	switch {
	case o.Slot == "":
		return o, pgerror.New(pgerror.InvalidParameterValue, "no replication slot is named")
	case len(o.Publications) == 0:
		return o, pgerror.New(pgerror.InvalidParameterValue, "no publication is named")
	}
	o.SpillMemory = positive(o.SpillMemory, DefaultSpillMemory)
	o.QueueMemory = positive(o.QueueMemory, DefaultQueueMemory)
	o.StatusInterval = positive(o.StatusInterval, DefaultStatusInterval)
	o.ReceiveTimeout = positive(o.ReceiveTimeout, DefaultReceiveTimeout)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o, nil
}

func positive[T int64 | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}
