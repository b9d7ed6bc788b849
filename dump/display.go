package dump

import (
	"regexp"
	"strings"
)

// mask stands where a secret was.
const mask = "********"

// secretOption matches names of options whose values are secrets.
var secretOption = regexp.MustCompile(`(?i)pass|pwd|secret|token|key|credential|auth`)

// secretValue matches values that carry a password inside: a connection string
// or an URL.
var secretValue = regexp.MustCompile(`(?i)(password|passwd|pwd|secret|token)\s*=|://[^/@\s]*:[^/@\s]*@`)

// Display gives the definition as it may be shown and stored. Of a USER MAPPING
// or SUBSCRIPTION every string constant is masked; of a SERVER, FOREIGN DATA
// WRAPPER or FOREIGN TABLE the values of options that by their name or by their
// content are secrets. Definitions of other kinds are shown as they are.
func (e Entry) Display() string {
	switch e.Kind {
	case KindUserMapping, KindSubscription:
		return maskLiterals(e.Definition, func(string, string) bool { return true })
	case KindServer, KindForeignDataWrapper, KindForeignTable:
		return maskLiterals(e.Definition, func(option, value string) bool {
			return secretOption.MatchString(option) || secretValue.MatchString(value)
		})
	}
	return e.Definition
}

// maskLiterals replaces each string constant that is secret, given the name
// directly before it.
func maskLiterals(sql string, secret func(name, value string) bool) string {
	var shown strings.Builder
	name := ""
	for i := 0; i < len(sql); {
		kind, n := nextToken(sql[i:])
		text := sql[i : i+n]
		switch {
		case kind == tokenLiteral && secret(name, text):
			shown.WriteString("'" + mask + "'")
		default:
			shown.WriteString(text)
		}
		switch kind {
		case tokenSpace, tokenComment:
		case tokenWord, tokenQuoted:
			name = text
		default:
			name = ""
		}
		i += n
	}
	return shown.String()
}
