package resync

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
)

// chunkSQL makes the statements of a reconciliation. In all of them r is the table
// and s the stage; the parameters are the values of bounds, low before high.
type chunkSQL struct {
	*Stage
	table  string // quoted
	only   string // "ONLY " where children have rows of their own
	stage  string
	equal  string // r and s have the same key
	differ string // r and s are not the same, bit by bit
	moved  string // r and s differ in a column that UPDATE cannot set
}

func (r *reconciling) newChunkSQL() *chunkSQL {
	c := &chunkSQL{Stage: r.Stage, table: quote(r.table.name), stage: quote(r.Target()), only: "ONLY "}
	if r.table.kind == 'p' {
		c.only = ""
	}
	var equal []string
	for _, k := range r.key {
		equal = append(equal, fmt.Sprintf("r.%[1]s = s.%[1]s", dump.QuoteIdent(k.name)))
	}
	c.equal = strings.Join(equal, " AND ")
	// The operators by which REFRESH MATERIALIZED VIEW CONCURRENTLY finds out what
	// has changed: they compare what is stored. (Without the casts, columns would be
	// compared one by one.)
	image := func(columns []string) string {
		return fmt.Sprintf("ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record", columnsOf("r", columns), columnsOf("s", columns))
	}
	c.differ, c.moved = image(r.columns), "false"
	if len(r.always) > 0 {
		c.moved = image(r.always)
	}
	return c
}

// in is the condition that a row lies in a chunk.
func (c *chunkSQL) in(alias string, b bounds) string {
	var out []string
	at := 1
	for _, side := range []struct {
		operator string
		values   []string
	}{{">", b.low}, {"<=", b.high}} {
		if side.values == nil {
			continue
		}
		var columns, values []string
		for _, k := range c.key {
			columns = append(columns, alias+"."+dump.QuoteIdent(k.name))
			// By way of text: the driver knows nothing of the types.
			values = append(values, fmt.Sprintf("$%d::pg_catalog.text::%s", at, k.dataType))
			at++
		}
		out = append(out, fmt.Sprintf("(%s) %s (%s)", strings.Join(columns, ", "), side.operator, strings.Join(values, ", ")))
	}
	if len(out) == 0 {
		return "true"
	}
	return strings.Join(out, " AND ")
}

// next finds the key that is so many rows behind low, in whichever has it first.
func (c *chunkSQL) next(low []string, rows int) string {
	var keys []string
	for _, k := range c.key {
		keys = append(keys, k.name)
	}
	part := func(from, alias string) string {
		return fmt.Sprintf("(SELECT %s FROM %s %s WHERE %s ORDER BY %s OFFSET %d LIMIT 1)",
			columnsOf(alias, keys), from, alias, c.in(alias, bounds{low: low}), columnsOf(alias, keys), rows-1)
	}
	return fmt.Sprintf("SELECT ARRAY[%s] FROM (%s UNION ALL %s) k ORDER BY %s LIMIT 1",
		list(keys, func(name string) string { return "k." + dump.QuoteIdent(name) + "::pg_catalog.text" }),
		part(c.only+c.table, "r"), part(c.stage, "s"), columnsOf("k", keys))
}

func (c *chunkSQL) delete(b bounds) string {
	return fmt.Sprintf("DELETE FROM %s%s r WHERE %s AND NOT EXISTS (SELECT FROM %s s WHERE %s AND %s AND NOT (%s))",
		c.only, c.table, c.in("r", b), c.stage, c.equal, c.in("s", b), c.moved)
}

// update is "" if there is no column that could be set.
func (c *chunkSQL) update(b bounds) string {
	var set []string
	for _, name := range c.columns {
		if !slices.Contains(c.always, name) {
			set = append(set, fmt.Sprintf("%[1]s = s.%[1]s", dump.QuoteIdent(name)))
		}
	}
	if len(set) == 0 {
		return ""
	}
	return fmt.Sprintf("UPDATE %s%s r SET %s FROM %s s WHERE %s AND %s AND %s AND %s",
		c.only, c.table, strings.Join(set, ", "), c.stage, c.equal, c.in("r", b), c.in("s", b), c.differ)
}

func (c *chunkSQL) insert(b bounds) string {
	return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s s WHERE %s AND NOT EXISTS (SELECT FROM %s%s r WHERE %s AND %s)",
		c.table, list(c.columns, dump.QuoteIdent), columnsOf("s", c.columns), c.stage, c.in("s", b), c.only, c.table, c.equal, c.in("r", b))
}

// The statements that replace rows keep them in a temporary table, for the columns
// that the stage does not have.

func (c *chunkSQL) replaced() string {
	return fmt.Sprintf("CREATE TEMPORARY TABLE pgdrover_replaced ON COMMIT DROP AS SELECT r.* FROM %s r WHERE false", c.table)
}

func (c *chunkSQL) keep(b bounds) string {
	return fmt.Sprintf("INSERT INTO pg_temp.pgdrover_replaced SELECT r.* FROM %s%s r JOIN %s s ON %s WHERE %s AND %s AND %s",
		c.only, c.table, c.stage, c.equal, c.in("r", b), c.in("s", b), c.differ)
}

func (c *chunkSQL) remove(b bounds) string {
	return fmt.Sprintf("DELETE FROM %s%s r WHERE %s AND NOT EXISTS (SELECT FROM %s s WHERE %s AND %s AND NOT (%s))",
		c.only, c.table, c.in("r", b), c.stage, c.equal, c.in("s", b), c.differ)
}

func (c *chunkSQL) restore() string {
	return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM pg_temp.pgdrover_replaced r JOIN %s s ON %s",
		c.table, list(slices.Concat(c.columns, c.others), dump.QuoteIdent), strings.Join(slices.DeleteFunc([]string{columnsOf("s", c.columns), columnsOf("r", c.others)},
			func(s string) bool { return s == "" }), ", "), c.stage, c.equal)
}
