package lookup_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
)

// testDocumented runs what the page on authentication says, as it stands there.
func testDocumented(t *testing.T, f *fixture) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "authentication.md"))
	if err != nil {
		t.Fatal(err)
	}
	setup := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(string(page))
	query := regexp.MustCompile(`auth_query = "(.*)"`).FindStringSubmatch(string(page))
	if setup == nil || query == nil {
		t.Fatal("the page has no SQL")
	}
	f.database.Exec(t, strings.ReplaceAll(setup[1], "…", secret[:6]))
	f.config.General.AuthQuery, f.config.General.AuthQueryUser = query[1], "pgdrover_auth"
	f.config.Users = []config.User{{Name: "pgdrover_auth", AllDatabases: true, Password: config.Secret(secret[:6])}}
	for name, want := range map[string]bool{"app": true, weird: true, "hashed": true, "expired": false, "passwordless": false, "nobody": false} {
		if known, err := f.find(t, name); known != want || err != nil {
			t.Errorf("%s is known: %t, %v", name, known, err)
		}
	}
	if account, err := f.Find(t.Context(), f.config, "postgres", "prod"); account != nil || err != nil {
		t.Errorf("a superuser is found: %v, %v", account, err)
	}
}
