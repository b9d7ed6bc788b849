package pool

import (
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// joined writes names as a list.
func joined(names []string) string { return strings.Join(names, ", ") }

// quoted writes a name as an identifier.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// errQueueFull refuses a client because too many wait. The pool's lock is held.
func (p *pool) errQueueFull() *pgerror.Error {
	return pgerror.New(pgerror.TooManyConnections, "too many clients are waiting for a server connection").
		WithDetail("%d clients of user \"%s\" and database \"%s\" wait already.", p.waiting(), p.key.User, p.key.Database)
}

// errTimeout is that of a client whose time is over. The pool's lock is held.
func (p *pool) errTimeout(want Want, waited time.Duration) *pgerror.Error {
	if !want.ReadOnly && p.primary == nil {
		return pgerror.New(pgerror.CannotConnectNow, "no primary of database %q is known", p.key.Database).
			WithDetail("Each of its servers is in recovery or cannot be reached.").
			WithHint("SHOW POOLS; in the admin database tells the role and the health of each.")
	}
	if want.ReadOnly && len(p.readers) == 0 {
		return pgerror.New(pgerror.CannotConnectNow, "no server of database %q takes reads", p.key.Database).
			WithDetail("All its replicas are banned, and general.read_write_split is \"%s\".", p.settings.split).
			WithHint("UNBAN; in the admin database ends all bans. SHOW POOLS; tells who is banned.")
	}
	for _, t := range p.targets {
		if t.failures > 0 && len(t.servers) == 0 && (want.ReadOnly || t == p.primary) {
			return p.errUnreachable(t)
		}
	}
	return pgerror.New(pgerror.TooManyConnections, "no server connection became free in time").
		WithDetail("The client waited for %s, and all connections of user \"%s\" to database \"%s\" were in use.",
			waited.Round(time.Millisecond), p.key.User, p.key.Database).
		WithHint("Shorten transactions, or raise pool_size or checkout_timeout.")
}

// errUnreachable is that of a client whose server cannot be connected to. What the
// server itself has refused keeps its SQLSTATE; all else is 57P03. The pool's lock is held.
func (p *pool) errUnreachable(t *target) *pgerror.Error {
	cause := pgerror.From(t.lastErr)
	code := pgerror.CannotConnectNow
	if isRefusal(cause) || cause.Code == pgerror.TooManyConnections {
		code = cause.Code
	}
	e := pgerror.New(code, "a server of database %q cannot be connected to: %w", p.key.Database, t.lastErr)
	e.Detail, e.Hint = cause.Detail, cause.Hint
	return e
}
