package statement

import "bytes"

// kind is what a token is.
type kind uint8

const (
	end    kind = iota
	word        // an identifier without quotes, or a key word
	quoted      // an identifier in quotes
	text        // a string constant, of any form
	number      // or a parameter, $1
	symbol      // one byte
)

// lexer reads tokens of SQL, as PostgreSQL's scan.l tells them apart with
// standard_conforming_strings on. It never fails: what is not closed goes to the
// end.
type lexer struct {
	sql        []byte
	at         int // where the next token may begin
	start, end int // the token read last
}

// next reads a token. Spaces and comments are none.
func (l *lexer) next() kind {
	for l.at < len(l.sql) {
		c := l.sql[l.at]
		switch {
		case c <= ' ':
			l.at++
			continue
		case c == '-' && l.follows('-'):
			l.skipLine()
			continue
		case c == '/' && l.follows('*'):
			l.skipComment()
			continue
		}
		l.start = l.at
		k := l.token(c)
		l.end = l.at
		return k
	}
	l.start, l.end = len(l.sql), len(l.sql)
	return end
}

func (l *lexer) follows(c byte) bool { return l.at+1 < len(l.sql) && l.sql[l.at+1] == c }

func (l *lexer) token(c byte) kind {
	switch {
	case isLetter[c]:
		l.skipWord()
		if l.at < len(l.sql) && l.sql[l.at] == '\'' && l.at-l.start == 1 {
			switch c {
			case 'e', 'E':
				l.skipString(true)
				return text
			case 'b', 'B', 'x', 'X', 'n', 'N':
				l.skipString(false)
				return text
			}
		}
		return word
	case c == '\'':
		l.skipString(false)
		return text
	case c == '"':
		l.skipQuoted()
		return quoted
	case c == '$':
		return l.dollar()
	case '0' <= c && c <= '9':
		for l.at < len(l.sql) && (isWord[l.sql[l.at]] || l.sql[l.at] == '.') {
			l.at++
		}
		return number
	}
	l.at++
	return symbol
}

// isLetter are the bytes that an identifier begins with, isWord those in it.
var isLetter, isWord = func() (letters, words [256]bool) {
	for c := range 256 {
		letters[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
		words[c] = letters[c] || c >= '0' && c <= '9' || c == '$'
	}
	return letters, words
}()

func (l *lexer) skipWord() {
	for l.at < len(l.sql) && isWord[l.sql[l.at]] {
		l.at++
	}
}

func (l *lexer) skipLine() {
	if n := bytes.IndexAny(l.sql[l.at:], "\r\n"); n >= 0 {
		l.at += n + 1
		return
	}
	l.at = len(l.sql)
}

// skipComment skips a comment of C's form; they nest.
func (l *lexer) skipComment() {
	depth := 0
	for l.at < len(l.sql) {
		switch {
		case l.sql[l.at] == '/' && l.follows('*'):
			depth++
			l.at += 2
		case l.sql[l.at] == '*' && l.follows('/'):
			depth--
			l.at += 2
			if depth == 0 {
				return
			}
		default:
			l.at++
		}
	}
	l.at = len(l.sql)
}

// skipString skips a string constant whose opening quote is next. A doubled quote
// is read as two strings, which ends at the same place.
func (l *lexer) skipString(backslashes bool) {
	l.at++
	for l.at < len(l.sql) {
		if !backslashes {
			n := bytes.IndexByte(l.sql[l.at:], '\'')
			if n < 0 {
				break
			}
			l.at += n + 1
			if l.at < len(l.sql) && l.sql[l.at] == '\'' {
				l.at++
				continue
			}
			return
		}
		switch c := l.sql[l.at]; {
		case c == '\\':
			l.at += 2
		case c == '\'' && l.follows('\''):
			l.at += 2
		case c == '\'':
			l.at++
			return
		default:
			l.at++
		}
	}
	l.at = len(l.sql)
}

func (l *lexer) skipQuoted() {
	l.at++
	for l.at < len(l.sql) {
		n := bytes.IndexByte(l.sql[l.at:], '"')
		if n < 0 {
			break
		}
		l.at += n + 1
		if l.at < len(l.sql) && l.sql[l.at] == '"' {
			l.at++
			continue
		}
		return
	}
	l.at = len(l.sql)
}

// dollar reads $1, or a string between $tag$ and $tag$.
func (l *lexer) dollar() kind {
	begin := l.at
	l.at++
	for l.at < len(l.sql) && l.sql[l.at] >= '0' && l.sql[l.at] <= '9' {
		l.at++
	}
	if l.at > begin+1 {
		return number
	}
	tag := l.at
	for tag < len(l.sql) && isWord[l.sql[tag]] && l.sql[tag] != '$' {
		tag++
	}
	if tag >= len(l.sql) || l.sql[tag] != '$' {
		return symbol
	}
	delimiter := l.sql[begin : tag+1]
	l.at = tag + 1
	if n := bytes.Index(l.sql[l.at:], delimiter); n >= 0 {
		l.at += n + len(delimiter)
	} else {
		l.at = len(l.sql)
	}
	return text
}

// is tells whether the token read last is this key word, given in lower case.
func (l *lexer) is(keyword string) bool { return equalFold(l.sql[l.start:l.end], keyword) }

// equalFold compares ASCII with a string in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// name gives the identifier read last as PostgreSQL keeps it: folded to lower case,
// or what stands in its quotes.
func (l *lexer) name(k kind) string {
	raw := l.sql[l.start:l.end]
	if k == quoted {
		raw = bytes.TrimSuffix(raw[1:], []byte{'"'})
		return string(bytes.ReplaceAll(raw, []byte(`""`), []byte{'"'}))
	}
	return string(bytes.ToLower(raw))
}
