package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// Parse reads both files from bytes, applies the environment (nil: none) and
// validates. The names are used for places only. Warnings come beside a usable
// Config and beside an *Error alike.
func Parse(configName string, configTOML []byte, usersName string, usersTOML []byte, lookupEnv func(string) (string, bool)) (*Config, []Problem, error) {
	r := newReader(configName, usersName)
	r.read(r.main, configTOML)
	r.read(r.users, usersTOML)
	return r.finish(lookupEnv)
}

// document is one of the two files.
type document struct {
	kind   string // configFile or usersFile: what it is, whatever it is called
	name   string
	places places
	parsed bool
}

// reader turns the two files into a Config, collecting problems on its way.
type reader struct {
	main, users *document
	config      *Config
	problems    []Problem
	warnings    []Problem
	bad         map[string]bool      // paths whose value could not be used: nothing else is concluded from them
	ignored     map[string]*occasion // keys and tables present that nothing acts on yet
	variables   map[string]string    // the environment variable that set "general.port"

	// Filled in by check.
	names        map[string]bool // of the clusters
	namesUnknown bool            // an entry of [[databases]] has no usable name: nobody can be told that a database does not exist
	unclear      map[string]bool // clusters with an entry that could not be read whole: nothing can be said about their shards
}

// occasion is where a key that is not supported yet first stands.
type occasion struct {
	file  string
	line  int
	note  string
	count int
}

func newReader(configName, usersName string) *reader {
	return &reader{
		main:      &document{kind: configFile, name: configName},
		users:     &document{kind: usersFile, name: usersName},
		config:    Default(),
		bad:       map[string]bool{},
		ignored:   map[string]*occasion{},
		variables: map[string]string{},
	}
}

// finish applies the environment, checks what the files say together, and
// gives the result.
func (r *reader) finish(lookupEnv func(string) (string, bool)) (*Config, []Problem, error) {
	if lookupEnv != nil {
		r.environment(lookupEnv)
	}
	if r.config.Admin.Password == "" || r.config.sources["admin.password"] != "" {
		r.config.Admin.PasswordGenerated = false
	}
	r.config.settle()
	r.check()
	r.warnIgnored()
	sortProblems(r.problems, r.main.name, r.users.name)
	sortProblems(r.warnings, r.main.name, r.users.name)
	if len(r.problems) > 0 {
		return nil, r.warnings, &Error{Problems: r.problems}
	}
	return r.config, r.warnings, nil
}

func (r *reader) read(doc *document, source []byte) {
	var tooDeep int
	if doc.places, tooDeep = locate(source); tooDeep > 0 {
		r.problems = append(r.problems, Problem{File: doc.name, Line: tooDeep,
			Message: fmt.Sprintf("lists or tables are nested more than %d deep", maxNesting)})
		return
	}
	var tree map[string]any
	if _, err := toml.Decode(string(source), &tree); err != nil {
		r.problems = append(r.problems, syntaxProblem(doc.name, err))
		return
	}
	doc.parsed = true
	for _, name := range inOrder(doc, "", tree) {
		t := tableNamed(name)
		switch {
		case t == nil:
			r.unknownTable(doc, name, tree[name])
		case !slices.Contains(t.Files, doc.kind):
			r.problem(doc, name, name, "this table does not belong in "+doc.kind, "move it to "+t.Files[0])
		default:
			r.table(doc, t, tree[name])
		}
	}
}

// syntaxProblem gives a TOML error without the values that the library quotes:
// one of them may be a password whose quotes were forgotten.
func syntaxProblem(file string, err error) Problem {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return Problem{File: file, Message: "not valid TOML"}
	}
	message, line, hint := parse.Message, parse.Position.Line, ""
	switch {
	case strings.HasPrefix(message, "Key '"): // names, not values
	case strings.Contains(message, "out of range"):
		message = "number is out of range"
	default:
		message = quotedText.ReplaceAllStringFunc(message, maskQuoted)
	}
	switch {
	case strings.Contains(message, "expected value but found …"):
		hint = "text needs quotes"
	case strings.Contains(message, `end table name, but got '\n'`):
		line-- // the library counts the line end to the next line
	}
	return Problem{File: file, Line: line, Message: "not valid TOML: " + message, Hint: hint}
}

