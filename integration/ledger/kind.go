package ledger

import "slices"

// Kind is one way to write.
type Kind string

// The kinds.
const (
	Transfer      Kind = "transfer"       // money between accounts, with its journal
	Seat          Kind = "seat"           // unique and excluded values swapped between rows
	Chain         Kind = "chain"          // primary keys shifted, swapped, moved to another account
	Parcel        Kind = "parcel"         // rows moved between partitions
	Note          Kind = "note"           // no key: NULLs and duplicates under identity full
	Scrap         Kind = "scrap"          // as Note with types that have no equality; native replication cannot do it
	Badge         Kind = "badge"          // identity using an index
	Invoice       Kind = "invoice"        // identity ALWAYS and a generated column
	Fancy         Kind = "fancy"          // enums, domains, composites, ranges and arrays of them
	Weird         Kind = "weird"          // names
	Event         Kind = "event"          // what is truncated
	Truncation    Kind = "truncation"     // the truncation
	Document      Kind = "document"       // columns out of line
	DocumentRekey Kind = "document_rekey" // a new key with unchanged columns out of line; moves between shards
	Label         Kind = "label"          // text keys, upserts, the same key again after a deletion
	Setting       Kind = "setting"        // tables of every shard
	Churn         Kind = "churn"          // one row inserted, changed and deleted within the transaction
	Big           Kind = "big"            // a transaction of BigRows rows
)

// operation makes one write of a kind.
type operation struct {
	kind   Kind
	weight int  // of being chosen
	first  bool // only as the transaction's first: it locks what others lock before all else
	write  func(*transaction) error
}

var operations = []operation{
	{Transfer, 30, false, transfer},
	{Seat, 8, false, swapSeats},
	{Chain, 8, false, changeChain},
	{Parcel, 8, false, changeParcel},
	{Note, 6, false, changeNotes},
	{Scrap, 4, false, changeScraps},
	{Badge, 5, false, changeBadge},
	{Invoice, 5, false, changeInvoice},
	{Fancy, 6, false, changeFancy},
	{Weird, 5, false, changeWeird},
	{Event, 6, true, addEvent},
	{Truncation, 1, true, truncateEvents},
	{Document, 8, false, changeDocument},
	{DocumentRekey, 2, false, rekeyDocument},
	{Label, 5, false, changeLabel},
	{Setting, 3, false, changeSetting},
	{Churn, 4, false, churn},
}

// chosenKinds are the operations without some kinds, and their weight.
func chosenKinds(without []Kind) (chosen []operation, weights int) {
	for _, o := range operations {
		if !slices.Contains(without, o.kind) {
			chosen = append(chosen, o)
			weights += o.weight
		}
	}
	return chosen, weights
}

func (t *transaction) choose() operation {
	at := t.random.IntN(t.worker.run.weights)
	for _, o := range t.worker.run.kinds {
		if at -= o.weight; at < 0 {
			return o
		}
	}
	panic("the weights of the kinds do not add up")
}

// mixed is a transaction of a few writes, some of them in subtransactions that
// may be rolled back.
func (w *worker) mixed() func(*transaction) error {
	return func(t *transaction) error {
		for i := range 1 + t.random.IntN(w.run.options.Most) {
			o := t.choose()
			for o.first && i > 0 {
				o = t.choose()
			}
			write := func() error { return o.write(t) }
			var err error
			switch t.random.IntN(8) {
			case 0:
				err = t.savepoint(false, write)
			case 1:
				err = t.savepoint(true, write)
				t.kinds = append(t.kinds, string(o.kind))
			default:
				err = write()
				t.kinds = append(t.kinds, string(o.kind))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// bump is what every UPDATE of a row that is followed sets.
const bump = " version = nextval('ledger.versions'), tx = $1 "

// some chooses one of the worker's rows of a table, by $2 and $3.
func some(table string) string {
	return "(SELECT item FROM ledger." + table + " WHERE owner = $2 ORDER BY hashint8extended(item, $3) LIMIT 1)"
}

// oneOf chooses what an operation does.
func (t *transaction) oneOf(ways ...func() error) error { return ways[t.random.IntN(len(ways))]() }

// seed is a number for choices that are made in SQL.
func (t *transaction) seed() int64 { return t.random.Int64() }

// Kinds are all kinds, Big last.
func Kinds() []Kind {
	var kinds []Kind
	for _, o := range operations {
		kinds = append(kinds, o.kind)
	}
	return append(kinds, Big)
}
