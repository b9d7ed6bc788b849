package admin

import (
	"slices"
	"strings"
)

// capture is one thing that a pattern took from a statement. Captures form a
// list with the newest first, so that backtracking costs nothing.
type capture struct {
	older    *capture
	argument *argument // nil for a keyword chosen and for an option
	choice   string    // the alternative's first word, or the option's name
	isOption bool
	first    int // tokens taken: from first up to, not including, end
	end      int
}

// matcher matches the tokens of one statement. The last token is of kind
// endToken.
type matcher struct {
	tokens   []token
	farthest int      // the token that no pattern could take
	expected []string // what would have been taken there
	quiet    bool     // what is matched now is not worth telling an operator
}

// match tries p on all tokens.
func (m *matcher) match(p pattern) (*capture, bool) {
	var found *capture
	ok := m.sequence(p, 0, nil, func(at int, caught *capture) bool {
		if m.tokens[at].kind != endToken {
			m.fail(at, "end of command")
			return false
		}
		found = caught
		return true
	})
	return found, ok
}

// then is what has to match after a node.
type then func(at int, caught *capture) bool

func (m *matcher) sequence(p pattern, at int, caught *capture, next then) bool {
	if len(p) == 0 {
		return next(at, caught)
	}
	return m.node(p[0], at, caught, func(at int, caught *capture) bool {
		return m.sequence(p[1:], at, caught, next)
	})
}

func (m *matcher) node(n node, at int, caught *capture, next then) bool {
	switch n := n.(type) {
	case keywordNode:
		if !m.tokens[at].is(n.word) {
			m.fail(at, n.word)
			return false
		}
		return next(at+1, caught)
	case argumentNode:
		return m.argument(n.argument, at, caught, next)
	case choiceNode:
		for _, alternative := range n.alternatives {
			if m.sequence(alternative, at, caught, func(end int, caught *capture) bool {
				return next(end, &capture{older: caught, choice: strings.ToUpper(m.tokens[at].text), first: at, end: end})
			}) {
				return true
			}
		}
		return false
	case optionsNode:
		return m.options(n.options, 0, at, caught, next)
	case restNode:
		return next(len(m.tokens)-1, caught)
	}
	return false
}

// options takes any of the options that are not in taken, then goes on. Taking
// one is tried before leaving it.
func (m *matcher) options(all []option, taken uint64, at int, caught *capture, next then) bool {
	for i, o := range all {
		if taken&(1<<i) != 0 {
			continue
		}
		if m.sequence(o.pattern, at, caught, func(end int, caught *capture) bool {
			caught = &capture{older: caught, choice: o.name, isOption: true, first: at, end: end}
			return m.options(all, taken|1<<i, end, caught, next)
		}) {
			return true
		}
	}
	return next(at, caught)
}

func (m *matcher) argument(a *argument, at int, caught *capture, next then) bool {
	if first, end, after := m.parenthesised(a.kind, at); after > at {
		return next(after, &capture{older: caught, argument: a, first: first, end: end})
	}
	end := m.argumentEnd(a.kind, at)
	if end == at {
		m.fail(at, "<"+a.name+">")
		return false
	}
	return next(end, &capture{older: caught, argument: a, first: at, end: end})
}

// parenthesised finds an argument in the form in which pgJDBC writes parameters
// into a statement of the simple protocol, ('7') or ('7'::int8), and the token
// after it: at itself if there is none.
func (m *matcher) parenthesised(kind argumentKind, at int) (first, end, after int) {
	if !m.tokens[at].is("(") || kind == fixedArgument || kind == parameterArgument || kind == listArgument {
		return at, at, at
	}
	if kind == textArgument {
		kind = nameArgument // or it would take the parenthesis too
	}
	end = m.argumentEnd(kind, at+1)
	closing := end
	if m.tokens[closing].is("::") && m.tokens[closing+1].kind == wordToken {
		closing += 2
	}
	if end == at+1 || !m.tokens[closing].is(")") {
		return at, at, at
	}
	return at + 1, end, closing + 1
}

// argumentEnd gives the token after the argument that begins at at, or at
// itself if none does.
func (m *matcher) argumentEnd(kind argumentKind, at int) int {
	if kind == listArgument {
		return m.listEnd(at)
	}
	first := m.tokens[at]
	if !first.isValue() || first.kind == parameterToken && (kind == fixedArgument || kind == parameterArgument) {
		return at
	}
	if _, known := parameterNamed(first.text); kind == parameterArgument && !known {
		return at
	}
	if kind == tablesArgument && m.strategyAt(at) {
		return at
	}
	if kind == slotArgument && slices.ContainsFunc(optionLike, first.is) {
		return at
	}
	if kind == poolArgument && first.is("MIRROR") || kind == tableArgument && slices.ContainsFunc(syncOptions, first.is) {
		return at
	}
	end := at + 1
	switch kind {
	case tableArgument:
		end = m.tableEnd(at)
	case tablesArgument:
		end = m.tablesEnd(at)
	case textArgument:
		for m.tokens[end].kind != endToken && m.tokens[end].start == m.tokens[end-1].end {
			end++
		}
	case valuesArgument:
		for m.tokens[end].is(",") && m.tokens[end+1].isValue() {
			end += 2
		}
	case wordsArgument:
		for m.tokens[end].isValue() {
			end++
		}
	}
	return end
}

// listEnd gives the parenthesis that closes the list which begins at at, or the
// end of the statement.
func (m *matcher) listEnd(at int) int {
	depth := 0
	for ; m.tokens[at].kind != endToken; at++ {
		switch t := m.tokens[at]; {
		case t.is("("):
			depth++
		case t.is(")") && depth == 0:
			return at
		case t.is(")"):
			depth--
		}
	}
	return at
}

// tablesEnd gives the token after the last of the tables that begin at at.
func (m *matcher) tablesEnd(at int) int {
	for end := m.tableEnd(at); ; {
		next := end
		if m.tokens[next].is(",") {
			next++
		}
		if !m.tokens[next].isValue() || next == end && m.strategyAt(next) {
			return end
		}
		end = m.tableEnd(next)
	}
}

// strategyAt tells whether RESYNC's STRATEGY stands at at, and not a table of that
// name: one that another follows is quoted.
func (m *matcher) strategyAt(at int) bool {
	return m.tokens[at].is("STRATEGY") && m.tokens[at+1].isValue() && !m.tokens[at+1].is(",")
}

// tableEnd gives the token after the table that begins at at: the unquoted
// schema.table is one word, with a quote in it there are three tokens.
func (m *matcher) tableEnd(at int) int {
	if !m.tokens[at+1].is(".") || m.tokens[at+1].start != m.tokens[at].end {
		return at + 1
	}
	if name := m.tokens[at+2]; name.isValue() && name.start == m.tokens[at+1].end {
		return at + 3
	}
	return at + 1
}

// fail notes what was expected at a token that did not fit.
func (m *matcher) fail(at int, expected string) {
	if at > m.farthest {
		m.farthest, m.expected = at, nil
	}
	if at == m.farthest && !m.quiet && !slices.Contains(m.expected, expected) {
		m.expected = append(m.expected, expected)
	}
}

// is tells whether t is the keyword or symbol.
func (t token) is(word string) bool {
	return (t.kind == wordToken || t.kind == symbolToken) && strings.EqualFold(t.text, word)
}

// isValue tells whether t may be an argument.
func (t token) isValue() bool {
	switch t.kind {
	case wordToken, quotedToken, stringToken, numberToken, parameterToken:
		return true
	}
	return false
}
