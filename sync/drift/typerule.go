package drift

import (
	"slices"
	"strings"
)

// Fit says what becomes of the values of one type that a column of another
// type is given in their text form, as the stream and a copy do it.
type Fit string

// The fits.
const (
	FitSafe    Fit = "safe"    // every value arrives
	FitWarn    Fit = "warn"    // every value that is likely arrives; what is other, the reason says
	FitLoses   Fit = "loses"   // some values are changed without an error
	FitRefuses Fit = "refuses" // some values are an error
)

// Verdict is what a fit means for the table.
func (f Fit) Verdict() Verdict {
	switch f {
	case FitSafe:
		return OK
	case FitWarn:
		return Warn
	}
	return StopTable
}

// Alter is what ALTER COLUMN … TYPE costs and does, in a session that has the
// engine's settings (TimeZone = UTC). It always takes ACCESS EXCLUSIVE.
type Alter struct {
	// Rewrite: the table is written anew, and its indexes. Indexes alone are
	// built anew without it when Reindex is set.
	Rewrite, Reindex bool
	// Using is the USING expression, with $ for the column and @ for the type;
	// "" where the server has a cast of its own.
	Using string
	// Changes: values that are there may become others than the ones the
	// stream brings, or that the source has after its own ALTER.
	Changes bool
	// Refuses: it fails when there are values that the new type cannot hold.
	Refuses bool
}

// TypeRule is one row of the table of type pairs: From is the type of the
// source's column, To that of the destination's. The question of the stream
// (may values go on to arrive?) is answered by Fit. Cost is that of an ALTER
// from From to To, which a column needs when the *destination* is From and the
// source has become To.
type TypeRule struct {
	From, To string // type names of pg_catalog, several separated by blanks; "any" for all; "citext" and "enum" as they are
	When     string // which of them, by length, precision or scale; "" for all
	holds    func(from, to Type) bool
	Fit      Fit
	Reason   string
	Cost     Alter
}

// ID names the rule: "numeric -> numeric, to a larger scale".
func (r *TypeRule) ID() string {
	id := r.From + " -> " + r.To
	if r.When != "" {
		id += ", " + r.When
	}
	return id
}

func (r *TypeRule) matches(from, to Type) bool {
	return matchesName(r.From, from) && matchesName(r.To, to) && (r.holds == nil || r.holds(from, to))
}

func matchesName(list string, t Type) bool {
	return list == "any" || slices.Contains(strings.Fields(list), t.class())
}

// What conditions of length, precision and scale mean.

func unconstrained(_, to Type) bool { return to.Modifier < 0 }

// longer: what is as long as from allows fits.
func longer(from, to Type) bool {
	return to.Modifier < 0 || from.Modifier >= 0 && to.Modifier >= from.Modifier
}

// finer is longer for the precision of times: none means 6.
func finer(from, to Type) bool {
	p := func(t Type) int32 {
		if t.Modifier < 0 {
			return 6
		}
		return t.Modifier
	}
	return p(to) >= p(from)
}

// wholeInterval is the range of fields of an interval that has all of them.
const wholeInterval = 0x7fff

// intervalHolds: the same or all fields, and no fewer digits.
// The modifier is fields << 16 | precision (interval.c).
func intervalHolds(from, to Type) bool {
	if to.Modifier < 0 {
		return true
	}
	split := func(m int32) (fields, precision int32) {
		if m < 0 {
			return wholeInterval, 6
		}
		return m >> 16 & 0x7fff, min(m&0xffff, 6)
	}
	fromFields, fromPrecision := split(from.Modifier)
	toFields, toPrecision := split(to.Modifier)
	return (toFields == wholeInterval || toFields == fromFields) && toPrecision >= fromPrecision
}

// numeric gives precision and scale of a numeric modifier: 16 bits of
// precision, 11 of signed scale (numeric.c).
func numeric(modifier int32) (precision, scale int32) {
	m := modifier - 4
	return m >> 16 & 0xffff, (m&0x7ff ^ 1024) - 1024
}

func sameScale(from, to Type) bool {
	if from.Modifier < 0 || to.Modifier < 0 {
		return false
	}
	p, s := numeric(from.Modifier)
	p2, s2 := numeric(to.Modifier)
	return s == s2 && p2 >= p
}

func largerScale(from, to Type) bool {
	if from.Modifier < 0 || to.Modifier < 0 {
		return false
	}
	p, s := numeric(from.Modifier)
	p2, s2 := numeric(to.Modifier)
	return s2 > s && p2-s2 >= p-s
}

// digits are how many an integer type's values have at most.
var digits = map[string]int32{"int2": 5, "int4": 10, "int8": 19}

// room: a numeric of that size holds every integer of the type.
func room(from, to Type) bool {
	p, s := numeric(to.Modifier)
	return p-s >= digits[from.class()] && s >= 0
}

// whole: the numeric has no digits behind the point and fewer than the integer
// type can hold.
func whole(from, to Type) bool {
	if from.Modifier < 0 {
		return false
	}
	p, s := numeric(from.Modifier)
	return s <= 0 && p-s < digits[to.class()]
}
