package auth

import (
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// saslPrep brings a password into the form that SCRAM hashes: SASLprep (RFC
// 4013) as PostgreSQL does it. A password that SASLprep refuses, or that is
// not UTF-8, is hashed as it is: PostgreSQL and libpq do the same, and both
// sides of a login must agree.
func saslPrep(password string) string {
	if isASCII(password) {
		return password // also with control characters, as in PostgreSQL
	}
	if !utf8.ValidString(password) {
		return password
	}
	mapped := make([]rune, 0, len(password))
	for _, r := range password {
		// U+200B stands in both tables; to PostgreSQL it is a space.
		switch {
		case inTable(saslNonASCIISpace, r):
			mapped = append(mapped, ' ')
		case inTable(saslMapToNothing, r):
		default:
			mapped = append(mapped, r)
		}
	}
	if len(mapped) == 0 || !saslAllows(mapped) {
		return password
	}
	return norm.NFKC.String(string(mapped))
}

// saslAllows checks prohibited characters and the rules for right-to-left
// text (RFC 3454, section 6) on what the mapping left.
func saslAllows(mapped []rune) bool {
	var rightToLeft, leftToRight bool
	for _, r := range mapped {
		if inTable(saslProhibited, r) || inTable(saslUnassigned, r) {
			return false
		}
		rightToLeft = rightToLeft || inTable(saslRandALCat, r)
		leftToRight = leftToRight || inTable(saslLCat, r)
	}
	if !rightToLeft {
		return true
	}
	return !leftToRight && inTable(saslRandALCat, mapped[0]) && inTable(saslRandALCat, mapped[len(mapped)-1])
}

func inTable(table []codeRange, r rune) bool {
	_, found := slices.BinarySearchFunc(table, r, func(c codeRange, r rune) int {
		switch {
		case c.last < r:
			return -1
		case c.first > r:
			return 1
		}
		return 0
	})
	return found
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
