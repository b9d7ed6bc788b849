package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// helpHint ends every hint of an error of the language.
const helpHint = "SHOW HELP lists the commands."

// grammar is the compiled table of commands.
type grammar struct {
	commands []*command
}

// compile makes the grammar from the table. A mistake in the table is an error,
// which the tests meet.
func compile(commands []*command) (*grammar, error) {
	g := &grammar{commands: commands}
	for _, c := range commands {
		p, err := compilePattern(c.syntax)
		if err != nil {
			return nil, err
		}
		c.pattern = p
		if c.name == "" {
			c.name = strings.Join(p.leadingWords(), " ")
		}
	}
	return g, nil
}

// parse reads one statement of source. The command that takes it is the first
// one of the table that does.
func (g *grammar) parse(source string, tokens []token) (*statement, error) {
	if err := checkParameters(source, tokens); err != nil {
		return nil, err
	}
	last := tokens[len(tokens)-1]
	m := &matcher{tokens: append(slices.Clip(tokens), token{kind: endToken, start: last.end, end: last.end})}
	for _, c := range g.commands {
		m.quiet = c.internal
		if caught, ok := m.match(c.pattern); ok {
			return newStatement(source, tokens, c, caught), nil
		}
	}
	return nil, g.syntaxError(source, m)
}

// syntaxError tells where the statement stopped making sense, what could stand
// there, and which of that is near to what does.
func (g *grammar) syntaxError(source string, m *matcher) error {
	at := m.tokens[m.farthest]
	if m.farthest == 0 || m.farthest == 1 && isSQL(m.tokens, m.expected) {
		return g.unknownCommand(source, m.tokens[0])
	}
	if e := g.misspelledTopic(source, m.tokens); e != nil {
		return e
	}
	e := pgerror.New(pgerror.SyntaxError, "syntax error at end of input")
	if at.kind != endToken {
		e = pgerror.New(pgerror.SyntaxError, "syntax error at or near \"%s\"", source[at.start:at.end])
	}
	expected := slices.DeleteFunc(m.expected, func(e string) bool { return e == "<setting>" })
	if len(expected) > 0 && len(expected) <= mostExpected {
		e = e.WithDetail("Expected %s.", strings.Join(expected, ", "))
	}
	var hints []string
	if near := nearest(at.text, keywordsOf(expected)); near != "" && at.kind == wordToken {
		hints = append(hints, fmt.Sprintf("Perhaps you meant %s.", near))
	}
	if syntax := g.syntaxFor(m.tokens); syntax != "" {
		hints = append(hints, "Syntax: "+syntax)
	} else {
		hints = append(hints, helpHint)
	}
	return e.At(position(source, at.start)).WithHint("%s", strings.Join(hints, " "))
}

// misspelledTopic is the error of a SHOW with arguments whose topic is none but
// near to one; nil for all others. SHOW <setting> has taken the topic, so that
// the place where no command went on is past the mistake.
func (g *grammar) misspelledTopic(source string, tokens []token) *pgerror.Error {
	topic := tokens[1]
	if !tokens[0].is("SHOW") || topic.kind != wordToken || slices.ContainsFunc(g.topics(), topic.is) {
		return nil
	}
	near := nearest(topic.text, g.topics())
	if near == "" {
		return nil
	}
	return pgerror.New(pgerror.SyntaxError, "unknown SHOW topic \"%s\"", topic.text).At(position(source, topic.start)).
		WithHint("Perhaps you meant SHOW %s. %s", near, helpHint)
}

// mostExpected is how many alternatives a DETAIL names.
const mostExpected = 12

// unknownCommand is the error of a statement whose first word begins none.
func (g *grammar) unknownCommand(source string, at token) error {
	place := position(source, at.start)
	if at.kind == wordToken && slices.ContainsFunc(sqlVerbs, at.is) {
		return pgerror.New(pgerror.FeatureNotSupported, "%s is not supported: this is the admin database",
			strings.ToUpper(at.text)).At(place).WithHint("%s", helpHint)
	}
	e := pgerror.New(pgerror.SyntaxError, "unknown command \"%s\"", source[at.start:at.end]).At(place)
	if near := nearest(at.text, g.firstWords()); near != "" && at.kind == wordToken {
		return e.WithHint("Perhaps you meant %s. %s", near, helpHint)
	}
	return e.WithHint("%s", helpHint)
}

// sqlVerbs begin statements of SQL: who types them took this for a database
// with tables.
var sqlVerbs = []string{
	"ALTER", "ANALYZE", "CALL", "CHECKPOINT", "CLUSTER", "COMMENT", "COPY", "CREATE", "DECLARE", "DELETE", "DO",
	"DROP", "EXECUTE", "EXPLAIN", "FETCH", "GRANT", "INSERT", "LISTEN", "LOCK", "MERGE", "MOVE", "NOTIFY",
	"PREPARE", "REASSIGN", "REFRESH", "REINDEX", "REVOKE", "SECURITY", "TABLE", "TRUNCATE", "UPDATE", "VACUUM",
	"VALUES", "WITH",
}

// isSQL tells whether a statement begins as one of SQL does whose first word is
// a command's too: DROP TABLE is not a misspelled DROP MIRROR.
func isSQL(tokens []token, expected []string) bool {
	return tokens[0].kind == wordToken && slices.ContainsFunc(sqlVerbs, tokens[0].is) &&
		tokens[1].kind == wordToken && nearest(tokens[1].text, keywordsOf(expected)) == ""
}

// keywordsOf leaves out what is no keyword: <name>, "end of command".
func keywordsOf(expected []string) []string {
	return slices.DeleteFunc(slices.Clone(expected), func(e string) bool {
		return strings.HasPrefix(e, "<") || strings.Contains(e, " ")
	})
}

func (g *grammar) firstWords() []string {
	var words []string
	for _, c := range g.commands {
		words = append(words, c.firstWord())
	}
	return words
}

// syntaxFor gives the syntax of the one command whose name the statement
// begins with.
func (g *grammar) syntaxFor(tokens []token) string {
	best, bestLength := "", 0
	for _, c := range g.commands {
		words := c.pattern.leadingWords()
		if len(words) <= bestLength || len(words) > len(tokens) || c.internal {
			continue
		}
		begins := true
		for i, word := range words {
			begins = begins && tokens[i].is(word)
		}
		// SHOW alone names no command: its topics do.
		if begins && (len(words) != 1 || words[0] != "SHOW") {
			best, bestLength = c.syntax, len(words)
		}
	}
	return best
}

// topics gives the words after SHOW that name a command, as they are spelled in
// the table.
func (g *grammar) topics() []string {
	var topics []string
	for _, c := range g.commands {
		if words := c.pattern.leadingWords(); len(words) == 2 && words[0] == "SHOW" && !c.internal {
			topics = append(topics, words[1])
		}
	}
	return topics
}
