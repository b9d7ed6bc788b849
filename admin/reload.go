package admin

import "context"

// runReload is RELOAD.
func runReload(ctx context.Context, c *console, _ call) (result, error) {
	changes, problems, err := c.server.options.Configuration.Reload(ctx)
	for _, p := range problems {
		c.warning(warning, "%s", p.String())
	}
	if err != nil {
		return result{}, err
	}
	for _, change := range changes.Applied {
		c.notice("%s: %s -> %s", change.Key, shown(change.Old), shown(change.New))
	}
	for _, change := range changes.NeedsRestart {
		c.warning(warning, "%s: %s -> %s takes effect at the next start", change.Key, shown(change.Old), shown(change.New))
	}
	if len(changes.Applied)+len(changes.NeedsRestart) == 0 {
		c.notice("nothing has changed")
	}
	c.warn(c.server.options.Engine.TakeConfiguration(ctx))
	return result{}, nil
}

// shown marks an empty value.
func shown(value string) string {
	if value == "" {
		return "(not set)"
	}
	return value
}
