package admin

import (
	"cmp"
	"context"
	"time"

	"github.com/pgdrover/pgdrover/config"
)

var databaseColumns = []Column{
	{"name", Text, "name that clients connect to"},
	{"host", Text, "address of the server"},
	{"port", Int8, "port of the server"},
	{"database", Text, "name of the database on the server"},
	{"force_user", Text, "user that connects to the server whoever the client is; NULL if it is the client's"},
	{"pool_size", Int8, "most connections to the server for each user"},
	{"min_pool_size", Int8, "connections that are kept open"},
	{"reserve_pool_size", Int8, "NULL: there is no reserve pool"},
	{"server_lifetime", Int8, "age in seconds at which a connection is replaced"},
	{"pool_mode", Text, "transaction, session or statement"},
	{"load_balance_hosts", Text, "NULL: an entry has one host"},
	{"max_connections", Int8, "NULL: not limited beyond pool_size"},
	{"current_connections", Int8, "NULL: not counted by entry"},
	{"max_client_connections", Int8, "NULL: not limited by entry"},
	{"current_client_connections", Int8, "NULL: not counted by entry"},
	{"paused", Bool, "NULL: not known by entry"},
	{"disabled", Bool, "NULL: entries cannot be disabled"},
	{"shard", Int8, "number of the shard, from 0"},
	{"role", Text, "primary, replica or auto"},
	{"schema_admin", Text, "user of [[users]] that schema sync connects as; NULL if there is none"},
}

// runShowDatabases is SHOW DATABASES.
func runShowDatabases(_ context.Context, c *console, _ call) (result, error) {
	conf := c.config()
	var rows [][]any
	for _, d := range conf.Databases {
		rows = append(rows, databaseRow(conf, d))
	}
	return result{rows: rows}, nil
}

func databaseRow(conf *config.Config, d config.Database) []any {
	var schemaAdmin any
	if user, known := conf.SchemaAdmin(d.Name); known {
		schemaAdmin = user.Name
	}
	lifetime := orElse(d.ServerLifetime, conf.General.ServerLifetime)
	return []any{
		d.Name, d.Host, int64(d.Port), cmp.Or(d.DatabaseName, d.Name), orNull(d.User),
		int64(orElse(d.PoolSize, conf.General.DefaultPoolSize)), int64(orElse(d.MinPoolSize, conf.General.MinPoolSize)), nil,
		int64(lifetime / time.Second), string(cmp.Or(d.PoolerMode, conf.General.PoolerMode)), nil,
		nil, nil, nil, nil, nil, nil,
		int64(d.Shard), string(d.Role), schemaAdmin,
	}
}

// orElse gives what value points to, or the general setting.
func orElse[T any](value *T, general T) T {
	if value == nil {
		return general
	}
	return *value
}
