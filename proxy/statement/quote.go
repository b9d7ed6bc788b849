package statement

import "strings"

// QuoteIdentifier quotes a name.
func QuoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// QuoteLiteral quotes a string so that it is read alike whatever
// standard_conforming_strings is.
func QuoteLiteral(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\x00", ""), "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}

// quoteName quotes a parameter's name, which may have several parts.
func quoteName(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = QuoteIdentifier(part)
	}
	return strings.Join(parts, ".")
}

// ResetSQL is the statement that puts a parameter back to its default.
func ResetSQL(name string) string { return "RESET " + quoteName(name) }

// SetSQL is the statement that sets a parameter for the session, the value being
// written as the server itself does.
func SetSQL(name, value string) string {
	return "SELECT pg_catalog.set_config(" + QuoteLiteral(name) + "," + QuoteLiteral(value) + ",false)"
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