var quotedText = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|'[^']*'`)

// maskQuoted keeps single characters, signs and escapes, which the library
// quotes from TOML's grammar, and hides all else.
func maskQuoted(quoted string) string {
	inner := []rune(quoted[1 : len(quoted)-1])
	escape := len(inner) == 2 && inner[0] == '\\'
	if len(inner) < 2 || escape || !slices.ContainsFunc(inner, isWordRune) {
		return quoted
	}
	return "…"
}

func isWordRune(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }

// table reads one table of a document into its field of the Config.
func (r *reader) table(doc *document, t *Table, raw any) {
	if t.flags&later != 0 {
		r.ignore(t.Name, doc, t.Name, "")
	}
	if t.AnyKeys {
		return
	}
	field := reflect.ValueOf(r.config).Elem().FieldByIndex(t.index)
	if t.Array {
		r.list(doc, t, raw, t.Name, field)
		return
	}
	entry, ok := raw.(map[string]any)
	if !ok {
		r.bad[t.Name] = true
		r.problem(doc, t.Name, t.Name, "expected a table, found "+kindOf(raw), "write "+t.header())
		return
	}
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(t.element))
		field = field.Elem()
		field.Set(t.defaults)
	}
	r.entry(doc, t, entry, t.Name, field)
}

// list reads the entries of an array of tables, however they are written. An
// entry that is none keeps its place, so that index and path stay one.
func (r *reader) list(doc *document, t *Table, raw any, path string, field reflect.Value) {
	var entries []any
	switch raw := raw.(type) {
	case []map[string]any:
		for _, entry := range raw {
			entries = append(entries, entry)
		}
	case []any:
		entries = raw
	default:
		r.bad[path] = true
		r.problem(doc, path, t.Name, "expected a list of tables, found "+kindOf(raw), "write "+t.header())
		return
	}
	list := reflect.MakeSlice(field.Type(), len(entries), len(entries))
	for i, raw := range entries {
		at, into := element(path, i), list.Index(i)
		into.Set(t.defaults)
		r.mark(doc, at, into)
		if entry, ok := raw.(map[string]any); ok {
			r.entry(doc, t, entry, at, into)
		} else {
			r.bad[at] = true
			r.problem(doc, at, t.Name, "expected a table, found "+kindOf(raw), "write "+t.header())
		}
	}
	field.Set(list)
}

// mark notes in an entry where it stands, if it has room for that.
func (r *reader) mark(doc *document, path string, entry reflect.Value) {
	switch entry := entry.Addr().Interface().(type) {
	case *Database:
		entry.File, entry.Line = doc.name, doc.places.line(path)
	case *User:
		entry.File, entry.Line = doc.name, doc.places.line(path)
	case *Mirror:
		entry.File, entry.Line = doc.name, doc.places.line(path)
	}
}

// entry reads the keys of one table into a struct.
func (r *reader) entry(doc *document, t *Table, raw map[string]any, path string, into reflect.Value) {
	for _, name := range inOrder(doc, path, raw) {
		if key := t.key(name); key == nil {
			r.unknownKey(doc, t, path, name)
		} else {
			r.value(doc, t, key, raw[name], path, into.FieldByIndex(key.index))
		}
	}
	for _, key := range t.Keys {
		if _, there := raw[key.Name]; key.Required() && !there {
			r.bad[child(path, key.Name)] = true
			r.problem(doc, path, child(t.Name, key.Name), "is missing", fmt.Sprintf("add it, as in %s = %s", key.Name, key.Example))
		}
	}
}

