package apply

import (
	"fmt"
	"strings"
)

// The statements over many rows take one array per column. unnest would take
// arrays in an array apart, too: columns of array types in binary form go other
// ways (see setable).

// rowSet is the rows of a set statement: the columns that are in it, and which
// of them are given as text.
type rowSet struct {
	columns []int
	byText  columnSet
}

// from is the FROM item: v with one column per array.
func (t *Target) from(r rowSet) string {
	arrays, names := make([]string, len(r.columns)), make([]string, len(r.columns))
	for n, i := range r.columns {
		kind := t.columns[i].param
		if r.byText.has(i) {
			kind = "pg_catalog.text"
		}
		arrays[n] = fmt.Sprintf("$%d::%s[]", n+1, kind)
		names[n] = fmt.Sprintf("c%d", i)
	}
	return fmt.Sprintf("unnest(%s) AS v (%s)", strings.Join(arrays, ", "), strings.Join(names, ", "))
}

// value is one column of v. The cast of a text has no modifier: one to
// varchar(n) would cut, where the assignment refuses.
func (t *Target) value(r rowSet, i int) string {
	c, value := &t.columns[i], fmt.Sprintf("v.c%d", i)
	switch {
	case c.cast != "" && r.byText.has(i):
		return value + "::" + c.param + c.cast
	case c.cast != "":
		return value + c.cast
	case r.byText.has(i) && c.dest != textSQL:
		return value + "::" + c.dest
	}
	return value
}

const textSQL = `"pg_catalog"."text"`

func (t *Target) insertSetSQL(r rowSet) string {
	names, values := make([]string, len(r.columns)), make([]string, len(r.columns))
	for n, i := range r.columns {
		names[n], values[n] = t.columns[i].name, t.value(r, i)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %s",
		t.name, strings.Join(names, ", "), strings.Join(values, ", "), t.from(r))
}

// updateSetSQL sets the columns of r that are in set; the others are the
// identity, and columns that must not have changed.
func (t *Target) updateSetSQL(r rowSet, set columnSet) string {
	return t.updateFromSQL(r, set, t.from(r))
}

func (t *Target) updateFromSQL(r rowSet, set columnSet, from string) string {
	var sets, where []string
	for _, i := range r.columns {
		c := &t.columns[i]
		if set.has(i) {
			sets = append(sets, fmt.Sprintf("%s = %s", c.name, t.value(r, i)))
		} else {
			where = append(where, fmt.Sprintf("t.%s %s %s", c.name, c.equal, t.value(r, i)))
		}
	}
	if len(sets) == 0 {
		return fmt.Sprintf("SELECT FROM %s%s AS t, %s WHERE %s", t.only, t.name, from, strings.Join(where, " AND "))
	}
	return fmt.Sprintf("UPDATE %s%s AS t SET %s FROM %s WHERE %s",
		t.only, t.name, strings.Join(sets, ", "), from, strings.Join(where, " AND "))
}

func (t *Target) deleteSetSQL(r rowSet) string {
	if len(r.columns) == 1 && !r.byText.has(r.columns[0]) && t.columns[r.columns[0]].cast == "" {
		c := &t.columns[r.columns[0]]
		return fmt.Sprintf("DELETE FROM %s%s AS t WHERE t.%s %s ANY ($1::%s[])", t.only, t.name, c.name, c.equal, c.param)
	}
	var where []string
	for _, i := range r.columns {
		where = append(where, fmt.Sprintf("t.%s %s %s", t.columns[i].name, t.columns[i].equal, t.value(r, i)))
	}
	return fmt.Sprintf("DELETE FROM %s%s AS t USING %s WHERE %s", t.only, t.name, t.from(r), strings.Join(where, " AND "))
}
