// Package resync holds what is needed to copy a table of a destination again
// while everything round it goes on. It works on the connections it is given, to
// one shard of the destination, and knows nothing of mirrors' states, slots and
// streams: who calls it decides when.
//
// There are three ways, and each gives the rows a place to be copied to:
//
//   - truncate: the table itself. [SetAside] drops the foreign keys that forbid
//     TRUNCATE, after their definitions are recorded in pgdrover.foreign_keys;
//     [PutBack] makes them again and validates them.
//   - swap: a [Shadow], a second table made from pg_dump's own definitions of the
//     first. [Shadow.Create] makes it bare, [Shadow.Finish] gives it keys, indexes
//     and the rest when the rows are in, [Shadow.Compare] tells whether anything is
//     missing, and [Shadow.Swap] puts it into the first one's place in one short
//     transaction. What depends on the table follows it: views are replaced, not
//     dropped, so that they keep their identity.
//   - reconcile: a [Stage], rows alone. [Stage.Reconcile] then changes in the
//     table only what differs, chunk by chunk.
//
// Nothing here uses CASCADE. What is made lies in schemas of its own, named after
// the OID of the table, with a comment that says what they are for: [Leftovers]
// finds what a killed process has left, [RemoveLeftover] removes it. Every
// function may be called again after it was interrupted.
//
// Statements that need a lock wait for it no longer than they are told; then the
// error is [ErrLocked] and says who holds it.
package resync
