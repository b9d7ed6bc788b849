// Package ddl finds out what happens to the schema of a source while a mirror
// of it runs, and what the destination has to do about it.
//
// There are two ways to find out. Install puts event triggers into the source:
// they write transactional logical messages, which the stream carries at their
// exact place between the rows, and Decode reads. Without them, a Poller reads
// the catalogs and tells the position in the stream at which what it has read
// holds: late, but never wrong. Both feed a Registry, the recorded descriptions
// of the tables, which compares and gives Changes; so what follows is the same
// in both ways. Judge tells what a Change means for the rows of the destination
// and Statements what the destination has to run.
//
// With events, the changes of a message are applied where the message is in its
// transaction: everything before it has to be at the destination, nothing behind
// it. With polls, they are applied at Reading.Fence, or earlier before the first
// row that does not fit (Registry.Fits) or that the destination refuses; a row
// that still does not fit then has a shape that nobody has seen, and its table
// is copied again. What an event cannot tell (the verdict Poll) a poll does:
// until then the table waits. Both may be used together, the poll as a safety
// net: where the stream has arrived at the Fence, Registry.Read finds nothing
// that the events have not told.
//
// A table that the destination keeps when the source has dropped its own, or
// has given its name away, still has that name there: who applies has to move
// it aside before another table gets the name.
//
// What the stream does not say by itself: a rewrite of a table emits no rows,
// though it may change every one. And CREATE TABLE AS, like SELECT INTO, emits
// its rows before the message about the table: event triggers fire at the end
// of a command. They belong to a table that nobody knows yet, and come with its
// copy.
package ddl
