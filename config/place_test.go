package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	document := `# a comment = 1
[general] # [not.this]
host = "x" # port = 1
"quoted key" = '''
[not.a.table]
port = 2
''''
port = 3
text = """
[[databases]] \"""
host = 1\
"""""
list = [ 1, # one
  "a]", [
    2 ],
  { x = 1, y = [ { z = 1 } ] },
]
a.b . "c.d" = { e = 1 }

[[databases]]
name = "[[databases]]"
[[databases]]
port = 1
[databases.sub]
key = 1
[[databases.list]]
[[databases.list]]
key = 2
[[databases]]
[[databases.list]]
key = 3
[ spaced . "out" ]
key = 4
`
	got, tooDeep := locate([]byte("\xef\xbb\xbf" + document))
	want := places{
		"general": 2, "general.host": 3, "general.quoted key": 4, "general.port": 8, "general.text": 9,
		"general.list": 13, "general.list[0]": 13, "general.list[1]": 14, "general.list[2]": 14, "general.list[2][0]": 15,
		"general.list[3]": 16, "general.list[3].x": 16, "general.list[3].y": 16, "general.list[3].y[0]": 16, "general.list[3].y[0].z": 16,
		"general.a": 18, "general.a.b": 18, "general.a.b.c.d": 18, "general.a.b.c.d.e": 18,
		"databases": 20, "databases[0]": 20, "databases[0].name": 21, "databases[1]": 22, "databases[1].port": 23,
		"databases[1].sub": 24, "databases[1].sub.key": 25,
		"databases[1].list": 26, "databases[1].list[0]": 26, "databases[1].list[1]": 27, "databases[1].list[1].key": 28,
		"databases[2]": 29, "databases[2].list": 30, "databases[2].list[0]": 30, "databases[2].list[0].key": 31,
		"spaced": 32, "spaced.out": 32, "spaced.out.key": 33,
	}
	if tooDeep != 0 {
		t.Errorf("too deep at %d", tooDeep)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	if _, err := toml.Decode(document, new(map[string]any)); err != nil {
		t.Errorf("the test's document is not TOML: %v", err)
	}
}

func TestLineOfTheNearestThingAround(t *testing.T) {
	t.Parallel()
	p := places{"a": 1, "a[2]": 5, "b.c": 7}
	for path, want := range map[string]int{"a": 1, "a[2].x": 5, "a[2].x[3].y": 5, "a[1].x": 1, "b.c": 7, "b.d": 0, "": 0, "z": 0} {
		if got := p.line(path); got != want {
			t.Errorf("%q: line %d, want %d", path, got, want)
		}
	}
}

// FuzzLocate holds the scanner against the TOML library: whatever the library
// can read, the scanner has the place of each key and element in it, on a line
// that has the key's text.
func FuzzLocate(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		found, tooDeep := locate([]byte(document))
		if tooDeep > 0 {
			return
		}
		var tree map[string]any
		if _, err := toml.Decode(document, &tree); err != nil {
			return
		}
		last := strings.Count(document, "\n") + 1
		var walk func(path string, value any)
		walk = func(path string, value any) {
			if line := found[path]; path != "" && (line < 1 || line > last) {
				t.Errorf("%q is on line %d of %d", path, line, last)
			}
			switch value := value.(type) {
			case map[string]any:
				for key, value := range value {
					walk(child(path, key), value)
				}
			case []map[string]any:
				for i, value := range value {
					walk(element(path, i), value)
				}
			case []any:
				for i, value := range value {
					walk(element(path, i), value)
				}
			}
		}
		walk("", tree)
	})
}

// fuzzSeeds are documents for both fuzz targets.
var fuzzSeeds = []string{
	"", "\n", "[", "[[", "]", "=", "a", "a =", "a = [", "a = {", `a = "`, "a = '''", `a = """\`, "a = [{", "#", "\xef\xbb\xbfa = 1", "\x00",
	"a = 1\r\nb = 2\r\n", "\"\\u0061\" = 1\n'b' = 2\n\"\" = 3\n", "a = [[1, [2]], { b = [3] }]\n", "a.b.c = 1\na.b.d = 2\n",
	"x = \"\"\"a\"\"\"\"\"\ny = '''b'''''\n", "x = 1979-05-27 07:32:00\ny = +inf\n", "a = {\n b = 1,\n # c\n c = 2,\n}\n",
	"[a]\n[a.b]\n[[a.c]]\n[[a.c]]\n[a.c.d]\ne = 1\n", "[[a]]\n[[a.b]]\n[[a]]\n[[a.b]]\nc = 1\n",
	oneDatabase, oneUser,
	"[general]\nport = -1\nprot = 1\nquery_timeout = \"off\"\n[otel.headers]\nx = 1\n",
	"[[sharded_tables]]\ndatabase = \"x\"\nmapping = [{ values = [1], shard = 0 }, 3]\ncentroids = [[1.5], [\"a\"]]\n",
	"[general]\nport = 6432\n[[databases]]\nname = \"a\"\nhost = \"b:1\"\nshard = 1000000\n[[databases]]\nname = \"a\"\nhost = \"c\"\nrole = \"auto\"\n",
	"databases = 1\nusers = [1, { name = \"x\" }]\nadmin = []\ntcp = 3\nvault = {}\n",
	"general = { port = 1, host = { a = 1 } }\n[drift]\nx = 1\n[[mirrors]]\n",
	"[[databases]]\nname = \"a\"\nhost = \"b\"\n[[databases]]\nname = \"c\"\nhost = \"d\"\n[[mirrors]]\nsource = \"a\"\ndestination = \"c\"\npublication = \"p\"\nschemas = { x = \"y\" }\n" +
		"[[mirrors.tables]]\nname = \"t\"\nexclude_columns = [\"e\"]\nrename_columns = { f = \"g\" }\n[mirrors.tables.drift]\nwarn_only = true\n[mirrors.drift]\ninterval = 1\nauto_migrate = [\"none\"]\n",
}
