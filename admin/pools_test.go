package admin

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// poolsStub keeps what it was asked for, and has one row of everything.
type poolsStub struct {
	mu    sync.Mutex
	asked []string
}

func (p *poolsStub) note(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	what := fmt.Sprintf(format, args...)
	p.asked = append(p.asked, what)
	if strings.Contains(what, "refused") {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "not now")
	}
	return nil
}

func (p *poolsStub) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := strings.Join(p.asked, "|")
	p.asked = nil
	return out
}

func (p *poolsStub) Pause(ctx context.Context, owner string, of PoolSelector) error {
	if err := p.note("pause %s %s/%s", owner, of.User, of.Database); err != nil || of.Database != "busy" {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}
func (p *poolsStub) Resume(owner string, of PoolSelector) error {
	return p.note("resume %s %s/%s", owner, of.User, of.Database)
}
func (p *poolsStub) Maintenance(owner string, of PoolSelector, on bool) error {
	return p.note("maintenance %s %s/%s %t", owner, of.User, of.Database, on)
}
func (p *poolsStub) Kill(_ context.Context, owner string, of PoolSelector) error {
	return p.note("kill %s %s/%s", owner, of.User, of.Database)
}
func (p *poolsStub) KillClient(id uint32) error { return p.note("kill_client %d", id) }
func (p *poolsStub) Reconnect(of PoolSelector) error {
	return p.note("reconnect %s/%s", of.User, of.Database)
}
func (p *poolsStub) WaitClose(_ context.Context, of PoolSelector) error {
	return p.note("wait_close %s/%s", of.User, of.Database)
}
func (p *poolsStub) Disable(owner, database string) error {
	return p.note("disable %s %s", owner, database)
}
func (p *poolsStub) Enable(owner, database string) error {
	return p.note("enable %s %s", owner, database)
}
func (p *poolsStub) Ban(id int64) error   { return p.note("ban %d", id) }
func (p *poolsStub) Unban(id int64) error { return p.note("unban %d", id) }
func (p *poolsStub) HealthCheck(_ context.Context, id int64) error {
	return p.note("healthcheck %d", id)
}

func (p *poolsStub) ResetPrepared() { _ = p.note("reset prepared") }

var stubPlace = PoolPlace{ID: 3, Database: "prod", User: "app", Host: "10.0.0.1", Port: 5432, Role: "replica"}

func (p *poolsStub) Pools() []PoolRow {
	return []PoolRow{{PoolPlace: stubPlace, Waiting: 1, Clients: 9, Idle: 2, Active: 3, Total: 5, Size: 10, MaxWait: 1500 * time.Millisecond, Mode: "transaction", State: "open", Healthy: true, Online: true}}
}
func (p *poolsStub) Clients() []ClientRow {
	return []ClientRow{{ID: 7, User: "app", Database: "prod", Host: "10.9.9.9", Port: 4711, State: "idle", Replication: "none", Mode: "transaction", ConnectedAt: stubTime, WaitTime: 1500 * time.Microsecond}}
}
func (p *poolsStub) Servers() []ServerRow {
	return []ServerRow{{PoolPlace: stubPlace, State: "idle", ConnectedAt: stubTime, RequestAt: stubTime, ProcessID: 99, LastSent: "Q"}}
}

var stubTime = time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)

func (p *poolsStub) Stats() []StatsRow {
	return []StatsRow{
		{PoolPlace: stubPlace, Total: StatsTotals{Transactions: 100, TransactionTime: time.Second}, Last: StatsTotals{Transactions: 4, TransactionTime: 6 * time.Millisecond}, Period: 2 * time.Second},
		{PoolPlace: stubPlace, Total: StatsTotals{Transactions: 11, TransactionTime: time.Second}},
	}
}
func (p *poolsStub) Bans() []BanRow {
	return []BanRow{{PoolPlace: stubPlace, Reason: "BAN", Left: -1}, {PoolPlace: stubPlace, Reason: "lost", Left: 1500 * time.Millisecond}}
}
func (p *poolsStub) Holds() []HoldRow {
	return []HoldRow{{PoolSelector: PoolSelector{Database: "prod"}, Kind: "pause", Owner: "admin", State: "draining", Since: stubTime}}
}
func (p *poolsStub) Lists() ListsRow {
	return ListsRow{Databases: 1, Users: 2, Pools: 3, FreeClients: 4, UsedClients: 5, FreeServers: 6, UsedServers: 7}
}
func (p *poolsStub) Prepared() []PreparedRow {
	return []PreparedRow{{Name: "s1", Statement: "SELECT 1", UsedBy: 2, Bytes: 64}}
}
func (p *poolsStub) Memory() []MemoryRow {
	return []MemoryRow{{Name: "heap", Used: 1, Free: 2, Total: 3}}
}

