package drift

import (
	"regexp"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
)

// texts compares SQL texts that servers made, where columns and schemas may
// have other names at the destination.
type texts struct {
	gone    map[string]bool   // columns that the destination does not have
	columns map[string]string // the destination's name of renamed columns
	schemas map[string]string
}

// newTexts gives the texts in which columns have the names that name gives.
func newTexts(k *comparer, name func(source string) (string, bool)) texts {
	t := texts{columns: map[string]string{}, schemas: map[string]string{}, gone: map[string]bool{}}
	for i := range k.Source.Columns {
		c := &k.Source.Columns[i]
		to, ok := name(c.Name)
		if !ok || !k.sent(c) && k.Destination.Column(to) == nil {
			t.gone[c.Name] = true
		} else if to != c.Name {
			t.columns[c.Name] = to
		}
	}
	schemas := []string{k.Source.Table.Schema}
	for _, y := range k.Source.Types {
		schemas = append(schemas, y.Type.Schema)
	}
	for _, trigger := range k.Source.Triggers {
		schemas = append(schemas, trigger.Function.Schema)
	}
	for _, s := range schemas {
		if to := k.Mapping.Schema(s); to != s && s != "pg_catalog" {
			t.schemas[s] = to
		}
	}
	return t
}

// same tells whether a source's text means what the destination's says.
func (t texts) same(source, destination string) bool {
	return source == destination || t.translate(source) == texts{}.translate(destination)
}

// translate gives a source's text with the destination's names, all
// identifiers quoted: a form to compare, not to run.
func (t texts) translate(text string) string { return t.write(text, true) }

// rename gives a source's text with the destination's names, to be run there.
func (t texts) rename(text string) string {
	if len(t.columns) == 0 && len(t.schemas) == 0 {
		return text
	}
	return t.write(text, false)
}

// needsGone tells whether a source's text names a column that the destination
// does not have; a name that happens to be the same counts too.
func (t texts) needsGone(text string) bool {
	if len(t.gone) == 0 {
		return false
	}
	found := false
	t.read(text, true, func(name string) { found = found || t.gone[name] })
	return found
}

// write gives a text with the destination's names.
func (t texts) write(text string, quoteAll bool) string {
	return t.read(text, quoteAll, func(string) {})
}

// read reads what PostgreSQL deparses, which has no comments, no dollar
// quotes and no escape strings but E'…'.
func (t texts) read(text string, quoteAll bool, column func(name string)) string {
	var out strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\'':
			end := endOfQuotes(text, i, i > 0 && text[i-1] == 'E')
			out.WriteString(text[i:end])
			i = end
		case c == '"':
			end := endOfQuotes(text, i, false)
			name := strings.ReplaceAll(strings.TrimSuffix(text[i+1:end], `"`), `""`, `"`)
			out.WriteString(dump.QuoteIdent(t.identifier(name, text, end, column)))
			i = end
		case startsIdentifier(c):
			end := i + 1
			for end < len(text) && (startsIdentifier(text[end]) || text[end] >= '0' && text[end] <= '9' || text[end] == '$') {
				end++
			}
			word := text[i:end]
			name := t.identifier(word, text, end, column)
			if end < len(text) && text[end] == '\'' && word == "E" || !quoteAll && name == word {
				out.WriteString(word)
			} else {
				out.WriteString(dump.QuoteIdent(name))
			}
			i = end
		default:
			out.WriteByte(c)
			i++
		}
	}
	return out.String()
}

// identifier gives the destination's name for one that ends in text at end.
func (t texts) identifier(name, text string, end int, column func(name string)) string {
	switch {
	case end < len(text) && text[end] == '.':
		if to, ok := t.schemas[name]; ok {
			name = to
		}
	case end < len(text) && text[end] == '(': // a function
	default:
		column(name)
		if to, ok := t.columns[name]; ok {
			name = to
		}
	}
	return name
}

func startsIdentifier(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// endOfQuotes gives the position behind the quoted text that begins at start.
func endOfQuotes(text string, start int, escapes bool) int {
	quote := text[start]
	for i := start + 1; i < len(text); i++ {
		switch {
		case escapes && text[i] == '\\':
			i++
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}

// alike is same where columns of two types bring casts of their own: those are
// left aside then, with the parentheses that come with them. It may take a
// check for equal that is not quite, which costs nothing but the early word: the
// destination refuses what it does not hold for.
func (k *comparer) alike(source, destination string) bool {
	return k.text.same(source, destination) ||
		k.loose && withoutCasts(k.text.translate(source)) == withoutCasts(texts{}.translate(destination))
}

// castOf matches a cast in a text that translate made: ::"character" "varying"(20)[].
var castOf = regexp.MustCompile(`::("(?:[^"]|"")+"\.)?"(?:[^"]|"")+"( "(?:varying|precision|without|with|time|zone)")*(\([0-9, ]+\))?( "(?:without|with|time|zone)")*(\[\])*`)

func withoutCasts(text string) string {
	return strings.NewReplacer("(", "", ")", "").Replace(castOf.ReplaceAllString(text, ""))
}
