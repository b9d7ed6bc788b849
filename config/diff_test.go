package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	replica := strings.Replace(oneDatabase, "127.0.0.1", "r1", 1) + "role = \"replica\"\n"
	old := mustParse(t, "[general]\nport = 1\nlog_level = \"warn\"\nworkers = 2\n"+oneDatabase+"password = \"a\"\n"+replica, oneUser)
	updated := mustParse(t, "[general]\nport = 2\nlog_level = \"debug\"\nworkers = 4\n[schema_sync]\nindex_jobs = 4\n"+
		strings.Replace(oneDatabase, "127.0.0.1", "h2", 1)+"password = \"b\"\npool_size = 9\n"+strings.Replace(replica, "r1", "r2", 1),
		strings.Replace(oneUser, "s3cr3t", "0th3r", 1)+"[[users]]\nname = \"new\"\nall_databases = true\npassword = \"x\"\nschema_admin = true\n")
	want := Changes{
		Applied: []Change{
			{"general.log_level", "warn", "debug"},
			{"schema_sync.index_jobs", "2", "4"},
			{`databases "prod" shard 0 primary: host`, "127.0.0.1", "h2"},
			{`databases "prod" shard 0 primary: password`, "********", "********"},
			{`databases "prod" shard 0 primary: pool_size`, "default", "9"},
			{`databases "prod" shard 0 replica r1:5432`, "name=prod host=r1 role=replica", ""},
			{`databases "prod" shard 0 replica r2:5432`, "", "name=prod host=r2 role=replica"},
			{`users "app" of "prod": password`, "********", "********"},
			{`users "new" of all databases`, "", "name=new all_databases=true password=******** schema_admin=true"},
		},
		NeedsRestart: []Change{{"general.port", "1", "2"}},
	}
	if diff := cmp.Diff(want, Diff(old, updated)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if none := Diff(old, old); len(none.Applied)+len(none.NeedsRestart) > 0 {
		t.Errorf("differs from itself: %+v", none)
	}
}

// TestDiffOfSharding: a change of the sharding is told with the rule it is of.
func TestDiffOfSharding(t *testing.T) {
	t.Parallel()
	cluster := oneDatabase + oneDatabase + "shard = 1\ndatabase_name = \"second\"\n"
	old := mustParse(t, cluster+`
[[sharded_tables]]
database = "prod"
name = "orders"
column = "customer_id"
mapping = [{ values = [1, "a"], shard = 0 }, { start = 5, shard = 1 }]
[[sharded_mappings]]
database = "prod"
column = "region"
kind = "list"
values = ["eu"]
shard = 0
[[sharded_mappings]]
database = "prod"
column = "region"
kind = "range"
start = 1
end = 9
shard = 0
[[omnisharded_tables]]
database = "prod"
tables = ["countries", "currencies"]
[[sharded_schemas]]
database = "prod"
shard = 1
`, oneUser)
	updated := mustParse(t, cluster+`
[[sharded_tables]]
database = "prod"
name = "orders"
column = "customer_id"
mapping = [{ shard = 0 }]
[[sharded_tables]]
database = "prod"
column = "tenant"
data_type = "uuid"
[[sharded_mappings]]
database = "prod"
column = "region"
kind = "list"
values = ["eu"]
shard = 1
[[sharded_schemas]]
database = "prod"
all = true
`, oneUser)
	want := []Change{
		{`sharded_tables "*.orders.customer_id" of "prod": mapping`, `[{"values":[1,"a"],"shard":0},{"start":5,"shard":1}]`, `[{"shard":0}]`},
		{`sharded_tables "*.*.tenant" of "prod"`, "", "database=prod column=tenant data_type=uuid"},
		{`sharded_mappings "*.*.region" of "prod": list [eu]: shard`, "0", "1"},
		{`sharded_mappings "*.*.region" of "prod": range from 1 to 9`, "database=prod column=region kind=range start=1 end=9", ""},
		{`omnisharded_tables of "prod": countries, currencies`, `database=prod tables=["countries","currencies"]`, ""},
		{`sharded_schemas "*" of "prod": shard`, "1", "0"},
		{`sharded_schemas "*" of "prod": all`, "false", "true"},
	}
	if diff := cmp.Diff(want, Diff(old, updated).Applied); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if none := Diff(old, old); len(none.Applied)+len(none.NeedsRestart) > 0 {
		t.Errorf("differs from itself: %+v", none)
	}
}

func TestDiffOfTheAdminPassword(t *testing.T) {
	t.Parallel()
	generated, again := mustParse(t, oneDatabase, ""), mustParse(t, oneDatabase, "")
	if changes := Diff(generated, again); len(changes.Applied) != 0 {
		t.Errorf("generated anew: %+v", changes)
	}
	configured := mustParse(t, oneDatabase, oneUser[strings.Index(oneUser, "[admin]"):])
	want := []Change{{"admin.password", "********", "********"}}
	if diff := cmp.Diff(want, Diff(generated, configured).Applied); diff != "" {
		t.Error(diff)
	}
}
