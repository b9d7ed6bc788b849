// Package statement tells what SQL does to a session, as far as a proxy that
// shares server connections has to know: it finds the ends of statements, the
// first word of each, and the words that make something outlast a transaction.
// It does not parse: whether SQL is right is for the server to say.
package statement

// Flags are what the statements of a string may do.
type Flags uint32

// The flags.
const (
	Sets         Flags = 1 << iota // SET, RESET
	Prepares                       // PREPARE, but not PREPARE TRANSACTION
	Executes                       // EXECUTE
	Deallocates                    // DEALLOCATE
	Discards                       // DISCARD
	Listens                        // LISTEN
	Unlistens                      // UNLISTEN
	Holds                          // DECLARE … WITH HOLD
	Temporary                      // CREATE TEMPORARY …, SELECT INTO TEMP
	Locks                          // an advisory lock of the session
	Unlocks                        // gives one back
	Configures                     // set_config, unless its last argument is true
	Blocks                         // DO: anything
	Opens                          // BEGIN, START TRANSACTION
	ReadOnly                       // BEGIN READ ONLY
	Writes                         // anything that a standby may refuse, or that only counts on the primary
	Undoes                         // CLOSE, DROP: may end what outlasts transactions
	Transactions                   // COMMIT, ROLLBACK, …
)

// Lasting are the flags of what may outlast its transaction and cannot be
// re-established by replaying it.
const Lasting = Prepares | Listens | Holds | Temporary | Locks

// Summary is what a string of SQL is about.
type Summary struct {
	Statements int // those that are not empty
	Flags      Flags
}

// Reads tells whether a standby can answer all of it: SELECT, SHOW and the like.
func (s Summary) Reads() bool {
	return s.Statements > 0 && s.Flags&^ReadOnly == 0 || s.Flags == Opens|ReadOnly
}

// Scan reads SQL from its beginning to its end.
func Scan(sql []byte) Summary {
	var out Summary
	l := lexer{sql: sql}
	var verb string // of the statement, "" at its beginning
	depth := 0
	before := symbol // the token before this one
	for {
		k := l.next()
		switch k {
		case end:
			return out
		case symbol:
			switch l.sql[l.start] {
			case '(':
				depth++
			case ')':
				depth = max(0, depth-1)
			case ';':
				if depth == 0 {
					verb = ""
					continue
				}
			}
			if verb == "" {
				out.Statements++
				verb = "("
			}
		case word:
			if verb == "" {
				out.Statements++
				verb = l.verb()
				out.Flags |= verbFlags[verb]
				break
			}
			out.Flags |= l.flags(verb, before)
		default:
			if verb == "" {
				out.Statements++
				verb = "?"
			}
		}
		before = k
	}
}

// verb gives the first word of a statement, if it is one of verbFlags.
func (l *lexer) verb() string {
	var lower [16]byte
	raw := l.sql[l.start:l.end]
	if len(raw) > len(lower) {
		return "?"
	}
	for i, c := range raw {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	if v, ok := verbs[string(lower[:len(raw)])]; ok {
		return v
	}
	return "?"
}

// verbFlags are what the first word of a statement says. Those that are not here
// write.
var verbFlags = map[string]Flags{
	"?":          Writes,
	"(":          0,
	"select":     0,
	"with":       0,
	"values":     0,
	"table":      0,
	"show":       0,
	"fetch":      0,
	"explain":    0,
	"set":        Sets,
	"reset":      Sets,
	"prepare":    Prepares | Writes,
	"execute":    Executes | Writes,
	"deallocate": Deallocates,
	"discard":    Discards,
	"listen":     Listens,
	"unlisten":   Unlistens,
	"do":         Blocks | Writes,
	"begin":      Opens,
	"start":      Opens,
	"commit":     Transactions,
	"end":        Transactions,
	"rollback":   Transactions,
	"abort":      Transactions,
	"savepoint":  Transactions,
	"release":    Transactions,
	"close":      Undoes,
	"drop":       Undoes | Writes,
	"declare":    Writes,
	"create":     Writes,
	"insert":     Writes,
	"update":     Writes,
	"delete":     Writes,
}

// verbs maps each to itself, so that no string is made.
var verbs = func() map[string]string {
	out := make(map[string]string, len(verbFlags))
	for v := range verbFlags {
		out[v] = v
	}
	return out
}()

// flags are those of a word inside a statement. The switch on the length leaves
// out most words at once.
func (l *lexer) flags(verb string, before kind) Flags {
	raw := l.sql[l.start:l.end]
	switch len(raw) {
	case 4:
		switch {
		case raw[0]|0x20 == 't' && l.is("temp") && (verb == "create" || verb == "select" || verb == "with"):
			return Temporary
		case raw[0]|0x20 == 'h' && l.is("hold") && verb == "declare":
			return l.holds()
		case raw[0]|0x20 == 'i' && l.is("into"):
			return Writes
		case raw[0]|0x20 == 'o' && l.is("only") && (verb == "begin" || verb == "start"):
			return ReadOnly
		}
	case 5:
		if l.is("share") || l.is("merge") {
			return Writes
		}
	case 6:
		if l.is("insert") || l.is("update") || l.is("delete") || l.is("setval") {
			return Writes
		}
	case 7:
		if l.is("nextval") || l.is("currval") || l.is("lastval") || l.is("analyze") {
			return Writes
		}
	case 9:
		if l.is("temporary") && (verb == "create" || verb == "select" || verb == "with") {
			return Temporary
		}
		if l.is("pg_notify") {
			return Writes
		}
	case 10:
		if l.is("set_config") {
			return l.configures()
		}
	case 11:
		if verb == "prepare" && l.is("transaction") && before == word {
			return Transactions
		}
	case 16, 20, 23, 27:
		if l.is("pg_advisory_lock") || l.is("pg_try_advisory_lock") || l.is("pg_advisory_lock_shared") || l.is("pg_try_advisory_lock_shared") {
			return Locks | Writes
		}
	case 18, 22, 25:
		if l.is("pg_advisory_unlock") || l.is("pg_advisory_unlock_all") || l.is("pg_advisory_unlock_shared") {
			return Unlocks | Writes
		}
	}
	return 0
}

// holds is called after HOLD of DECLARE: WITHOUT HOLD is no hold. What follows
// the word FOR is a query, in which HOLD is a name.
func (l *lexer) holds() Flags {
	back := lexer{sql: l.sql[:l.start]}
	without := false
	for k := back.next(); k != end; k = back.next() {
		without = k == word && back.is("without")
	}
	if without {
		return 0
	}
	return Holds
}

// configures looks for the third argument of set_config: what is set for the
// transaction alone is no matter.
func (l *lexer) configures() Flags {
	ahead := *l
	depth, argument := 0, 0
	for {
		k := ahead.next()
		switch {
		case k == end:
			return Configures | Writes
		case k == symbol && ahead.sql[ahead.start] == '(':
			depth++
		case k == symbol && ahead.sql[ahead.start] == ')':
			if depth--; depth <= 0 {
				return Configures | Writes
			}
		case k == symbol && ahead.sql[ahead.start] == ',' && depth == 1:
			argument++
		case k == word && depth == 1 && argument == 2 && ahead.is("true"):
			if ahead.next() == symbol && ahead.sql[ahead.start] == ')' {
				return Writes
			}
			return Configures | Writes
		}
	}
}
