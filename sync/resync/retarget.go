package resync

import (
	"regexp"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Definitions are moved into another schema by their tokens: a qualified name that
// is one of those to be moved gets the new schema. What stands in string constants
// is left alone, as what they mean cannot be known; what is wrong then is found
// when the tables are compared.

// tokens matches one token: E'…', '…', "…", a word, white space, a comment or any
// single character. What pg_dump and the server print has no dollar quotes outside
// of function bodies, and no U&"…".
var tokens = regexp.MustCompile(`(?s)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|[\pL_0-9][\pL\pN_$]*|\s+|--[^\n]*|.`)

// moves says which objects get another schema, and which.
type moves map[catalog.Name]string

// apply gives sql with every qualified name moved.
func (m moves) apply(sql string) string {
	list := tokens.FindAllString(sql, -1)
	var out strings.Builder
	for i := 0; i < len(list); i++ {
		if i+2 < len(list) && list[i+1] == "." {
			schema, isName := identifier(list[i])
			name, alsoName := identifier(list[i+2])
			// In a.b.c, only a can be a schema.
			inside := i > 0 && list[i-1] == "."
			if to, found := m[catalog.Name{Schema: schema, Name: name}]; found && isName && alsoName && !inside {
				out.WriteString(dump.QuoteIdent(to) + "." + list[i+2])
				i += 2
				continue
			}
		}
		out.WriteString(list[i])
	}
	return out.String()
}

// identifier gives the name that a token is.
func identifier(token string) (string, bool) {
	if strings.HasPrefix(token, `"`) && len(token) > 1 {
		return strings.ReplaceAll(token[1:len(token)-1], `""`, `"`), true
	}
	if token == "" || token[0] == '\'' || token[0] >= '0' && token[0] <= '9' || !word.MatchString(token) {
		return "", false
	}
	return strings.ToLower(token), true
}

var word = regexp.MustCompile(`^[\pL_]`)

// withoutBoundCheck removes the inline constraint boundCheck from a CREATE TABLE.
func withoutBoundCheck(sql string) string {
	list := tokens.FindAllString(sql, -1)
	for i, token := range list {
		if got, ok := identifier(token); !ok || got != boundCheck || i < 4 || !strings.EqualFold(list[i-2], "CONSTRAINT") {
			continue
		}
		first := i - 2
		for first > 0 && (strings.TrimSpace(list[first-1]) == "" || list[first-1] == ",") {
			first--
		}
		depth := 0
		for last := i + 1; last < len(list); last++ {
			switch list[last] {
			case "(":
				depth++
			case ")":
				if depth--; depth == 0 {
					return strings.Join(list[:first], "") + strings.Join(list[last+1:], "")
				}
			}
		}
	}
	return sql
}

// canonical gives sql with every word quoted, for comparisons: pg_dump quotes what
// has to be.
func canonical(sql string) string {
	list := tokens.FindAllString(sql, -1)
	for i, token := range list {
		if name, ok := identifier(token); ok {
			list[i] = dump.QuoteIdent(name)
		}
	}
	return strings.Join(list, "")
}
