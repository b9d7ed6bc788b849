package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestComparisonIsShown looks for every test that comparison.md names, and for the
// cases of TestSchemaChanges that it names; nothing that it counts is left out.
func TestComparisonIsShown(t *testing.T) {
	t.Parallel()
	tests, names := map[string]bool{}, map[string]bool{}
	function, name := regexp.MustCompile(`(?m)^func (Test\w+)\(`), regexp.MustCompile(`name: "([^"]+)"`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		if filepath.Base(path) == "ddlcases_test.go" {
			for _, m := range name.FindAllSubmatch(text, -1) {
				names[string(m[1])] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	section, numbered := "", map[string]int{}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "## ") {
			section = strings.TrimSpace(line[3:])
		}
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "---") || strings.Contains(line, "shown by") {
			continue
		}
		numbered[section]++
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1) {
			if !tests[m[1]] && !names[m[1]] {
				t.Errorf("%s: there is no test %q", strings.TrimSpace(cells[1]), m[1])
			}
		}
		if !strings.Contains(cells[len(cells)-2], "`") {
			t.Errorf("nothing shows: %s", line)
		}
	}
	for section, want := range map[string]int{"Against losing rows": 22, "Schema changes of the source": 27, "When the structure differs": 12} {
		if numbered[section] != want {
			t.Errorf("%s has %d rows, want %d", section, numbered[section], want)
		}
	}
}
