package applications

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedVersions compares the table of docs/proxy.md with what is installed.
func TestDocumentedVersions(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	docs, script, gorm := read("../../docs/proxy.md"), read("../../scripts/drivers.sh"), read("testdata/gorm/go.mod")
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/jackc/pgx/v5").Output()
	if err != nil {
		t.Fatalf("find pgx: %v", err)
	}
	first := func(text, pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("%q is not found", pattern)
		}
		return found[1]
	}
	want := map[string]string{"pgx": strings.TrimPrefix(strings.TrimSpace(string(module)), "v"), "GORM": first(gorm, `gorm\.io/gorm v(\S+)`)}
	for name, variable := range map[string]string{
		"psycopg": "psycopg", "asyncpg": "asyncpg", "pgJDBC": "pgjdbc", "node-postgres": "node_pg", "SQLAlchemy": "sqlalchemy", "Hibernate": "hibernate", "Sequelize": "sequelize",
	} {
		want[name] = first(script, `(?m)^`+variable+`=(\S+)$`)
	}
	for name, version := range want {
		if !strings.Contains(docs, "\n| "+name+" | "+version+" |") {
			t.Errorf("docs/proxy.md does not say that %s %s was run", name, version)
		}
	}
	for _, c := range clients {
		if want[c.name] == "" {
			t.Errorf("%s is not in the table of docs/proxy.md", c.name)
		}
	}
}
