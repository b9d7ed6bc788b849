package admin

import "context"

// runShutdown is SHUTDOWN. The answer is sent before the session is ended.
func runShutdown(_ context.Context, c *console, _ call) (result, error) {
	c.server.options.Shutdown()
	return result{}, nil
}