func (r *reader) value(doc *document, t *Table, key *Key, raw any, path string, field reflect.Value) {
	at, shown := child(path, key.Name), child(t.Name, key.Name)
	if key.flags&later != 0 && t.flags&later == 0 {
		r.ignore(shown, doc, at, key.Ignored)
	}
	if field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct {
		r.list(doc, tableNamed(shown), raw, at, field)
		return
	}
	if field.Kind() == reflect.Struct {
		if entry, ok := raw.(map[string]any); ok {
			r.entry(doc, tableNamed(shown), entry, at, field)
			return
		}
		r.bad[at] = true
		r.problem(doc, at, shown, "expected a table, found "+kindOf(raw), "write "+tableNamed(shown).header())
		return
	}
	before := reflect.New(field.Type()).Elem()
	before.Set(field)
	if wrong := key.assign(field, raw); wrong != "" {
		r.bad[at] = true
		r.problem(doc, at, shown, wrong, "")
		return
	}
	if t.Array {
		return
	}
	if r.config.sources[shown] == sourceFile && !reflect.DeepEqual(before.Interface(), field.Interface()) {
		r.warn(doc, at, shown, fmt.Sprintf("differs from line %d of %s; this one counts", r.main.places.line(at), r.main.name), "keep one of the two")
	}
	r.config.sources[shown] = sourceFile
}

func (r *reader) unknownKey(doc *document, t *Table, path, name string) {
	at, shown := child(path, name), child(t.Name, name)
	if likely := nearest(name, t.keyNames()); likely != "" {
		r.bad[child(path, likely)] = true // what it was meant to say is not known
		r.problem(doc, at, shown, "unknown key", fmt.Sprintf("did you mean %q?", likely))
		return
	}
	r.problem(doc, at, shown, "unknown key", r.homeOf(doc, name))
}

func (r *reader) unknownTable(doc *document, name string, raw any) {
	switch raw.(type) {
	case map[string]any, []map[string]any:
		var names []string
		for _, t := range tables {
			if slices.Contains(t.Files, doc.kind) && !strings.Contains(t.Name, ".") {
				names = append(names, t.Name)
			}
		}
		hint := doc.kind + ".example lists all tables"
		if likely := nearest(name, names); likely != "" {
			r.bad[likely] = true // what it was meant to say is not known
			hint = fmt.Sprintf("did you mean %s?", tableNamed(likely).header())
		}
		r.problem(doc, name, name, "unknown table", hint)
	default:
		r.problem(doc, name, name, "key outside of any table", r.homeOf(doc, name))
	}
}

// homeOf tells which table a key belongs in, if one has it, or one like it.
func (r *reader) homeOf(doc *document, name string) string {
	for _, t := range tables {
		if slices.Contains(t.Files, doc.kind) && t.key(name) != nil {
			return "it belongs under " + t.header()
		}
	}
	for _, t := range tables {
		if likely := nearest(name, t.keyNames()); likely != "" && slices.Contains(t.Files, doc.kind) {
			return fmt.Sprintf("did you mean %q, under %s?", likely, t.header())
		}
	}
	return doc.kind + ".example lists all keys"
}

// inOrder gives the keys of a table in the order of the file.
func inOrder(doc *document, path string, table map[string]any) []string {
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(doc.places.line(child(path, a)), doc.places.line(child(path, b))), cmp.Compare(a, b))
	})
}

// problem notes what makes the configuration unusable.
func (r *reader) problem(doc *document, path, key, message, hint string) {
	r.problems = append(r.problems, Problem{File: doc.name, Line: doc.places.line(path), Key: key, Message: message, Hint: hint})
}

// warn notes what does not.
func (r *reader) warn(doc *document, path, key, message, hint string) {
	r.warnings = append(r.warnings, Problem{File: doc.name, Line: doc.places.line(path), Key: key, Message: message, Hint: hint})
}

// ignore notes that a key or table is there which nothing acts on yet.
func (r *reader) ignore(shown string, doc *document, path, note string) {
	if first := r.ignored[shown]; first != nil {
		first.count++
		return
	}
	r.ignored[shown] = &occasion{file: doc.name, line: doc.places.line(path), note: note, count: 1}
}

// warnIgnored makes one warning per key, however often it is there.
func (r *reader) warnIgnored() {
	for _, shown := range slices.Sorted(maps.Keys(r.ignored)) {
		at := r.ignored[shown]
		message := "not supported yet: it has no effect"
		if at.note != "" {
			message += ", " + at.note
		}
		if at.count > 1 {
			message += fmt.Sprintf(" (set in %d places)", at.count)
		}
		r.warnings = append(r.warnings, Problem{File: at.file, Line: at.line, Key: shown, Message: message})
	}
}
