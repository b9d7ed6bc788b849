package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
)

var userColumns = []Column{
	{"name", Text, "name that clients connect as"},
	{"pool_size", Int8, "most connections to a server; NULL if it is the database's"},
	{"reserve_pool_size", Int8, "NULL: there is no reserve pool"},
	{"pool_mode", Text, "transaction, session or statement; NULL if it is the database's"},
	{"max_user_connections", Int8, "NULL: not limited beyond pool_size"},
	{"current_connections", Int8, "NULL: not counted by entry"},
	{"max_user_client_connections", Int8, "NULL: not limited by user"},
	{"current_client_connections", Int8, "NULL: not counted by entry"},
	{"databases", Text, "databases that the user may connect to, * for all"},
	{"schema_admin", Bool, "schema sync connects to those databases as this user"},
	{"role", Text, "admin or reader: in the admin database; client: not there"},
}

// runShowUsers is SHOW USERS: the admin user, then [[users]] in their order.
func runShowUsers(_ context.Context, c *console, _ call) (result, error) {
	conf := c.config()
	rows := [][]any{{conf.Admin.User, nil, nil, nil, nil, nil, nil, nil, conf.Admin.Name, false, string(Admin)}}
	for _, u := range conf.Users {
		rows = append(rows, userRow(conf, u))
	}
	return result{rows: rows}, nil
}

func userRow(conf *config.Config, u config.User) []any {
	var poolSize any
	if u.PoolSize != nil {
		poolSize = int64(*u.PoolSize)
	}
	role := "client"
	if u.Names(conf.Admin.Name) {
		role = string(Reader)
	}
	databases := "*"
	if !u.AllDatabases {
		databases = strings.Join(slices.Compact(slices.DeleteFunc(
			append([]string{u.Database}, u.Databases...), func(name string) bool { return name == "" })), ", ")
	}
	return []any{
		u.Name, poolSize, nil, orNull(string(u.PoolerMode)), nil, nil, nil, nil,
		databases, u.SchemaAdmin, role,
	}
}
