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
	{"max_connections", Int8, "NULL: not limited beyond pool_size for each user"},
	{"current_connections", Int8, "connections to the server, of all users"},
	{"max_client_connections", Int8, "NULL: max_client_connections of [general] is for all databases together"},
	{"current_client_connections", Int8, "clients of the database, the same in each of its entries"},
	{"paused", Bool, "whether no transaction begins, for all users: PAUSE, MAINTENANCE, KILL or a cutover"},
	{"disabled", Bool, "whether new clients are refused: DISABLE"},
	{"shard", Int8, "number of the shard, from 0"},
	{"role", Text, "primary, replica or auto"},
	{"schema_admin", Text, "user of [[users]] that schema sync connects as; NULL if there is none"},
}

// runShowDatabases is SHOW DATABASES.
func runShowDatabases(_ context.Context, c *console, _ call) (result, error) {
	conf := c.config()
	use := databaseUse{}
	if pools := c.server.options.Pools; pools != nil {
		use = usedBy(pools)
	}
	var rows [][]any
	for _, d := range conf.Databases {
		rows = append(rows, databaseRow(conf, d, use))
	}
	return result{rows: rows}, nil
}

// databaseUse is what the pools have of databases.
type databaseUse struct {
	connections map[databaseServer]int64
	clients     map[string]int64
	paused      map[string]bool // "" for all
	disabled    map[string]bool
}

// databaseServer is an entry of [[databases]] as pools know it.
type databaseServer struct {
	database, host string
	port, shard    int
}

func usedBy(pools Pools) databaseUse {
	u := databaseUse{map[databaseServer]int64{}, map[string]int64{}, map[string]bool{}, map[string]bool{}}
	for _, p := range pools.Pools() {
		u.connections[databaseServer{p.Database, p.Host, p.Port, p.Shard}] += int64(p.Total)
	}
	for _, one := range pools.Clients() {
		u.clients[one.Database]++
	}
	for _, h := range pools.Holds() {
		switch {
		case h.User != "": // of one user alone
		case h.Kind == "disabled":
			u.disabled[h.Database] = true
		default:
			u.paused[h.Database] = true
		}
	}
	return u
}

func databaseRow(conf *config.Config, d config.Database, use databaseUse) []any {
	var schemaAdmin any
	if user, known := conf.SchemaAdmin(d.Name); known {
		schemaAdmin = user.Name
	}
	lifetime := orElse(d.ServerLifetime, conf.General.ServerLifetime)
	return []any{
		d.Name, d.Host, int64(d.Port), cmp.Or(d.DatabaseName, d.Name), orNull(d.User),
		int64(orElse(d.PoolSize, conf.General.DefaultPoolSize)), int64(orElse(d.MinPoolSize, conf.General.MinPoolSize)), nil,
		int64(lifetime / time.Second), string(cmp.Or(d.PoolerMode, conf.General.PoolerMode)), nil,
		nil, use.connections[databaseServer{d.Name, d.Host, d.Port, d.Shard}], nil, use.clients[d.Name],
		use.paused[""] || use.paused[d.Name], use.disabled[d.Name],
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
