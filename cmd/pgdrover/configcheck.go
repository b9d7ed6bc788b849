package main

import "fmt"

// configcheckCommand checks both files.
type configcheckCommand struct{}

// Run is kong's.
func (configcheckCommand) Run(c *cli, io *streams) error {
	cfg, err := c.load(io)
	if err != nil {
		return err
	}
	fmt.Fprintf(io.out, "%s and %s are in order: %d databases, %d users\n", c.Config, c.Users, len(cfg.Clusters()), len(cfg.Users))
	return nil
}
