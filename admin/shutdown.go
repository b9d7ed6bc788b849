package admin

import "context"

// ShutdownMode is what SHUTDOWN does with those who are connected. The names, but for
// the last, are PgBouncer's.
type ShutdownMode string

// The modes, from the most patient on. A later SHUTDOWN may ask for a less patient one.
const (
	ShutdownClients   ShutdownMode = "WAIT_FOR_CLIENTS" // applications leave by themselves first
	ShutdownServers   ShutdownMode = "WAIT_FOR_SERVERS" // transactions end; who is idle is disconnected
	ShutdownImmediate ShutdownMode = "IMMEDIATE"        // nothing is waited for
)

// runShutdown is SHUTDOWN. The answer is sent before the session is ended.
func runShutdown(_ context.Context, c *console, call call) (result, error) {
	mode := ShutdownServers
	if len(call.choices) > 0 {
		mode = ShutdownMode(call.choices[0])
	}
	c.server.options.Shutdown(mode)
	return result{}, nil
}
