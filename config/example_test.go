package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the example files anew from the key table")

var exampleFiles = []string{configFile, usersFile}

func examplePath(kind string) string { return filepath.Join("..", kind+".example") }

func readExample(t *testing.T, kind string) string {
	t.Helper()
	text, err := os.ReadFile(examplePath(kind))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestExampleFilesAreCurrent renders the key table and compares.
// go test ./config -run TestExampleFilesAreCurrent -update writes the files.
func TestExampleFilesAreCurrent(t *testing.T) {
	t.Parallel()
	for _, kind := range exampleFiles {
		want := renderExample(kind)
		if *update {
			if err := os.WriteFile(examplePath(kind), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, readExample(t, kind)); diff != "" {
			t.Errorf("%s.example differs from the key table (-table +file); run with -update:\n%s", kind, diff)
		}
	}
}

func TestExampleFilesLoadAsTheyAre(t *testing.T) {
	t.Parallel()
	c, warnings, err := Parse(configFile, []byte(readExample(t, configFile)), usersFile, []byte(readExample(t, usersFile)), nil)
	if err != nil {
		t.Fatal(detail(err))
	}
	for _, w := range warnings {
		if w.Key != "admin.password" {
			t.Errorf("warning: %s", w)
		}
	}
	want := Default()
	c.Admin.Password, want.Admin.Password = "", ""
	if diff := cmp.Diff(want.General, c.General); diff != "" {
		t.Errorf("general differs from its defaults:\n%s", diff)
	}
	if _, ok := c.User("app", "prod"); !ok {
		t.Error(`the example has no user "app" of "prod"`)
	}
}

var commentedOut = regexp.MustCompile(`(?m)^#(\[|[a-z_]+ = )`)

func TestExampleFilesLoadWithEveryKey(t *testing.T) {
	t.Parallel()
	whole := map[string]string{}
	for _, kind := range exampleFiles {
		whole[kind] = commentedOut.ReplaceAllString(readExample(t, kind), "$1")
	}
	c, warnings, err := Parse(configFile, []byte(whole[configFile]), usersFile, []byte(whole[usersFile]), nil)
	if err != nil {
		t.Fatal(detail(err))
	}
	want := Default()
	if diff := cmp.Diff(want.General, c.General); diff != "" {
		t.Errorf("general differs from its defaults:\n%s", diff)
	}
	if diff := cmp.Diff(want.SchemaSync, c.SchemaSync); diff != "" {
		t.Errorf("schema_sync differs from its defaults:\n%s", diff)
	}
	if diff := cmp.Diff(want.DataSync, c.DataSync); diff != "" {
		t.Errorf("data_sync differs from its defaults:\n%s", diff)
	}
	if diff := cmp.Diff(want.Drift, c.Drift); diff != "" {
		t.Errorf("drift differs from its defaults:\n%s", diff)
	}
	if diff := cmp.Diff(want.Drift, c.DriftOf(c.Mirrors[0])); diff != "" {
		t.Errorf("a mirror's drift differs from [drift]:\n%s", diff)
	}
	// Every key and table that nothing acts on is warned of, and nothing else
	// but what the example cannot avoid.
	warned := map[string]bool{}
	for _, w := range warnings {
		warned[w.Key] = true
	}
	for _, table := range Describe() {
		if strings.Contains(table.Name, ".") {
			continue
		}
		if !table.Supported() && !warned[table.Name] {
			t.Errorf("no warning of [%s]", table.Name)
		}
		for _, key := range table.Keys {
			name := table.Name + "." + key.Name
			if warned[name] != (!key.Supported() && table.Supported()) && name != "admin.password" {
				t.Errorf("warning of %s: %v", name, warned[name])
			}
		}
	}
}

// TestExampleFilesShowEveryKey reads the files line by line, knowing nothing
// of how they are made: each key of each table is there once per file, with its
// real default and a line of why above it.
func TestExampleFilesShowEveryKey(t *testing.T) {
	t.Parallel()
	header := regexp.MustCompile(`^#?\[+([a-z_.]+)\]+$`)
	pair := regexp.MustCompile(`^#?([a-z_]+) = (.+)$`)
	for _, kind := range exampleFiles {
		shown := map[string]string{} // the last one: the worked examples come first
		table, before := "", ""
		for line := range strings.Lines(readExample(t, kind)) {
			line = strings.TrimRight(line, "\n")
			if m := header.FindStringSubmatch(line); m != nil {
				table = m[1]
				shown[table] = ""
			} else if m := pair.FindStringSubmatch(line); m != nil {
				shown[table+"."+m[1]] = m[2]
				if !strings.HasPrefix(before, "# ") && strings.HasPrefix(line, "#") {
					t.Errorf("%s: %s.%s has no line of why", kind, table, m[1])
				}
			}
			before = line
		}
		for _, table := range Describe() {
			if !slices.Contains(table.Files, kind) {
				continue
			}
			parent, nested, isNested := strings.Cut(table.Name, ".")
			if isNested = isNested && !isSection(table); !isNested {
				if _, ok := shown[table.Name]; !ok {
					t.Errorf("%s: [%s] is missing", kind, table.Name)
				}
			}
			for _, key := range table.Keys {
				if key.Section() {
					continue
				}
				if isNested {
					if !strings.Contains(shown[parent+"."+nested], key.Name+" = ") {
						t.Errorf("%s: %s.%s is missing", kind, table.Name, key.Name)
					}
					continue
				}
				want := key.Default
				if want == "" {
					want = key.Example
				}
				if got := shown[table.Name+"."+key.Name]; got != want || want == "" {
					t.Errorf("%s: %s.%s is shown as %q, its default is %q", kind, table.Name, key.Name, got, want)
				}
			}
		}
	}
}

const exampleHead = `# %s: every key with its default, and why one would change it.
#
# Lines like "#key = value" show a default: remove the # and change the value.
# Times are whole numbers in milliseconds, sizes are bytes, where it says so.
`

var exampleIntro = map[string]string{
	configFile: `# A key of [general] is overridden by the environment variable PGDOG_ and its
# name in upper case: PGDOG_PORT=6433.
#
# RELOAD in the admin database, or SIGHUP, reads this file again. Keys marked
# "restart" take effect at the next start.

# A database: one PostgreSQL server, under the name that clients connect to.
[[databases]]
name = "prod"
host = "127.0.0.1"
`,
	usersFile: `# This file holds passwords: keep it to yourself with chmod 600 users.toml.
# RELOAD in the admin database, or SIGHUP, reads it again.

# A user of the database "prod" of pgdog.toml. Choose another password.
[[users]]
name = "app"
database = "prod"
password = "change-me"
`,
}

func renderExample(kind string) string {
	var b strings.Builder
	fmt.Fprintf(&b, exampleHead, kind)
	b.WriteString(exampleIntro[kind])
	for _, table := range Describe() {
		if slices.Contains(table.Files, kind) && (!strings.Contains(table.Name, ".") || isSection(table)) {
			renderTable(&b, table)
		}
	}
	return b.String()
}

// isSection tells whether a table within another has a header of its own.
func isSection(t Table) bool {
	parent, name := tableNamed(t.Name[:max(0, strings.LastIndexByte(t.Name, '.'))]), t.Name[strings.LastIndexByte(t.Name, '.')+1:]
	return parent != nil && parent.key(name).Section()
}

func renderTable(b *strings.Builder, t Table) {
	b.WriteString("\n")
	fmt.Fprintf(b, "# %s\n", t.Description)
	if !t.Supported() {
		b.WriteString("# Not supported yet: the table is accepted with a warning and has no effect.\n")
	}
	if t.Array || !t.Supported() || isSection(t) {
		b.WriteString("#")
	}
	b.WriteString(t.header() + "\n")
	for _, key := range t.Keys {
		if key.Supported() == t.Supported() && !key.Section() {
			renderKey(b, key)
		}
	}
	if !t.Supported() || !slices.ContainsFunc(t.Keys, func(k Key) bool { return !k.Supported() }) {
		return
	}
	fmt.Fprintf(b, "\n# Further keys of %s, not supported yet: accepted with a warning, without effect.\n", t.header())
	for _, key := range t.Keys {
		if !key.Supported() {
			renderKey(b, key)
		}
	}
}

func renderKey(b *strings.Builder, k Key) {
	var notes []string
	if len(k.Values) > 0 {
		notes = append(notes, choices(k.Values))
	}
	if k.Unit != "" {
		notes = append(notes, k.Unit)
	}
	if k.NeedsRestart() {
		notes = append(notes, "restart")
	}
	if k.Required() {
		notes = append(notes, "required")
	}
	if len(k.Env) > 0 && (len(k.Env) > 1 || k.Env[0] != "PGDOG_"+strings.ToUpper(k.Name)) {
		notes = append(notes, "environment: "+strings.Join(k.Env, " or "))
	}
	fmt.Fprintf(b, "# %s", k.Description)
	if len(notes) > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(notes, "; "))
	}
	literal := k.Default
	if literal == "" {
		literal = k.Example
	}
	fmt.Fprintf(b, "\n#%s = %s\n", k.Name, literal)
}
