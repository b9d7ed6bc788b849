// Package stream reads the changes of a source: it makes and drops logical
// replication slots, reads pgoutput from one, puts the messages together to
// whole transactions in commit order, and tells the slot what need not be sent
// again.
//
// Open starts a Reader, which owns three goroutines until Close: one reads and
// decodes, one sends status messages on a timer of its own (so that a slow
// consumer never meets wal_sender_timeout), one keeps an SQL connection for
// heartbeats. The way of a change: frames (the bytes as they came) → decode
// (one message) → assembler (transactions, of which several may be in progress)
// → queue → Reader.Next.
//
// What is received stays where it was received: tuples point into blocks that
// are counted by the transactions in them and used again after Release. When a
// transaction that has not ended grows over Options.SpillMemory, it goes to a
// file; when the finished ones reach Options.QueueMemory, nothing is read until
// the consumer has taken some.
//
// Logical messages whose prefix begins with "pgdrover." are changes of their
// transaction at their place in it; those that are not transactional are marks.
//
// Ignored on purpose: Type and Origin messages, all other logical messages (our
// own heartbeat is one), empty transactions (they become marks). A publication FOR ALL TABLES also publishes the tables of our own
// schema pgdrover, if there is one: who takes the changes leaves them out.
package stream
