package admin

import "context"

var versionColumns = []Column{{"version", Text, "name and version number"}}

var serverVersionColumns = []Column{{"server_version", Text, "parameter server_version of every session of the admin database"}}

// runShowVersion is SHOW VERSION.
func runShowVersion(_ context.Context, c *console, _ call) (result, error) {
	return result{rows: [][]any{{c.server.version()}}}, nil
}

// runShowServerVersion is SHOW SERVER_VERSION.
func runShowServerVersion(_ context.Context, c *console, _ call) (result, error) {
	return result{rows: [][]any{{c.server.serverVersion()}}}, nil
}
