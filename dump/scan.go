package dump

import "strings"

// tokenKind is as much of SQL's lexical structure as is needed to find the
// string constants and the ends of statements (the manual's chapter "Lexical
// Structure").
type tokenKind int

const (
	tokenSpace   tokenKind = iota // white space
	tokenComment                  // -- to the end of the line, or /* nested */
	tokenWord                     // an identifier, key word or number
	tokenQuoted                   // "identifier"
	tokenLiteral                  // 'text', E'text' or $tag$text$tag$
	tokenSymbol                   // any other single byte
)

// nextToken gives the kind of the token at the beginning of sql, which must not
// be empty, and its length. What is not closed reaches to the end.
func nextToken(sql string) (tokenKind, int) {
	switch c := sql[0]; {
	case isSpace(c):
		return tokenSpace, spanOf(sql, isSpace)
	case strings.HasPrefix(sql, "--"):
		return tokenComment, upTo(sql, "\n")
	case strings.HasPrefix(sql, "/*"):
		return tokenComment, commentLength(sql)
	case c == '"':
		return tokenQuoted, quotedLength(sql, '"', false)
	case c == '\'':
		return tokenLiteral, quotedLength(sql, '\'', false)
	case (c == 'E' || c == 'e') && strings.HasPrefix(sql[1:], "'"):
		return tokenLiteral, 1 + quotedLength(sql[1:], '\'', true)
	case c == '$':
		if n := dollarLength(sql); n > 0 {
			return tokenLiteral, n
		}
		return tokenSymbol, 1
	case isWord(c):
		return tokenWord, spanOf(sql, isWord)
	}
	return tokenSymbol, 1
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// isWord: '$' can stand within an identifier; one that begins a token was
// looked at before.
func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func spanOf(sql string, is func(byte) bool) int {
	n := 0
	for n < len(sql) && is(sql[n]) {
		n++
	}
	return n
}

// upTo is the length up to and with the first end, or all of sql.
func upTo(sql, end string) int {
	if i := strings.Index(sql, end); i >= 0 {
		return i + len(end)
	}
	return len(sql)
}

func commentLength(sql string) int {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(sql)
}

// quotedLength: a doubled quote stands for one; a backslash escapes the next
// byte if it may.
func quotedLength(sql string, quote byte, backslash bool) int {
	for i := 1; i < len(sql); i++ {
		switch {
		case backslash && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

// dollarLength is the length of the dollar-quoted string at the beginning of
// sql, 0 if there is none.
func dollarLength(sql string) int {
	end := 1
	for end < len(sql) && sql[end] != '$' && isWord(sql[end]) {
		end++
	}
	startsWithDigit := end > 1 && '0' <= sql[1] && sql[1] <= '9'
	if end == len(sql) || sql[end] != '$' || startsWithDigit {
		return 0
	}
	tag := sql[:end+1]
	return len(tag) + upTo(sql[len(tag):], tag)
}

// Statements gives the statements of the entry's definition, without their
// semicolons and without what is only comment. Most entries have one; an INDEX
// may also CLUSTER its table or set a replica identity, a TABLE may set column
// storage. The definition of a function or procedure is never taken apart.
func (e Entry) Statements() []string {
	var list []string
	keep := func(sql string, meaningful bool) {
		if meaningful {
			list = append(list, strings.TrimSpace(sql))
		}
	}
	whole := e.Kind == KindFunction || e.Kind == KindProcedure
	start, depth, meaningful := 0, 0, false
	for i := 0; i < len(e.Definition); {
		kind, n := nextToken(e.Definition[i:])
		if kind == tokenSymbol {
			switch e.Definition[i] {
			case '(', '[':
				depth++
			case ')', ']':
				depth--
			case ';':
				if depth == 0 && !whole {
					keep(e.Definition[start:i], meaningful)
					start, meaningful, kind = i+1, false, tokenSpace
				}
			}
		}
		if kind != tokenSpace && kind != tokenComment {
			meaningful = true
		}
		i += n
	}
	keep(strings.TrimRight(e.Definition[start:], "; \n"), meaningful)
	return list
}