// TestPoolCommands is what the pools are asked for.
func TestPoolCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	for _, test := range []struct{ statement, asked, want string }{
		{`PAUSE`, "pause admin /", "C:PAUSE Z:I"},
		{`pause prod`, "pause admin /prod", "C:PAUSE Z:I"},
		{`PAUSE "App" "Weird ""Name"" $1"`, `pause admin App/Weird "Name" $1`, "C:PAUSE Z:I"},
		{`PAUSE "mirror"`, "pause admin /mirror", "C:PAUSE Z:I"},
		{`PAUSE refused`, "pause admin /refused", "ERROR:55000 Z:I"},
		{`RESUME`, "resume admin /", "C:RESUME Z:I"},
		{`RESUME app prod`, "resume admin app/prod", "C:RESUME Z:I"},
		{`MAINTENANCE ON`, "maintenance admin / true", "C:MAINTENANCE ON Z:I"},
		{`maintenance off prod`, "maintenance admin /prod false", "C:MAINTENANCE OFF Z:I"},
		{`MAINTENANCE`, "", "ERROR:42601 Z:I"},
		{`RECONNECT`, "reconnect /", "C:RECONNECT Z:I"},
		{`RECONNECT prod`, "reconnect /prod", "C:RECONNECT Z:I"},
		{`WAIT_CLOSE prod`, "wait_close /prod", "C:WAIT_CLOSE Z:I"},
		{`KILL prod`, "kill admin /prod", "C:KILL Z:I"},
		{`KILL_CLIENT 42`, "kill_client 42", "C:KILL_CLIENT Z:I"},
		{`KILL_CLIENT -1`, "", "ERROR:42704 Z:I"},
		{`KILL_CLIENT 99999999999`, "", "ERROR:42704 Z:I"},
		{`KILL_CLIENT`, "", "ERROR:42601 Z:I"},
		{`DISABLE prod`, "disable admin prod", "C:DISABLE Z:I"},
		{`ENABLE prod`, "enable admin prod", "C:ENABLE Z:I"},
		{`DISABLE`, "", "ERROR:42601 Z:I"},
		{`BAN`, "ban 0", "C:BAN Z:I"},
		{`BAN 3`, "ban 3", "C:BAN Z:I"},
		{`BAN 0`, "", "ERROR:22023 Z:I"},
		{`BAN three`, "", "ERROR:22P02 Z:I"},
		{`UNBAN 3`, "unban 3", "C:UNBAN Z:I"},
		{`HEALTHCHECK`, "healthcheck 0", "C:HEALTHCHECK Z:I"},
		{`HEALTHCHECK 3`, "healthcheck 3", "C:HEALTHCHECK Z:I"},
		{`RESET PREPARED`, "reset prepared", "C:RESET PREPARED Z:I"},
	} {
		if got, asked := c.query(test.statement), s.pools.take(); got != test.want || asked != test.asked {
			t.Errorf("%s:\n got %s, asks %s\nwant %s, asks %s", test.statement, got, asked, test.want, test.asked)
		}
	}
	reader := s.connect("monitoring", nil).ready()
	for _, statement := range []string{"PAUSE", "RESUME", "MAINTENANCE ON", "RECONNECT", "WAIT_CLOSE", "KILL", "KILL_CLIENT 1", "DISABLE a", "ENABLE a", "BAN", "UNBAN", "HEALTHCHECK", "RESET PREPARED"} {
		if got, asked := reader.query(statement), s.pools.take(); got != "ERROR:42501 Z:I" || asked != "" {
			t.Errorf("a reader's %s: %s, asks %s", statement, got, asked)
		}
	}
}

