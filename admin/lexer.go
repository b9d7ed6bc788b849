package admin

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pgdrover/pgdrover/pgerror"
)

// tokenKind says what a token is.
type tokenKind int

const (
	endToken       tokenKind = iota // after the last token of a statement
	wordToken                       // keyword or unquoted name; keeps its case
	quotedToken                     // "quoted name"; never a keyword
	stringToken                     // 'literal'
	numberToken                     // 1, -1, 2.5
	parameterToken                  // $1
	symbolToken                     // any other character, or ::
	semicolonToken                  // ends a statement
)

// token is one word of a command.
type token struct {
	kind       tokenKind
	text       string // quotes removed and doubled quotes halved
	start, end int    // bytes in the source text
}

// lexer walks over the source text. Names may contain the characters that
// names in [[databases]] usually have: inside an unquoted word "-" and "."
// belong to it.
type lexer struct {
	source string
	at     int
	tokens []token
}

// lex cuts source into tokens, leaving out blanks and comments. The errors have
// positions in source.
func lex(source string) ([]token, error) {
	if !utf8.ValidString(source) {
		return nil, pgerror.New(characterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
	}
	l := &lexer{source: source}
	for {
		if err := l.skipBlanks(); err != nil {
			return nil, err
		}
		if l.at >= len(source) {
			return l.tokens, nil
		}
		if err := l.next(); err != nil {
			return nil, err
		}
	}
}

// next reads the token that begins at l.at.
func (l *lexer) next() error {
	start := l.at
	switch r := l.rune(); {
	case r == '\'':
		return l.quoted('\'', stringToken, "unterminated quoted string")
	case r == '"':
		return l.quoted('"', quotedToken, "unterminated quoted identifier")
	case r == ';':
		l.at++
		l.emit(semicolonToken, start)
	case r == '$' && isDigit(l.peek(1)):
		l.at++
		for isDigit(l.peek(0)) {
			l.at++
		}
		l.emit(parameterToken, start)
	case isWordStart(r), isDigit(l.peek(0)):
		l.word(start)
	case (r == '-' || r == '+') && isDigit(l.peek(1)):
		l.at++
		l.word(start)
	case strings.HasPrefix(l.source[l.at:], "::"):
		l.at += 2
		l.emit(symbolToken, start)
	default:
		l.at += utf8.RuneLen(r)
		l.emit(symbolToken, start)
	}
	return nil
}

// word reads the rest of a name, a keyword or a number that begins at start.
func (l *lexer) word(start int) {
	for l.at < len(l.source) {
		r := l.rune()
		if isWordPart(r) {
			l.at += utf8.RuneLen(r)
			continue
		}
		if (r == '-' || r == '.') && isWordPart(l.runeAt(l.at+1)) {
			l.at++
			continue
		}
		break
	}
	if isNumber(l.source[start:l.at]) {
		l.emit(numberToken, start)
	} else {
		l.emit(wordToken, start)
	}
}

// quoted reads up to the closing quote; a doubled quote stands for one.
func (l *lexer) quoted(quote byte, kind tokenKind, unterminated string) error {
	start := l.at
	var text strings.Builder
	for i := start + 1; i < len(l.source); i++ {
		if l.source[i] != quote {
			text.WriteByte(l.source[i])
			continue
		}
		if i+1 < len(l.source) && l.source[i+1] == quote {
			text.WriteByte(quote)
			i++
			continue
		}
		l.at = i + 1
		l.tokens = append(l.tokens, token{kind: kind, text: text.String(), start: start, end: l.at})
		if kind == quotedToken && text.Len() == 0 {
			return pgerror.New(pgerror.SyntaxError, "zero-length delimited identifier").At(position(l.source, start))
		}
		return nil
	}
	return pgerror.New(pgerror.SyntaxError, "%s", unterminated).At(position(l.source, start)).
		WithHint("A quote inside quotes is written twice.")
}

// skipBlanks passes white space, -- comments and nested /* */ comments.
func (l *lexer) skipBlanks() error {
	for l.at < len(l.source) {
		rest := l.source[l.at:]
		switch {
		case strings.HasPrefix(rest, "--"):
			if end := strings.IndexAny(rest, "\r\n"); end >= 0 {
				l.at += end
			} else {
				l.at = len(l.source)
			}
		case strings.HasPrefix(rest, "/*"):
			length := commentLength(rest)
			if length == 0 {
				return pgerror.New(pgerror.SyntaxError, "unterminated /* comment").At(position(l.source, l.at))
			}
			l.at += length
		case unicode.IsSpace(l.rune()):
			l.at += utf8.RuneLen(l.rune())
		default:
			return nil
		}
	}
	return nil
}

// commentLength gives the bytes of the nested comment that text begins with, 0
// if it does not end.
func commentLength(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
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
	return 0
}

func (l *lexer) emit(kind tokenKind, start int) {
	l.tokens = append(l.tokens, token{kind: kind, text: l.source[start:l.at], start: start, end: l.at})
}

func (l *lexer) rune() rune { return l.runeAt(l.at) }

// runeAt gives the character at byte i, a blank past the end.
func (l *lexer) runeAt(i int) rune {
	if i >= len(l.source) {
		return ' '
	}
	r, _ := utf8.DecodeRuneInString(l.source[i:])
	return r
}

// peek gives the byte ahead of l.at, 0 outside of the text.
func (l *lexer) peek(ahead int) byte {
	if i := l.at + ahead; i >= 0 && i < len(l.source) {
		return l.source[i]
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isWordPart(r rune) bool {
	return isWordStart(r) || r == '$' || unicode.IsDigit(r) || unicode.IsMark(r)
}

// isNumber tells whether text is digits with at most one point, maybe signed.
func isNumber(text string) bool {
	text = strings.TrimLeft(text, "+-")
	whole, fraction, pointed := strings.Cut(text, ".")
	return digitsOnly(whole) && (!pointed || digitsOnly(fraction))
}

func digitsOnly(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// position gives byte offset i of text as PostgreSQL counts positions: in
// characters, from 1.
func position(text string, i int) int {
	return utf8.RuneCountInString(text[:min(i, len(text))]) + 1
}

// splitStatements cuts tokens at semicolons and leaves out empty statements.
func splitStatements(tokens []token) [][]token {
	var statements [][]token
	start := 0
	for i, t := range tokens {
		if t.kind == semicolonToken {
			if i > start {
				statements = append(statements, tokens[start:i])
			}
			start = i + 1
		}
	}
	if len(tokens) > start {
		statements = append(statements, tokens[start:])
	}
	return statements
}
