package apply

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// comparison is how a value of a row without key is found again.
type comparison byte

const (
	byText  comparison = iota // its type has no =, or one that means something else (box, circle)
	exact                     // what = finds is the same value
	coarser                   // = also finds other values: 1.0 and 1.00; it finds an index, the text decides
)

func comparisonOf(t catalog.Type) comparison {
	switch t.OID {
	case boolOID, byteaOID, charOID, nameOID, int8OID, int2OID, int4OID, oidOID, macaddr8OID, moneyOID, macaddrOID,
		dateOID, timeOID, timestampOID, timestamptzOID, bitOID, varbitOID, uuidOID, pgLSNOID:
		return exact
	// A column's collation may be nondeterministic.
	case textOID, varcharOID, bpcharOID, numericOID, float4OID, float8OID, intervalOID, timetzOID, jsonbOID, inetOID, cidrOID:
		return coarser
	}
	if t.Kind == 'e' {
		return exact
	}
	return byText
}

// oneRow is the condition that holds for one of the rows that equal an old
// tuple. Its parameters are numbered from first, none for NULLs. A row is
// compared by = where its type has one, so that an index can be used.
func (t *Target) oneRow(nulls columnSet, first int) string {
	var where []string
	for _, i := range t.kept {
		c := &t.columns[i]
		if nulls.has(i) {
			where = append(where, c.name+" IS NULL")
			continue
		}
		param := fmt.Sprintf("$%d::%s%s", first, c.param, c.cast)
		first++
		value := param
		if c.cast == "" && c.param != c.dest {
			value += "::" + c.dest
		}
		if c.compare != byText {
			where = append(where, fmt.Sprintf("%s %s %s", c.name, c.equal, param))
		}
		if c.compare == byText || c.compare == coarser && !c.narrowed {
			where = append(where, fmt.Sprintf(`%s::pg_catalog.text COLLATE "pg_catalog"."C" = %s::pg_catalog.text COLLATE "pg_catalog"."C"`, c.name, value))
		}
	}
	if len(where) == 0 {
		where = append(where, "true")
	}
	columns := "ctid"
	if t.only == "" { // partitioned: a ctid is of one partition
		columns = "tableoid, ctid"
		return fmt.Sprintf("(t.tableoid, t.ctid) = (SELECT %s FROM %s WHERE %s LIMIT 1)", columns, t.name, strings.Join(where, " AND "))
	}
	return fmt.Sprintf("t.ctid = (SELECT %s FROM ONLY %s WHERE %s LIMIT 1)", columns, t.name, strings.Join(where, " AND "))
}

// nullsOf gives the positions of NULLs.
func nullsOf(old stream.Tuple, columns int) columnSet {
	nulls := newColumnSet(columns)
	for i := 0; len(old) > 0 && i < columns; i++ {
		if old[0] == byte(stream.Null) {
			nulls.add(i)
		}
		old = old[width(old):]
	}
	return nulls
}
