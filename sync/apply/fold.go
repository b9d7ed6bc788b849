package apply

// A fold brings the changes of one row within a chunk to one: what its key was
// before the chunk and is after it decides, not how it came there. Which order
// the statements then run in makes no difference to where rows end up, as each
// key's row is written once; where a constraint or a count says that it did
// make a difference, everything is taken back and done in exact order.

// rowState is what a key's changes up to now amount to.
type rowState byte

const (
	absent   rowState = iota // nothing known
	inserted                 // the key was free and has a row now
	updated                  // the row is there and changes
	deleted                  // the row was there and goes
	replaced                 // the row was there, went, and another one came
	ghost                    // a row came and went: the key must have been free
	conflict                 // the source cannot have done this to one row
)

// rowEvent is one change of a key. An UPDATE that changes the key deletes the
// old one and inserts the new one.
type rowEvent byte

const (
	rowInserts rowEvent = iota
	rowUpdates
	rowDeletes
)

// folds is the table of what a state becomes. Statements run in the order
// DELETE (deleted, replaced), DELETE that must meet nothing (ghost), UPDATE,
// INSERT (inserted, replaced).
var folds = [...][3]rowState{
	//         rowInserts, rowUpdates, rowDeletes
	absent:   {inserted, updated, deleted},
	inserted: {conflict, inserted, ghost},
	updated:  {conflict, updated, deleted},
	deleted:  {replaced, conflict, conflict},
	replaced: {conflict, replaced, deleted},
	ghost:    {inserted, conflict, conflict},
	conflict: {conflict, conflict, conflict},
}

func (s rowState) String() string {
	return [...]string{"absent", "inserted", "updated", "deleted", "replaced", "ghost", "conflict"}[s]
}
