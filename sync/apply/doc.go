// Package apply turns the transactions of a source into transactions of its
// destination, on one shard or several, exactly once.
//
// The way of a change: the dispatcher (dispatch.go) takes transactions from a
// Source in commit order, finds the Target of each relation and the shard of
// each row, and puts them into one queue per destination shard. The worker of a
// shard (worker.go) gathers whole transactions into groups. A group is folded
// by key (fold.go, window.go) into few statements over many rows (statement.go,
// unnest.go, copyin.go), whose bytes (script.go) its executor (executor.go)
// sends while the worker builds the next group. A destination transaction moves
// the position of its source shard in pgdrover.progress (progress.go) before it
// changes anything, so that a group is applied once whatever happens to
// connections, servers or this process. What a set cannot do, the changes do
// one by one in the order of the source (exact.go, redo.go); what they cannot
// do either stops the table (stop.go), never in silence, and never another one.
//
// The source's slot is told a position when every shard has recorded it and has
// flushed that record (flush.go).
package apply
