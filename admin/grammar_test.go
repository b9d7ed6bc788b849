package admin

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

var update = flag.Bool("update", false, "write the golden files anew")

func testGrammar(t testing.TB) *grammar {
	t.Helper()
	g, err := compile(commandTable())
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return g
}

func parsed(g *grammar, text string) (*statement, error) {
	tokens, err := lex(text)
	if err != nil {
		return nil, err
	}
	return g.parse(text, tokens)
}

// TestCommandTable holds every entry of the table to what SHOW HELP and the
// reference promise.
func TestCommandTable(t *testing.T) {
	t.Parallel()
	g := testGrammar(t)
	names := map[string]bool{}
	for _, c := range g.documented() {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "" || names[c.name] {
				t.Error("command has no name of its own")
			}
			names[c.name] = true
			if c.help == "" || c.description == "" || c.example == "" || c.run == nil {
				t.Error("help, description, example and run are required")
			}
			if strings.HasSuffix(c.help, ".") || !strings.HasSuffix(c.description, ".") {
				t.Error("help is a phrase, description is sentences")
			}
			if c.role != Reader && c.role != Admin {
				t.Errorf("role is %q", c.role)
			}
			if c.effects && c.role != Admin {
				t.Error("readers may run a command with effects")
			}
			s, err := parsed(g, c.example)
			if err != nil {
				t.Fatalf("example: %v", err)
			}
			if s.command != c {
				t.Errorf("example is taken by %s", s.command.name)
			}
			checkColumns(t, c.columns)
			for option, columns := range c.optionColumns {
				checkColumns(t, columns)
				if s, err := parsed(g, c.example+" "+option); err != nil || len(s.columns) != len(columns) {
					t.Errorf("example with %s: %v", option, err)
				}
			}
		})
	}
}

func checkColumns(t *testing.T, columns []Column) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range columns {
		if c.Name == "" || seen[c.Name] || c.Meaning == "" || columnTypes[c.Type].oid == 0 {
			t.Errorf("column %+v is not described, or not once", c)
		}
		if slices.Contains([]ColumnType{int2Type, int4Type, oidType, nameType, charType}, c.Type) {
			t.Errorf("column %s has type %s, which commands do not use", c.Name, c.Type)
		}
		seen[c.Name] = true
	}
}

// TestArgumentsAreUsed finds descriptions that nothing refers to.
func TestArgumentsAreUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, c := range testGrammar(t).commands {
		for _, a := range c.pattern.arguments() {
			used[a.name] = true
		}
	}
	for _, a := range arguments {
		if !used[a.name] || a.meaning == "" {
			t.Errorf("argument <%s> is not used or not described", a.name)
		}
	}
}

