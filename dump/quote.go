package dump

import "strings"

// QuoteIdent gives name as an SQL identifier. It is always quoted, so that no
// list of key words, which differs between versions, is needed. PostgreSQL has
// no names with a NUL byte; name must not have one.
func QuoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral gives text as an SQL string constant that means the same
// whatever standard_conforming_strings says: with backslashes it is an escape
// string. text must not have a NUL byte.
func QuoteLiteral(text string) string {
	quoted := strings.ReplaceAll(text, `'`, `''`)
	if strings.Contains(quoted, `\`) {
		return `E'` + strings.ReplaceAll(quoted, `\`, `\\`) + `'`
	}
	return `'` + quoted + `'`
}
