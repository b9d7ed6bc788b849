package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/ledger"
)

// TestShardedTables: the configuration names the sharding key of each table
// that has one.
func TestShardedTables(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 3 {
		fmt.Fprintf(&text, "[[databases]]\nname = \"prod_new\"\nshard = %d\nhost = \"127.0.0.1\"\nport = %d\n\n", i, 5432+i)
	}
	text.WriteString(ledger.ShardedTables("prod_new"))
	dir := t.TempDir()
	paths := config.Paths{Config: filepath.Join(dir, "pgdog.toml"), Users: filepath.Join(dir, "users.toml")}
	for path, content := range map[string]string{paths.Config: text.String(), paths.Users: "[[users]]\nname = \"app\"\ndatabase = \"prod_new\"\npassword = \"x\"\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, _, err := config.Load(paths, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{"account": "bigint", "document": "uuid", "label": "varchar"}
	for _, table := range ledger.Tables(3) {
		var entries []config.ShardedTable
		for _, e := range cfg.ShardedTables {
			if (e.Schema == "" || e.Schema == table.Schema) && (e.Name == table.Name || e.Name == "" && table.Placement != nil && table.Placement.Column == e.Column) {
				entries = append(entries, e)
			}
		}
		switch {
		case table.Placement == nil && len(entries) == 0:
		case table.Placement != nil && len(entries) == 1 && entries[0].Column == table.Placement.Column && entries[0].DataType == types[table.Placement.Column]:
		default:
			t.Errorf("%s is spread as %+v, configured as %+v", table, table.Placement, entries)
		}
	}
}