// TestSettingsAndParametersDiffer: SET and SHOW of a name would otherwise have
// two meanings.
func TestSettingsAndParametersDiffer(t *testing.T) {
	t.Parallel()
	for _, s := range newConfiguration(t).Config().Settings() {
		if p, known := parameterNamed(s.Name); known {
			t.Errorf("%s is a setting and %s a session parameter", s.Name, p.name)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	for _, syntax := range []string{"A {B", "A [B", "A }", "A {|B}", "A <nobody>", "A {B]", "A | B"} {
		if _, err := compilePattern(syntax); err == nil {
			t.Errorf("compilePattern(%q) succeeded", syntax)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	g := testGrammar(t)
	for _, test := range []struct{ text, want string }{
		{`schema_sync pre A "B c" 'd''e'`, `SCHEMA_SYNC PRE destination=B c publication=d'e source=A`},
		{`SCHEMA_SYNC POST_CUTOVER "DRY" "RUN" dry no owner dry run`, `SCHEMA_SYNC POST_CUTOVER destination=RUN publication=dry source=DRY +DRY RUN +NO OWNER`},
		{`SCHEMA_SYNC POST a b c NO PRIVILEGES IGNORE ERRORS NO OWNER DRY RUN`, `SCHEMA_SYNC POST destination=b publication=c source=a +DRY RUN +IGNORE ERRORS +NO OWNER +NO PRIVILEGES`},
		{`SCHEMA_SYNC CUTOVER $2 $1 my-pub`, `SCHEMA_SYNC CUTOVER destination=$1 publication=my-pub source=$2`},
		{`COPY_DATA prod prod_new p`, `COPY_DATA destination=prod_new publication=p source=prod`},
		{`copy_data A "B c" 'd''e' my_slot sync only skip schema`, `COPY_DATA destination=B c publication=d'e slot=my_slot source=A +<slot> +SKIP SCHEMA +SYNC ONLY`},
		{`COPY_DATA a b c SKIP SCHEMA`, `COPY_DATA destination=b publication=c source=a +SKIP SCHEMA`},
		{`COPY_DATA a b c "sync" SYNC ONLY`, `COPY_DATA destination=b publication=c slot=sync source=a +<slot> +SYNC ONLY`},
		{`COPY_DATA a b skip $1`, `COPY_DATA destination=b publication=skip slot=$1 source=a +<slot>`},
		{`REPLICATE a b c 'Weird ""Slot"" $1'`, `REPLICATE destination=b publication=c slot=Weird ""Slot"" $1 source=a +<slot>`},
		{`RESYNC m`, `RESYNC mirror=m`},
		{`RESYNC m public.orders sales."Order Items","A"."B", 'x.y' $1 Z`, `RESYNC mirror=m tables=[public.orders sales.Order Items A.B x.y $1 Z] +<tables>`},
		{`RESYNC 'm' ("s"."t", u)`, `RESYNC mirror=m tables=[s.t u] +<tables>`},
		{`DROP MIRROR "Weird ""Name"" $1"`, `DROP MIRROR mirror=Weird "Name" $1`},
		{`CREATE MIRROR "Weird ""Name"" $1" FROM a TO 'b c' PUBLICATION my-pub`, `CREATE MIRROR destination=b c mirror=Weird "Name" $1 publication=my-pub source=a`},
		{`create mirror with from from to to publication no no start with (workers = (4), x)`,
			`CREATE MIRROR destination=to mirror=with publication=no settings=workers = (4), x source=from +NO START +WITH ( <settings> )`},
		{`CREATE MIRROR $1 FROM ($2) TO ('b'::text) PUBLICATION p WITH(workers=$3)NO START`,
			`CREATE MIRROR destination=b mirror=$1 publication=p settings=workers=$3 source=$2 +NO START +WITH ( <settings> )`},
		{`ALTER MIRROR set SET (a = b)`, `ALTER MIRROR SET mirror=set settings=a = b`},
		{`ALTER MIRROR "M" RESET /* all */ ( a, TABLE "b"."c" )`, `ALTER MIRROR RESET mirror=M setting_names=a, TABLE "b"."c"`},
		{`PAUSE MIRROR mirror`, `PAUSE MIRROR mirror=mirror`},
		{`resume mirror $1`, `RESUME MIRROR mirror=$1`},
		{`RETRY MIRROR 'm'`, `RETRY MIRROR mirror=m`},
		{`SHOW MIRROR_LOG level LEVEL like LIKE "limit" LIMIT 5`, `SHOW MIRROR_LOG level=like mirror=level n=5 text=limit +LEVEL <level> +LIKE <text> +LIMIT <n>`},
		{`SHOW MIRROR_LOG m LIMIT $2 LIKE $1`, `SHOW MIRROR_LOG mirror=m n=$2 text=$1 +LIKE <text> +LIMIT <n>`},
		{`SHOW MIRROR a_to_b`, `SHOW MIRROR mirror=a_to_b`},
		{`SHOW MIRRORS`, `SHOW MIRRORS`},
		{`SHOW HELP drop mirror`, `SHOW HELP command=drop mirror +<command>`},
		{`WAIT -- which?
			7`, `WAIT task=7`},
		{`WAIT ('7'::int8)`, `WAIT task=7`},
		{`SCHEMA_SYNC PRE ('a') ("b"::varchar) (c) DRY RUN`, `SCHEMA_SYNC PRE destination=b publication=c source=a +DRY RUN`},
		{`PROBE ('x y')`, `PROBE target=x y`},
		{`PROBE postgres://u:p@h:5432/d?sslmode=disable`, `PROBE target=postgres://u:p@h:5432/d?sslmode=disable`},
		{`PROBE "my db"`, `PROBE target=my db`},
		{`SET a.b = -1`, `SET = name=a.b value=-1`},
		{`SET x TO a, 'b c', "D"`, `SET TO name=x value=a, 'b c', "D"`},
		{`SET LOCAL search_path TO ''`, `SET LOCAL TO parameter=search_path value= +SESSION | LOCAL`},
		{`SHOW HELP show tasks`, `SHOW HELP command=show tasks +<command>`},
		{`SHOW TASKS`, `SHOW TASKS`},
		{`SHOW "tasks"`, `SHOW <setting> setting=tasks`},
		{`SHOW timezone`, `SHOW parameter=timezone`},
		{`ROLLBACK TO SAVEPOINT a`, `ROLLBACK TO savepoint=a +SAVEPOINT`},
		{`ABORT WORK`, `ROLLBACK ABORT WORK +WORK | TRANSACTION`},
		{`BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY`, `BEGIN`},
		{`DEALLOCATE "all"`, `DEALLOCATE statement=all`},
		{`DEALLOCATE all`, `DEALLOCATE ALL`},
	} {
		s, err := parsed(g, test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got := summary(s); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.text, got, test.want)
		}
	}
}

// summary writes a statement out: name, choices, arguments, options.
func summary(s *statement) string {
	parts := append([]string{s.command.name}, s.choices...)
	var arguments, options []string
	for name, v := range s.arguments {
		if v.parameter > 0 {
			v.text = fmt.Sprintf("$%d", v.parameter)
		}
		if v.list != nil {
			var texts []string
			for _, element := range v.list {
				texts = append(texts, element.text)
			}
			v.text = "[" + strings.Join(texts, " ") + "]"
		}
		arguments = append(arguments, name+"="+v.text)
	}
	for name := range s.options {
		options = append(options, "+"+name)
	}
	slices.Sort(arguments)
	slices.Sort(options)
	return strings.Join(slices.Concat(parts, arguments, options), " ")
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	g := testGrammar(t)
	for _, test := range []struct {
		text     string
		code     string
		position int
		message  string
		hint     string // a part of it
	}{
		{`SHOV TASKS`, "42601", 1, `unknown command "SHOV"`, `Perhaps you meant SHOW. SHOW HELP`},
		{`  frobnicate`, "42601", 3, `unknown command "frobnicate"`, `SHOW HELP`},
		{`'x'`, "42601", 1, `unknown command "'x'"`, `SHOW HELP`},
		{`SCHEMA_SYNC PREE a b c`, "42601", 13, `syntax error at or near "PREE"`, `Perhaps you meant PRE. Syntax: SCHEMA_SYNC {PRE|`},
		{`SCHEMA_SYNC PRE "größe" b`, "42601", 26, `syntax error at end of input`, `Syntax: SCHEMA_SYNC`},
		{`SCHEMA_SYNC PRE a b c DRI RUN`, "42601", 23, `syntax error at or near "DRI"`, `Perhaps you meant DRY`},
		{`SCHEMA_SYNC PRE a b c DRY RUN DRY RUN`, "42601", 31, `syntax error at or near "DRY"`, `Syntax: SCHEMA_SYNC`},
		{`SHOW TASKS 7`, "42601", 12, `syntax error at or near "7"`, `Syntax: SHOW TASKS`},
		{`SHOW SCHEMA_DIF a b`, "42601", 6, `unknown SHOW topic "SCHEMA_DIF"`, `Perhaps you meant SHOW SCHEMA_DIFF`},
		{`WAIT ('7'::int8`, "42601", 6, `syntax error at or near "("`, `Syntax: WAIT <task>`},
		{`WAIT ()`, "42601", 6, `syntax error at or near "("`, `Syntax: WAIT <task>`},
		{`SHOW port x`, "42601", 11, `syntax error at or near "x"`, `SHOW HELP`},
		{`WAIT`, "42601", 5, `syntax error at end of input`, `Syntax: WAIT <task>`},
		{`STOP_TASK $0`, "42P02", 11, `there is no parameter $0`, ``},
		{`STOP_TASK $65536`, "42P02", 11, `there is no parameter $65536`, ``},
		{`INSERT INTO t VALUES (1)`, "0A000", 1, `INSERT is not supported: this is the admin database`, `SHOW HELP`},
		{`COPY_DATA a b`, "42601", 14, `syntax error at end of input`, `Syntax: COPY_DATA <source>`},
		{`COPY_DATA a b c sync`, "42601", 21, `syntax error at end of input`, `Syntax: COPY_DATA <source>`},
		{`COPY_DATA a b c skip_schema`, "42601", 17, `syntax error at or near "skip_schema"`, `Syntax: COPY_DATA <source>`},
		{`COPY_DATA a b c s SKIP SHEMA`, "42601", 24, `syntax error at or near "SHEMA"`, `Perhaps you meant SCHEMA. Syntax: COPY_DATA`},
		{`COPY_DATA a b c s t`, "42601", 19, `syntax error at or near "t"`, `Syntax: COPY_DATA`},
		{`REPLICATE a b c s SYNC ONLY`, "42601", 19, `syntax error at or near "SYNC"`, `Syntax: REPLICATE`},
		{`COPY a TO STDOUT`, "0A000", 1, `COPY is not supported: this is the admin database`, `SHOW HELP`},
		{`DROP TABLE t`, "0A000", 1, `DROP is not supported: this is the admin database`, `SHOW HELP`},
		{`DROP MIROR t`, "42601", 6, `syntax error at or near "MIROR"`, `Perhaps you meant MIRROR.`},
		{`CREATE TABLE t (a int)`, "0A000", 1, `CREATE is not supported: this is the admin database`, `SHOW HELP`},
		{`ALTER SYSTEM SET a = 1`, "0A000", 1, `ALTER is not supported: this is the admin database`, `SHOW HELP`},
		{`CREATE MIROR m`, "42601", 8, `syntax error at or near "MIROR"`, `Perhaps you meant MIRROR.`},
		{`CREATE MIRROR m FROM a TO b`, "42601", 28, `syntax error at end of input`, `Syntax: CREATE MIRROR <mirror> FROM`},
		{`CREATE MIRROR m FORM a`, "42601", 17, `syntax error at or near "FORM"`, `Perhaps you meant FROM.`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH`, "42601", 47, `syntax error at end of input`, `Syntax: CREATE MIRROR`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH ()`, "42601", 49, `syntax error at or near ")"`, `Syntax: CREATE MIRROR`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (a = (b)`, "42601", 56, `syntax error at end of input`, `Syntax: CREATE MIRROR`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p WITH (a = b))`, "42601", 55, `syntax error at or near ")"`, `Syntax: CREATE MIRROR`},
		{`CREATE MIRROR m FROM a TO b PUBLICATION p NO START NO START`, "42601", 52, `syntax error at or near "NO"`, `Syntax: CREATE MIRROR`},
		{`ALTER MIRROR m (a = b)`, "42601", 16, `syntax error at or near "("`, `Syntax: ALTER MIRROR`},
		{`ALTER MIRROR m SET workers = 1`, "42601", 20, `syntax error at or near "workers"`, `Syntax: ALTER MIRROR`},
		{`PAUSE a b c`, "42601", 11, `syntax error at or near "c"`, `Syntax: PAUSE`},
		{`PAUSE MIRROR`, "42601", 13, `syntax error at end of input`, `Syntax: PAUSE MIRROR <mirror>`},
		{`RESUME MIRROR a b`, "42601", 17, `syntax error at or near "b"`, `Syntax: RESUME MIRROR`},
		{`SHOW MIRROR_LOGS m`, "42601", 6, `unknown SHOW topic "MIRROR_LOGS"`, `Perhaps you meant SHOW MIRROR_LOG.`},
		{`SHOW MIRROR_LOG m LIMIT`, "42601", 24, `syntax error at end of input`, `Syntax: SHOW MIRROR_LOG`},
		{`SHOW MIRROR_LOG m LEVEL a LEVEL b`, "42601", 27, `syntax error at or near "LEVEL"`, `Syntax: SHOW MIRROR_LOG`},
		{`DROP`, "42601", 5, `syntax error at end of input`, `SHOW HELP`},
		{`DROP MIRROR`, "42601", 12, `syntax error at end of input`, `Syntax: DROP MIRROR <mirror>`},
		{`RESYNC m a,`, "42601", 11, `syntax error at or near ","`, `Syntax: RESYNC <mirror>`},
		{`RESYNC m a. b`, "42601", 11, `syntax error at or near "."`, `Syntax: RESYNC <mirror>`},
		{`RESYNC m "a".`, "42601", 13, `syntax error at or near "."`, `Syntax: RESYNC <mirror>`},
		{`SHOW MIRRORS m`, "42601", 14, `syntax error at or near "m"`, `Syntax: SHOW MIRRORS`},
		{`SHOW MIROR m`, "42601", 6, `unknown SHOW topic "MIROR"`, `Perhaps you meant SHOW MIRROR`},
		{`SET x`, "42601", 6, `syntax error at end of input`, `Syntax: SET <name>`},
	} {
		_, err := parsed(g, test.text)
		e := pgerror.From(err)
		if e == nil || e.Code != test.code || e.Position != test.position || e.Message != test.message || !strings.Contains(e.Hint, test.hint) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.text, e, test)
		}
	}
}

// TestOptionsInAnyOrder: whatever the order and the blanks, the same options
// are found, and the names are whatever was quoted.
func TestOptionsInAnyOrder(t *testing.T) {
	t.Parallel()
	g := testGrammar(t)
	all := []string{"DRY RUN", "IGNORE ERRORS", "NO OWNER", "NO PRIVILEGES"}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 20, -1).Filter(utf8.ValidString).Draw(t, "name")
		options := rapid.Permutation(all).Draw(t, "options")[:rapid.IntRange(0, len(all)).Draw(t, "count")]
		text := `schema_sync pre "` + strings.ReplaceAll(name, `"`, `""`) + `" '` + strings.ReplaceAll(name, "'", "''") + `' p ` +
			strings.Join(options, "\n/**/")
		s, err := parsed(g, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if s.arguments["source"].text != name || s.arguments["destination"].text != name {
			t.Fatalf("%s: names are %+v", text, s.arguments)
		}
		for _, option := range all {
			if s.options[option] != slices.Contains(options, option) {
				t.Fatalf("%s: options are %v", text, s.options)
			}
		}
	})
}

