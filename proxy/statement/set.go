package statement

// Change is what a SET or RESET does to the session.
type Change struct {
	Scope Scope
	// Name is the parameter, in lower case; "" for ChangesAll.
	Name string
	// SQL sets it again; "" if the parameter goes back to its default.
	SQL string
}

// Scope is how far a SET or RESET reaches.
type Scope uint8

// The scopes.
const (
	Unclear    Scope = iota // what it does has to be asked of the server
	Local                   // the transaction alone, or nothing of the session
	ChangesOne              // one parameter of the session
	ChangesAll              // RESET ALL
)

// ParseSet reads one statement, which begins with SET or RESET.
func ParseSet(sql []byte) Change {
	l := &lexer{sql: sql}
	if l.next() != word {
		return Change{}
	}
	if l.is("reset") {
		return parseReset(l)
	}
	if !l.is("set") {
		return Change{}
	}
	k := l.next()
	switch {
	case k == word && l.is("local"):
		return Change{Scope: Local}
	case k == word && l.is("session"):
		if k = l.next(); k == word && (l.is("authorization") || l.is("characteristics")) {
			return Change{}
		}
	}
	if k == word {
		switch {
		case l.is("transaction"), l.is("constraints"), l.is("seed"):
			return Change{Scope: Local}
		case l.is("session"), l.is("xml"):
			return Change{}
		case l.is("time"):
			return parseTimeZone(l)
		case l.is("names"):
			return special(l, "client_encoding", "SET NAMES ")
		case l.is("schema"):
			return special(l, "search_path", "SET SCHEMA ")
		case l.is("role"):
			return special(l, "role", "SET ROLE ")
		}
	}
	return parseAssignment(l, k)
}

// parseTimeZone is at TIME, which may be a parameter's name as well.
func parseTimeZone(l *lexer) Change {
	ahead := *l
	if ahead.next() != word || !ahead.is("zone") {
		return parseAssignment(l, word)
	}
	*l = ahead
	c := special(l, "timezone", "SET TIME ZONE ")
	if c.SQL == "SET TIME ZONE LOCAL" {
		c.SQL = ""
	}
	return c
}

// special reads the value of a form that has neither TO nor =. A parameter called
// like its word is an ordinary one.
func special(l *lexer, name, prefix string) Change {
	ahead := *l
	k := ahead.next()
	if k == word && ahead.is("to") || k == symbol && ahead.sql[ahead.start] == '=' {
		return parseAssignment(l, word)
	}
	return value(&ahead, k, name, prefix)
}

func parseAssignment(l *lexer, k kind) Change {
	name, ok := parseName(l, k)
	if !ok {
		return Change{}
	}
	if l.start == l.end || !l.is("to") && l.sql[l.start] != '=' {
		return Change{}
	}
	switch name {
	case "transaction_isolation", "transaction_read_only", "transaction_deferrable":
		return Change{Scope: Local}
	case "session_authorization":
		return Change{}
	}
	return value(l, l.next(), name, "SET "+quoteName(name)+" TO ")
}

// parseName reads a name that begins with the token read last, and leaves l at the
// token after it.
func parseName(l *lexer, k kind) (string, bool) {
	if k != word && k != quoted {
		return "", false
	}
	name := l.name(k)
	k = l.next()
	for k == symbol && l.sql[l.start] == '.' {
		if k = l.next(); k != word && k != quoted {
			return "", false
		}
		name += "." + l.name(k)
		k = l.next()
	}
	return lowerASCII(name), true
}

// value reads up to the statement's end.
func value(l *lexer, k kind, name, prefix string) Change {
	first, last := l.start, l.end
	if k == end {
		return Change{Scope: ChangesOne, Name: name} // SET NAMES alone
	}
	if k == word && l.is("default") {
		return Change{Scope: ChangesOne, Name: name}
	}
	for {
		k = l.next()
		if k == end || k == symbol && l.sql[l.start] == ';' {
			break
		}
		last = l.end
	}
	raw := string(l.sql[first:last])
	if prefix == "SET TIME ZONE " && equalFold([]byte(raw), "local") {
		raw = "LOCAL"
	}
	return Change{Scope: ChangesOne, Name: name, SQL: prefix + raw}
}

func parseReset(l *lexer) Change {
	k := l.next()
	if k == word {
		switch {
		case l.is("all"):
			return Change{Scope: ChangesAll}
		case l.is("session"), l.is("transaction"):
			return Change{}
		case l.is("time"):
			if ahead := *l; ahead.next() == word && ahead.is("zone") {
				return Change{Scope: ChangesOne, Name: "timezone"}
			}
		}
	}
	name, ok := parseName(l, k)
	switch {
	case !ok, name == "session_authorization":
		return Change{}
	case name == "transaction_isolation", name == "transaction_read_only", name == "transaction_deferrable":
		return Change{Scope: Local}
	}
	return Change{Scope: ChangesOne, Name: name}
}

// ParseDeallocate reads DEALLOCATE [PREPARE] name | ALL; ok is false if sql is not
// just that.
func ParseDeallocate(sql []byte) (name string, all, ok bool) {
	l := &lexer{sql: sql}
	if l.next() != word || !l.is("deallocate") {
		return "", false, false
	}
	k := l.next()
	if k == word && l.is("prepare") {
		if ahead := *l; ahead.next() != end && ahead.sql[ahead.start] != ';' {
			k = l.next()
		}
	}
	if k != word && k != quoted {
		return "", false, false
	}
	name, all = l.name(k), k == word && l.is("all")
	return name, all, atEnd(l)
}

// IsDiscardAll tells whether sql is DISCARD ALL and no more.
func IsDiscardAll(sql []byte) bool {
	l := &lexer{sql: sql}
	return l.next() == word && l.is("discard") && l.next() == word && l.is("all") && atEnd(l)
}

// ParseExecute reads the name of EXECUTE name …: where it stands in sql, and what
// it is.
func ParseExecute(sql []byte) (name string, from, to int, ok bool) {
	l := &lexer{sql: sql}
	if l.next() != word || !l.is("execute") {
		return "", 0, 0, false
	}
	k := l.next()
	if k != word && k != quoted {
		return "", 0, 0, false
	}
	return l.name(k), l.start, l.end, true
}

// atEnd tells whether nothing but semicolons follows.
func atEnd(l *lexer) bool {
	for {
		k := l.next()
		if k == end {
			return true
		}
		if k != symbol || l.sql[l.start] != ';' {
			return false
		}
	}
}
