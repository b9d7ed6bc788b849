package admin

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Pools are the pools of server connections that applications use. Its methods are
// called by many sessions at a time. Owner is who stops something: what one owner
// has stopped, another does not let go.
type Pools interface {
	// Pause returns when no connection is left; if ctx ends before, the pause is
	// undone.
	Pause(ctx context.Context, owner string, of PoolSelector) error
	// Resume undoes Pause and Kill of exactly these; 55000 if there is nothing to undo.
	Resume(owner string, of PoolSelector) error
	Maintenance(owner string, of PoolSelector, on bool) error
	Kill(ctx context.Context, owner string, of PoolSelector) error
	KillClient(id uint32) error
	Reconnect(of PoolSelector) error
	WaitClose(ctx context.Context, of PoolSelector) error
	Disable(owner, database string) error
	Enable(owner, database string) error
	// Ban, Unban and HealthCheck are about one pool, or all for 0.
	Ban(id int64) error
	Unban(id int64) error
	HealthCheck(ctx context.Context, id int64) error
	// ResetPrepared forgets the prepared statements that no client has.
	ResetPrepared()

	Pools() []PoolRow
	Clients() []ClientRow
	Servers() []ServerRow
	Stats() []StatsRow
	Bans() []BanRow
	Holds() []HoldRow
	Lists() ListsRow
	Prepared() []PreparedRow
	Memory() []MemoryRow
}

// PoolSelector says which pools: all, those of a database, or one user's.
type PoolSelector struct{ User, Database string }

// PoolPlace says which pool a row is about.
type PoolPlace struct {
	ID             int64
	Database, User string
	Host           string
	Port           int
	Shard          int
	Role           string
}

// PoolRow is a row of SHOW POOLS.
type PoolRow struct {
	PoolPlace
	Waiting, Clients                int
	Idle, Active, IdleInTransaction int
	Busy, Dialing, Total, Size      int
	MaxWait                         time.Duration
	Mode, State                     string
	Paused, Banned, Healthy, Online bool
	SchemaAdmin                     bool
	Errors, Cleaned, Broken, Forced int64
	LastError                       string
}

// ClientRow is a row of SHOW CLIENTS.
type ClientRow struct {
	ID                    int64
	User, Database        string
	Host                  string
	Port                  int
	State, Replication    string
	ConnectedAt           time.Time
	RequestAt             time.Time // zero if there was none
	Queries, Transactions int64
	WaitTime, QueryTime   time.Duration
	TransactionTime       time.Duration
	Waiting               time.Duration
	Received, Sent        int64
	Errors                int64
	ApplicationName       string
	Locked                bool
	Prepared              int64
	Mode, TLS             string
	Server                int64 // 0 for none
}

// ServerRow is a row of SHOW SERVERS.
type ServerRow struct {
	PoolPlace
	State                                   string
	ConnectedAt, RequestAt                  time.Time
	ProcessID, Client                       int64 // Client is 0 in the pool
	Transactions, Queries, Rollbacks        int64
	Prepared, Healthchecks, Errors          int64
	Received, Sent                          int64
	LastSent, LastReceived, ApplicationName string
	Obsolete, TLS                           bool
}

// StatsTotals are what SHOW STATS counts.
type StatsTotals struct {
	Transactions, Queries, Assignments int64
	Received, Sent                     int64
	TransactionTime, IdleTime          time.Duration
	QueryTime, WaitTime, ConnectTime   time.Duration
	Parses, Binds, Closes              int64
	Errors, Cleaned, Rollbacks         int64
	Connects, Reads, Writes            int64
	AuthAttempts                       int64
	Inserted, Updated, Deleted         int64
}

// StatsRow is a row of SHOW STATS: since the start, and in the last period that is
// over.
type StatsRow struct {
	PoolPlace
	Total, Last StatsTotals
	Period      time.Duration // of Last; 0 before the first is over
}

// BanRow is a row of SHOW BANS.
type BanRow struct {
	PoolPlace
	Reason string
	Left   time.Duration // negative: until UNBAN
}

// HoldRow is somebody who has stopped something.
type HoldRow struct {
	PoolSelector
	Kind, Owner, State string
	Since              time.Time // zero if not known
}

// ListsRow is the row of SHOW LISTS.
type ListsRow struct {
	Databases, Users, Pools                            int
	FreeClients, UsedClients, FreeServers, UsedServers int
}

// PreparedRow is a row of SHOW PREPARED.
type PreparedRow struct {
	Name, Statement string
	UsedBy, Bytes   int64
}

// MemoryRow is a row of SHOW MEM; sizes are bytes.
type MemoryRow struct {
	Name                    string
	Size, Used, Free, Total int64
}

// poolOwner is who stops what commands stop: all sessions together, so that one
// can let go what another has stopped.
const poolOwner = "admin"

// pools gives the pools, or why there are none.
func (c *console) pools() (Pools, error) {
	if c.server.options.Pools == nil {
		return nil, pgerror.New(pgerror.FeatureNotSupported, "this process has no pools")
	}
	return c.server.options.Pools, nil
}

// poolSelector gives the pools that a command names.
func (c *console) poolSelector(call call) (Pools, PoolSelector, error) {
	pools, err := c.pools()
	if err != nil {
		return nil, PoolSelector{}, err
	}
	texts, err := call.texts("user", "database")
	if err != nil {
		return nil, PoolSelector{}, err
	}
	return pools, PoolSelector{User: texts[0], Database: texts[1]}, nil
}

// poolID gives the pool that a command names, 0 for all.
func (c *console) poolID(call call) (Pools, int64, error) {
	pools, err := c.pools()
	if err != nil {
		return nil, 0, err
	}
	if _, named := call.arguments["pool"]; !named {
		return pools, 0, nil
	}
	id, err := call.integer("pool")
	if err == nil && id <= 0 {
		err = pgerror.New(pgerror.InvalidParameterValue, "a pool's number is at least 1").At(call.at(call.arguments["pool"].start))
	}
	return pools, id, err
}

// placeFields are the columns in which a row says what pool it is about, after its
// number.
func (p PoolPlace) fields() []any {
	return []any{p.Database, p.User, p.Host, int64(p.Port), int64(p.Shard), p.Role}
}

// milliseconds gives a duration as the tables show it.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