// FuzzParse: no text panics, and errors point into the text.
func FuzzParse(f *testing.F) {
	for _, doc := range Reference() {
		f.Add(doc.Example)
	}
	for _, syntax := range SessionStatements() {
		f.Add(syntax)
	}
	g := testGrammar(f)
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := lex(text)
		if err != nil {
			return
		}
		for _, statement := range splitStatements(tokens) {
			s, err := g.parse(text, statement)
			if err != nil {
				e := pgerror.From(err)
				if e.Code == pgerror.InternalError || e.Position < 1 || e.Position > utf8.RuneCountInString(text)+1 {
					t.Fatalf("parse %q: %+v", text, e)
				}
				continue
			}
			_ = describeSettings(nil, s)
			if s.command.name == "SELECT" {
				if items, from, err := splitSelect(s); err == nil && len(from) == 0 {
					_ = describeScalars(s, items)
				} else if err == nil {
					describeTypeNames(nil, s, items, from)
					describeCatalog(nil, s, items, from)
				}
			}
		}
	})
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"taks": "TASKS", "TASKS": "TASKS", "shema_sync": "SCHEMA_SYNC", "xyzzy": "", "": ""} {
		if got := nearest(word, []string{"SCHEMA_SYNC", "TASKS", "CONFIG"}); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// TestEditDistance: the laws of a metric.
func TestEditDistance(t *testing.T) {
	t.Parallel()
	word := rapid.StringN(0, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		ab := editDistance(a, b)
		if (ab == 0) != (a == b) || ab != editDistance(b, a) || ab > editDistance(a, c)+editDistance(c, b) {
			t.Fatalf("distance of %q and %q is %d", a, b, ab)
		}
	})
}

func TestReference(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for _, d := range Reference() {
		fmt.Fprintf(&text, "%s [%s, tag %s]\n  %s\n  %s\n  %s\n  example: %s\n", d.Name, d.Role, d.Tag, d.Syntax, d.Help, d.Description, d.Example)
		for _, a := range d.Arguments {
			fmt.Fprintf(&text, "  <%s>: %s\n", a.Name, a.Meaning)
		}
		for _, r := range d.Results {
			for _, c := range r.Columns {
				fmt.Fprintf(&text, "  %s%s %s: %s\n", map[bool]string{true: "with " + r.Option + ": "}[r.Option != ""], c.Name, c.Type, c.Meaning)
			}
		}
	}
	golden(t, "reference.golden", text.String())
}

// golden compares with a file of testdata; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}
