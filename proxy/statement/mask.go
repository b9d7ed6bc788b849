package statement

// Mask gives a statement without its constants, each of which becomes a question
// mark, without comments, and with single spaces. Where a string cannot be told from what
// follows it without knowing standard_conforming_strings, it ends.
func Mask(sql []byte) string {
	l := lexer{sql: sql}
	var out []byte
	for last := 0; ; last = l.end {
		k := l.next()
		if k == end {
			return string(out)
		}
		token := l.sql[l.start:l.end]
		if l.start > last && len(out) > 0 {
			out = append(out, ' ')
		}
		switch {
		case k == text && ambiguous(token):
			return string(append(out, "? ..."...))
		case k == text, k == number && token[0] != '$':
			out = append(out, '?')
		default:
			out = append(out, token...)
		}
	}
}

// ambiguous tells whether a plain string has a backslash before a quote: the server
// may see its end elsewhere.
func ambiguous(token []byte) bool {
	if token[0] != '\'' {
		return false
	}
	for i := 1; i < len(token); i++ {
		if token[i] == '\'' && token[i-1] == '\\' {
			return true
		}
	}
	return false
}
