package apply

import (
	"fmt"
	"strings"
)

// statementKind is what a prepared statement of a target does.
type statementKind byte

const (
	insertOne statementKind = iota
	updateOne
	replaceOne // an UPDATE of what no UPDATE can set: DELETE and INSERT in one statement
	deleteOne
	insertSet
	updateSet
	deleteSet
	updateValues
	copyBinary
	copyText
)

// statementKey tells the statements of one target apart.
type statementKey struct {
	kind   statementKind
	set    string // columnSet of what is set
	byText string // columnSet of what arrives as text, in sets; of NULLs, of rows without key
	rows   int    // of VALUES
}

// params numbers the parameters of a statement that is being written.
type params int

func (p *params) next(c *column) string { return p.uncast(c) + c.cast }

// uncast is next without the mapping's cast.
func (p *params) uncast(c *column) string {
	*p++
	return fmt.Sprintf("$%d::%s", *p, c.param)
}

// insertOneSQL has one parameter per column.
func (t *Target) insertOneSQL() string {
	if len(t.kept) == 0 {
		return fmt.Sprintf("INSERT INTO %s DEFAULT VALUES", t.name)
	}
	var p params
	names, values := make([]string, len(t.kept)), make([]string, len(t.kept))
	var same []string
	for n, i := range t.kept {
		c := &t.columns[i]
		names[n], values[n] = c.name, p.next(c)
		if c.identity {
			same = append(same, fmt.Sprintf("t.%s %s %s", c.name, c.equal, values[n]))
		}
	}
	into := fmt.Sprintf("INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE ", t.name, strings.Join(names, ", "))
	if !t.guarded {
		return into + "VALUES (" + strings.Join(values, ", ") + ")"
	}
	// No index would refuse a second row.
	return into + fmt.Sprintf("SELECT %s WHERE NOT EXISTS (SELECT FROM %s%s AS t WHERE %s)",
		strings.Join(values, ", "), t.only, t.name, strings.Join(same, " AND "))
}

// whereOne finds one row: by its identity, or by all of it.
func (t *Target) whereOne(p *params, nulls columnSet) string {
	if t.full() {
		return t.oneRow(nulls, int(*p)+1)
	}
	var where []string
	for _, i := range t.identity {
		c := &t.columns[i]
		where = append(where, fmt.Sprintf("t.%s %s %s", c.name, c.equal, p.next(c)))
	}
	return strings.Join(where, " AND ")
}

// updateOneSQL has the parameters of set, then those of the row's identity.
func (t *Target) updateOneSQL(set, nulls columnSet) string {
	var p params
	var sets []string
	for i := range t.columns {
		if set.has(i) {
			sets = append(sets, fmt.Sprintf("%s = %s", t.columns[i].name, p.next(&t.columns[i])))
		}
	}
	if len(sets) == 0 { // the row must be there nevertheless
		return fmt.Sprintf("SELECT FROM %s%s AS t WHERE %s", t.only, t.name, t.whereOne(&p, nulls))
	}
	return fmt.Sprintf("UPDATE %s%s AS t SET %s WHERE %s", t.only, t.name, strings.Join(sets, ", "), t.whereOne(&p, nulls))
}

// replaceOneSQL has the same parameters. What is not in set stays as it was.
func (t *Target) replaceOneSQL(set, nulls columnSet) string {
	var p params
	var names, values, kept []string
	keep := func(name string) {
		names, values, kept = append(names, name), append(values, "gone."+name), append(kept, "t."+name)
	}
	for _, i := range t.kept {
		if c := &t.columns[i]; set.has(i) {
			names, values = append(names, c.name), append(values, p.next(c))
		} else {
			keep(c.name)
		}
	}
	for _, name := range t.extras {
		keep(name)
	}
	if len(kept) == 0 {
		kept = append(kept, "1")
	}
	return fmt.Sprintf("WITH gone AS (DELETE FROM %s%s AS t WHERE %s RETURNING %s) INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM gone",
		t.only, t.name, t.whereOne(&p, nulls), strings.Join(kept, ", "), t.name, strings.Join(names, ", "), strings.Join(values, ", "))
}

func (t *Target) deleteOneSQL(nulls columnSet) string {
	var p params
	return fmt.Sprintf("DELETE FROM %s%s AS t WHERE %s", t.only, t.name, t.whereOne(&p, nulls))
}

func (t *Target) copySQL(format string) string {
	names := make([]string, len(t.kept))
	for n, i := range t.kept {
		names[n] = t.columns[i].name
	}
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT %s)", t.name, strings.Join(names, ", "), format)
}
