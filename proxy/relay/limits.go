package relay

import (
	"cmp"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// limits is what sessions take from a configuration.
type limits struct {
	config          *config.Config
	clientIdle      time.Duration // 0: none
	idleTransaction time.Duration
	query           time.Duration
	rollbackTimeout time.Duration
	recovery        recovery
	keepClients     bool
	noNames         bool // prepared_statements = "disabled"
	nameUnnamed     bool // "extended_anonymous"
	preparedLimit   int
	preparedTTL     time.Duration // 0: none
	preparedJitter  time.Duration
	querySize       int64
	querySizeBlocks bool
	refuseState     bool
	splitReads      bool
	slow            slowLog
}

// recovery is general.connection_recovery.
type recovery string

const recoverAll recovery = "recover"

// defaultPreparedLimit bounds the statements of a server connection where
// general.prepared_statements_limit does not.
const defaultPreparedLimit = 1000

func (r *Relay) limitsNow() *limits {
	c := r.options.Config()
	if known := r.current.Load(); known != nil && known.config == c {
		return known
	}
	g := c.General
	fresh := &limits{
		config: c, clientIdle: orZero(g.ClientIdleTimeout), idleTransaction: orZero(g.ClientIdleInTransactionTimeout),
		query: orZero(g.QueryTimeout), rollbackTimeout: g.RollbackTimeout,
		recovery:    cmp.Or(recovery(g.ConnectionRecovery), recoverAll),
		keepClients: g.ClientConnectionRecovery == "recover" || g.ClientConnectionRecovery == "rollback_only",
		noNames:     g.PreparedStatements == "disabled", nameUnnamed: g.PreparedStatements == "extended_anonymous",
		preparedTTL: orZero(g.PreparedStatementsTTL), preparedJitter: g.PreparedStatementsTTLJitter,
		preparedLimit: defaultPreparedLimit, querySizeBlocks: g.QuerySizeLimitAction == "block",
		refuseState: g.SessionState == "refuse", splitReads: g.QueryParser == "on" || g.QueryParser == "auto",
	}
	if g.PreparedStatementsLimit != nil && *g.PreparedStatementsLimit > 0 {
		fresh.preparedLimit = *g.PreparedStatementsLimit
	}
	if g.QuerySizeLimit != nil {
		fresh.querySize = *g.QuerySizeLimit
	}
	fresh.slow = newSlowLog(g)
	r.current.Store(fresh)
	return fresh
}

func orZero(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

func (l *limits) errTimeout() *pgerror.Error {
	return pgerror.New(pgerror.QueryCanceled, "canceling statement due to query timeout").
		WithDetail("It took longer than general.query_timeout, %s.", l.query)
}