// TestPoolTables is what the SHOWs have, in order; readers may ask for all.
func TestPoolTables(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("monitoring", nil).ready()
	for statement, want := range map[string]string{
		"SHOW POOLS": "T:id,database,user,addr,port,shard,role,cl_waiting,sv_idle,sv_active,sv_idle_xact,sv_total,maxwait,maxwait_us,pool_mode,paused,banned,healthy,errors," +
			"re_synced,out_of_sync,force_closed,online,schema_admin,cl_active,sv_login,sv_tested,pool_size,state,last_error " +
			"D:3,prod,app,10.0.0.1,5432,0,replica,1,2,3,0,5,1,500000,transaction,f,f,t,0,0,0,0,t,f,9,0,0,10,open,NULL C:SHOW Z:I",
		"SHOW CLIENTS": "T:id,user,database,addr,port,state,replication,connect_time,last_request,queries,transactions,transactions_2pc,wait_time,query_time,transaction_time," +
			"bytes_received,bytes_sent,errors,application_name,locked,prepared_statements,wait,pool_mode,link,tls " +
			"D:7,app,prod,10.9.9.9,4711,idle,none,2030-01-02 03:04:05.006 UTC,NULL,0,0,0,1.5,0,0,0,0,0,,f,0,0,transaction,NULL,NULL C:SHOW Z:I",
		"SHOW LISTS": "T:databases,users,pools,free_clients,used_clients,free_servers,used_servers D:1,2,3,4,5,6,7 C:SHOW Z:I",
		"SHOW STATE": "T:key,value,database,user,owner,since D:active,yes,NULL,NULL,NULL,NULL D:paused,no,NULL,NULL,NULL,NULL D:suspended,no,NULL,NULL,NULL,NULL " +
			"D:pause,draining,prod,NULL,admin,2030-01-02 03:04:05.006 UTC C:SHOW Z:I",
		"SHOW BANS": "T:id,database,user,addr,port,shard,role,ban_reason,ban_time_left D:3,prod,app,10.0.0.1,5432,0,replica,BAN,NULL " +
			"D:3,prod,app,10.0.0.1,5432,0,replica,lost,1500 C:SHOW Z:I",
		"SHOW PREPARED":  "T:name,statement,rewrite,used_by,memory_used D:s1,SELECT 1,NULL,2,64 C:SHOW PREPARED STATEMENTS Z:I",
		"SHOW LISTENERS": "T:database,user,shard,channel,listeners,received,dropped C:SHOW Z:I",
		"SHOW MEM":       "T:name,size,used,free,memtotal D:heap,NULL,1,2,3 C:SHOW Z:I",
	} {
		if got := c.query(statement); got != want {
			t.Errorf("%s:\n got %s\nwant %s", statement, got, want)
		}
	}
	got := c.query("SHOW SERVERS")
	if !strings.HasPrefix(got, "T:pool_id,database,user,addr,port,state,connect_time,request_time,remote_pid,client_id,transactions,queries,rollbacks,prepared_statements,healthchecks,"+
		"errors,bytes_received,bytes_sent,last_sent,last_received,age,application_name,close_needed,role,tls D:3,prod,app,10.0.0.1,5432,idle,") {
		t.Errorf("SHOW SERVERS: %s", got)
	}
	stats := strings.Split(c.query("SHOW STATS"), " D:")
	names := strings.Split(strings.TrimPrefix(stats[0], "T:"), ",")
	values := strings.Split(stats[1], ",")
	shown := map[string]string{}
	for i, name := range names {
		shown[name] = values[i]
	}
	if len(names) != 6+2*24 || names[6] != "total_xact_count" || names[30] != "avg_xact_count" || names[53] != "avg_rows_deleted" {
		t.Errorf("the columns of SHOW STATS are %v", names)
	}
	for name, want := range map[string]string{"total_xact_count": "100", "total_xact_time": "1000", "avg_xact_count": "2", "avg_xact_time": "1.5", "avg_query_time": "0"} {
		if shown[name] != want {
			t.Errorf("%s is %s, want %s", name, shown[name], want)
		}
	}
	if got := c.query("SHOW TOTALS"); !strings.HasPrefix(got, "T:name,value D:total_xact_count,111 ") {
		t.Errorf("SHOW TOTALS: %s", got)
	}
}

// TestPauseEndsWithItsClient: a cancel request ends the waiting, and the error says
// that nothing stays paused.
func TestPauseEndsWithItsClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := s.connect("admin", nil).ready()
	if got := c.query("SET statement_timeout = '50ms'"); got != "C:SET Z:I" {
		t.Fatal(got)
	}
	if got := c.query("PAUSE busy"); got != "ERROR:57014 Z:I" {
		t.Errorf("PAUSE: %s", got)
	}
	if got := c.query("SHOW LISTS"); !strings.Contains(got, "C:SHOW") {
		t.Errorf("after it: %s", got)
	}
}
