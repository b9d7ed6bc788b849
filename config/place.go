package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxNesting bounds arrays and inline tables inside each other, for the
// scanner below and for the TOML parser that runs after it.
const maxNesting = 64

// places maps the path of every table, array element and key of a TOML
// document to its line, from 1: "general", "general.port", "databases[2]",
// "databases[2].host", "users[0].databases[1]". The TOML library gives lines
// of errors only.
type places map[string]int

// line gives the line of path, or else of the nearest thing around it that is
// known; 0 when nothing is.
func (p places) line(path string) int {
	for path != "" {
		if line, ok := p[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// locate finds the places of a document. It trusts the document to be TOML; on
// anything else it still ends, with places of what it could make out. tooDeep
// is the line where nesting exceeds maxNesting, 0 if it does not.
func locate(document []byte) (found places, tooDeep int) {
	s := scanner{src: bytes.TrimPrefix(document, []byte("\xef\xbb\xbf")), lineNumber: 1, found: places{}, counts: map[string]int{}}
	s.document()
	return s.found, s.tooDeep
}

// scanner reads TOML for the positions of its keys alone.
type scanner struct {
	src        []byte
	pos        int
	lineNumber int
	found      places
	counts     map[string]int // elements so far of each [[array]] of tables, by path
	depth      int
	tooDeep    int
}

func (s *scanner) document() {
	table := ""
	for s.skipBlank(); s.pos < len(s.src) && s.tooDeep == 0; s.skipBlank() {
		start := s.pos
		if s.peek() == '[' {
			table = s.header()
		} else {
			s.pair(table)
		}
		if s.pos == start {
			s.pos++ // not TOML: get past it
		}
	}
}

// header reads [table] or [[array]] and gives the path that its keys have.
func (s *scanner) header() string {
	line := s.lineNumber
	s.pos++
	array := s.peek() == '['
	if array {
		s.pos++
	}
	path := ""
	keys := s.dottedKey()
	for i, key := range keys {
		path = child(path, key)
		s.note(path, line)
		n, isArray := s.counts[path]
		if array && i == len(keys)-1 {
			s.counts[path] = n + 1
			path = element(path, n)
			s.note(path, line)
		} else if isArray {
			path = element(path, n-1)
		}
	}
	for s.pos < len(s.src) && s.peek() == ']' {
		s.pos++
	}
	return path
}

// pair reads key = value.
func (s *scanner) pair(table string) {
	line, path := s.lineNumber, table
	for _, key := range s.dottedKey() {
		path = child(path, key)
		s.note(path, line)
	}
	s.skipSpaces()
	if s.peek() != '=' {
		return
	}
	s.pos++
	s.skipSpaces()
	s.value(path)
}

// value reads over one value and notes the places of what is inside.
func (s *scanner) value(path string) {
	switch s.peek() {
	case '"', '\'':
		s.text()
	case '[', '{':
		if s.depth == maxNesting {
			s.tooDeep, s.pos = s.lineNumber, len(s.src)
			return
		}
		s.depth++
		if s.peek() == '[' {
			s.array(path)
		} else {
			s.inlineTable(path)
		}
		s.depth--
	default:
		for s.pos < len(s.src) && !strings.ContainsRune(",]}#\r\n", rune(s.peek())) {
			s.pos++
		}
	}
}

func (s *scanner) array(path string) {
	s.pos++
	for n := 0; ; {
		s.skipBlank()
		start := s.pos
		switch s.peek() {
		case 0:
			if s.pos >= len(s.src) {
				return
			}
		case ']':
			s.pos++
			return
		case ',':
			s.pos++
			continue
		}
		s.note(element(path, n), s.lineNumber)
		s.value(element(path, n))
		n++
		if s.pos == start {
			s.pos++
		}
	}
}

func (s *scanner) inlineTable(path string) {
	s.pos++
	for {
		s.skipBlank()
		start := s.pos
		switch s.peek() {
		case 0:
			if s.pos >= len(s.src) {
				return
			}
		case '}':
			s.pos++
			return
		case ',':
			s.pos++
			continue
		}
		s.pair(path)
		if s.pos == start {
			s.pos++
		}
	}
}

// text reads over a string of any of TOML's four kinds and gives it with its
// quotes.
func (s *scanner) text() string {
	start, quote := s.pos, s.src[s.pos]
	fence := bytes.Repeat([]byte{quote}, 3)
	multiline := bytes.HasPrefix(s.src[s.pos:], fence)
	if multiline {
		s.pos += 3
	} else {
		s.pos++
	}
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '\\' && quote == '"':
			s.pos++ // and the escaped character below
			if s.peek() == '\n' {
				s.lineNumber++
			}
		case c == '\n':
			if !multiline {
				return string(s.src[start:s.pos])
			}
			s.lineNumber++
		case c == quote && !multiline:
			s.pos++
			return string(s.src[start:s.pos])
		case c == quote && bytes.HasPrefix(s.src[s.pos:], fence):
			s.pos += 3
			for range 2 { // up to two more quotes belong to the string
				if s.pos < len(s.src) && s.src[s.pos] == quote {
					s.pos++
				}
			}
			return string(s.src[start:s.pos])
		}
		s.pos++
	}
	s.pos = min(s.pos, len(s.src))
	return string(s.src[start:s.pos])
}

// dottedKey reads a.b."c d".
func (s *scanner) dottedKey() []string {
	var keys []string
	for {
		s.skipSpaces()
		if c := s.peek(); c == '"' || c == '\'' {
			keys = append(keys, unquoteKey(s.text()))
		} else {
			start := s.pos
			for s.pos < len(s.src) && !strings.ContainsRune(" \t\r\n.=[]{},#\"'", rune(s.peek())) {
				s.pos++
			}
			if s.pos > start {
				keys = append(keys, string(s.src[start:s.pos]))
			}
		}
		s.skipSpaces()
		if s.peek() != '.' {
			return keys
		}
		s.pos++
	}
}

// unquoteKey leaves the escapes to the library that knows them.
func unquoteKey(quoted string) string {
	var out struct{ K string }
	if _, err := toml.Decode("K = "+quoted, &out); err != nil {
		return quoted
	}
	return out.K
}

func (s *scanner) skipBlank() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case '\n':
			s.lineNumber++
		case ' ', '\t', '\r':
		case '#':
			for s.pos+1 < len(s.src) && s.src[s.pos+1] != '\n' {
				s.pos++
			}
		default:
			return
		}
		s.pos++
	}
}

func (s *scanner) skipSpaces() {
	for c := s.peek(); c == ' ' || c == '\t'; c = s.peek() {
		s.pos++
	}
}

// peek gives the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos >= len(s.src) {
		return 0
	}
	return s.src[s.pos]
}

// note keeps the first place of a path.
func (s *scanner) note(path string, line int) {
	if _, known := s.found[path]; !known {
		s.found[path] = line
	}
}

// child is the path of a key in a table.
func child(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// element is the path of an array's n-th element, from 0.
func element(array string, n int) string { return fmt.Sprintf("%s[%d]", array, n) }
