package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// pages are all Markdown files of the repository that users read.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{filepath.Join("..", "README.md")}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
)

// prose is a page without its blocks of code.
func prose(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fence.ReplaceAllString(string(text), "")
}

// anchor is the name by which GitHub reaches a heading: lower case, blanks as
// hyphens, and nothing but letters, digits, hyphens and underscores.
func anchor(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, unescape(title))
}

// unescape undoes cell.
func unescape(text string) string {
	return strings.NewReplacer(`\|`, "|", "&lt;", "<", "&gt;", ">").Replace(text)
}

func TestLinksResolve(t *testing.T) {
	links := 0
	for _, path := range pages(t) {
		if _, err := os.Stat(path); path == filepath.Join("..", "README.md") && os.IsNotExist(err) {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(prose(t, path), -1) {
			target, place, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", path, match[1], err)
				continue
			}
			if place != "" && !hasHeading(t, file, place) {
				t.Errorf("%s links to %s: no heading has that anchor", path, match[1])
			}
		}
	}
	if links == 0 {
		t.Error("no link was found: the test looks in the wrong place")
	}
}

func hasHeading(t *testing.T, path, place string) bool {
	t.Helper()
	for _, match := range heading.FindAllStringSubmatch(prose(t, path), -1) {
		if anchor(match[1]) == place {
			return true
		}
	}
	return false
}

func TestAnchor(t *testing.T) {
	for title, want := range map[string]string{
		"SHOW SCHEMA_SYNC":         "show-schema_sync",
		"SHOW &lt;setting&gt;":     "show-setting",
		"[schema_sync]":            "schema_sync",
		"15 → 17: which pg_dump":   "15--17-which-pg_dump",
		"WAIT, STOP_TASK, Ctrl-C.": "wait-stop_task-ctrl-c",
	} {
		if got := anchor(title); got != want {
			t.Errorf("anchor(%q) = %q, want %q", title, got, want)
		}
	}
}
