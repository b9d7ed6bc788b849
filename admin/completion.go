package admin

import (
	"slices"
	"strings"
)

// describeCompletion answers what psql asks when somebody presses Tab after
// SHOW or SET: a SELECT on pg_settings with the prefix as a LIKE pattern. The
// texts differ between psql's versions, so only what matters is looked at:
// which column is asked for, which names, and whether only what SET may change.
func describeCompletion(c *console, s *statement, items [][]token, from []token) bool {
	if len(items) != 1 || !containsWord(from, "pg_settings") && !containsWord(s.tokens, "pg_settings") || typedByPsql(s.tokens) {
		return false
	}
	switch {
	case containsWord(items[0], "name"):
		names := c.showNames()
		if containsWord(from, "context") {
			names = c.contextNames(from)
		}
		s.columns = []Column{{Name: catalogColumn(items[0]).Name, Type: Text}}
		s.probe = &probe{rows: matching(names, namePattern(from))}
	case containsWord(items[0], "setting"):
		name := namePattern(from)
		s.columns = []Column{{Name: "setting", Type: Text}}
		s.probe = &probe{}
		if v, err := currentSetting(c, []any{name}); err == nil && name != "" {
			s.probe.rows = [][]any{{v}}
		}
	case containsWord(items[0], "vartype"), containsWord(items[0], "val"):
		s.columns = []Column{{Name: baseName(items[0][0]), Type: Text}}
		s.probe = &probe{} // values are not completed
	default:
		return false
	}
	return true
}

// showNames gives what may follow SHOW, in lower case, sorted.
func (c *console) showNames() []string {
	names := c.server.grammar.topics()
	names = append(names, c.settingNames()...)
	for _, p := range sessionParameters {
		names = append(names, p.name)
	}
	return lowered(names)
}

// contextNames gives what a condition on pg_settings.context leaves: for SET
// the settings and parameters that may be set, for ALTER SYSTEM nothing.
func (c *console) contextNames(from []token) []string {
	if !slices.ContainsFunc(from, func(t token) bool { return t.kind == stringToken && t.text == "user" }) {
		return nil
	}
	var names []string
	if !c.client.ReadOnly {
		for _, s := range c.config().Settings() {
			if s.Settable {
				names = append(names, s.Name)
			}
		}
	}
	for _, p := range sessionParameters {
		if !p.fixed {
			names = append(names, p.name)
		}
	}
	return lowered(names)
}

func lowered(names []string) []string {
	for i, name := range names {
		names[i] = strings.ToLower(name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namePattern gives the literal that names are compared with: the first one
// after LIKE or =. "" if there is none.
func namePattern(from []token) string {
	compared := false
	for i, t := range from {
		compares := t.is("LIKE") || t.is("=") || t.is("~") && i > 0
		compared = compared || compares
		if compared && t.kind == stringToken {
			return t.text
		}
	}
	return ""
}

// matching gives a row for each name that a LIKE pattern takes; "" takes all.
func matching(names []string, pattern string) [][]any {
	var rows [][]any
	for _, name := range names {
		if pattern == "" || like(strings.ToLower(pattern), name) {
			rows = append(rows, []any{name})
		}
	}
	return rows
}

// like is SQL's LIKE for patterns with at most a % at the end: what psql makes
// from a prefix, with \ before what would be a wildcard.
func like(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "%")
	prefix = strings.NewReplacer(`\\`, `\`, `\_`, `_`, `\%`, `%`).Replace(prefix)
	if open {
		return strings.HasPrefix(name, prefix)
	}
	return name == prefix
}
