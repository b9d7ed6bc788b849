package resync

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Strategy is a way to copy a table again.
type Strategy string

// The strategies, as commands spell them.
const (
	Truncate  Strategy = "truncate"
	Swap      Strategy = "swap"
	Reconcile Strategy = "reconcile"
)

// Strategies are all of them.
var Strategies = []Strategy{Truncate, Swap, Reconcile}

// Size is what a table takes up on the destination now, in bytes, its partitions
// included.
type Size struct {
	Heap    int64 // with TOAST
	Indexes int64
	Largest int64 // the largest index
	Key     int64 // the index of the primary key
}

// ReadSize measures a table.
func ReadSize(ctx context.Context, conn *pgx.Conn, table catalog.Name) (Size, error) {
	var s Size
	err := conn.QueryRow(ctx, `
WITH t AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2),
     all_of AS (SELECT oid FROM t UNION SELECT p.relid FROM t, pg_partition_tree(t.oid) p WHERE p.relid IS NOT NULL),
     heaps AS (SELECT c.oid FROM pg_class c WHERE c.oid IN (SELECT oid FROM all_of) AND c.relkind = 'r'),
     indexes AS (SELECT i.indisprimary, pg_relation_size(i.indexrelid) AS bytes FROM pg_index i WHERE i.indrelid IN (SELECT oid FROM heaps))
SELECT coalesce((SELECT sum(pg_table_size(oid)) FROM heaps), 0)::int8, coalesce((SELECT sum(bytes) FROM indexes), 0)::int8,
       coalesce((SELECT max(bytes) FROM indexes), 0)::int8, coalesce((SELECT sum(bytes) FROM indexes WHERE indisprimary), 0)::int8`,
		table.Schema, table.Name).Scan(&s.Heap, &s.Indexes, &s.Largest, &s.Key)
	if err != nil {
		return s, fmt.Errorf("measure table %s: %w", table, err)
	}
	return s, nil
}

// Need is what a strategy needs on the destination, in bytes, beyond what is taken
// up now, when it needs most. It is an estimate: a heap without dead rows is
// smaller, indexes that are built anew are too.
type Need struct {
	Strategy Strategy
	Tables   int64 // rows, indexes, what is staged
	WAL      int64 // written in all. How much of it lies there at a time depends on checkpoints, archiving, slots and standbys
	Sort     int64 // temporary files of the largest index
}

// Peak is what must be free if no WAL can be removed meanwhile.
func (n Need) Peak() int64 { return n.Tables + n.WAL + n.Sort }

// Estimate gives what a strategy needs. now is the table's size on the destination,
// rows are the bytes of heap and TOAST that are to be copied: the source's, or the
// part that comes to this shard. It is pure.
func Estimate(strategy Strategy, now Size, rows int64) Need {
	indexes := scaled(now.Indexes, now.Heap, rows)
	largest := scaled(now.Largest, now.Heap, rows)
	n := Need{Strategy: strategy}
	switch strategy {
	case Truncate:
		// What was there is freed before.
		n.Tables = max(0, rows+indexes-now.Heap-now.Indexes)
		n.WAL, n.Sort = rows+indexes, 0
	case Swap:
		n.Tables, n.WAL, n.Sort = rows+indexes, rows+indexes, largest
	case Reconcile:
		// The stage is unlogged and has the key alone. If every row differs, the
		// table grows by as much again before VACUUM frees the old rows.
		key := scaled(now.Key, now.Heap, rows)
		n.Tables, n.WAL, n.Sort = rows+key+rows+indexes, 2*rows+indexes, key
	}
	return n
}

// scaled is the size of indexes when the heap has another size. If the table holds
// next to nothing now, nothing is known: then half of the heap is assumed.
func scaled(index, heap, rows int64) int64 {
	const telling = 1 << 20
	switch {
	case index == 0:
		return 0
	case heap < telling:
		return max(index, rows/2)
	}
	return int64(float64(index) * float64(rows) / float64(heap))
}

// Room is what is known of the space on the destination. PostgreSQL has no SQL by
// which a database could learn how much of its disk is free, and a program run on
// the server by COPY is not ours to start: so free space is known only from a limit
// that was configured, or from whoever watches the machine.
type Room struct {
	Limit int64 // that the database may take up, from the configuration; 0: none
	Used  int64 // by the database now, see ReadUsed
	Free  int64 // bytes free on the destination's disk, if somebody knows; 0: nobody does
}

// ReadUsed gives what the database of conn takes up, all tablespaces together, WAL
// not counted.
func ReadUsed(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var used int64
	if err := conn.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&used); err != nil {
		return 0, fmt.Errorf("measure the database: %w", err)
	}
	return used, nil
}

// Fits tells whether a need can be met: an error of SQLSTATE 53100 if it cannot.
// known is false if there was nothing to compare with.
func (r Room) Fits(table catalog.Name, n Need) (known bool, err error) {
	if r.Limit > 0 && r.Used+n.Tables+n.Sort > r.Limit {
		return true, r.refuse(table, n, "it takes up %s now, may have %s, and would need %s more", r.Used, r.Limit, n.Tables+n.Sort)
	}
	if r.Free > 0 && n.Peak() > r.Free {
		return true, r.refuse(table, n, "%s are free, and as much as %s may be needed, of which %s for WAL", r.Free, n.Peak(), n.WAL)
	}
	return r.Limit > 0 || r.Free > 0, nil
}

func (r Room) refuse(table catalog.Name, n Need, format string, bytes ...int64) error {
	args := make([]any, len(bytes))
	for i, b := range bytes {
		args[i] = readable(b)
	}
	e := pgerror.New(pgerror.DiskFull, "table %s does not fit on the destination a second time", table).WithDetail("the destination's database: "+format, args...)
	if n.Strategy != Truncate {
		return e.WithHint("the strategy truncate needs the least; or make room, or raise the limit")
	}
	return e.WithHint("make room, or raise the limit")
}

// readable is a number of bytes as pg_size_pretty writes it.
func readable(bytes int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	value, at := float64(bytes), 0
	for value >= 10*1024 && at < len(units)-1 {
		value, at = value/1024, at+1
	}
	return fmt.Sprintf("%.0f %s", value, units[at])
}
