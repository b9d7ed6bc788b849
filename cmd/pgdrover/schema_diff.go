package main

import (
	"errors"
	"fmt"

	"github.com/pgdrover/pgdrover/progress"
)

// schemaDiffCommand is the twin of SHOW SCHEMA_DIFF.
type schemaDiffCommand struct {
	FromDatabase string `required:"" placeholder:"NAME" help:"Source, a name in [[databases]]."`
	ToDatabase   string `required:"" placeholder:"NAME" help:"Destination, a name in [[databases]]."`
}

// Run is kong's.
func (s schemaDiffCommand) Run(c *cli, io *streams, ctx *contextOf) error {
	engine, err := c.engine(io)
	if err != nil {
		if told := exit(0); !errors.As(err, &told) {
			progress.Print(io.err, "ERROR", err)
		}
		return exit(exitNotKnown)
	}
	differences, warnings, err := engine.SchemaDiff(ctx, s.FromDatabase, s.ToDatabase)
	for _, w := range warnings {
		progress.Print(io.err, "WARNING", w)
	}
	if err != nil {
		progress.Print(io.err, "ERROR", err)
		return exit(exitNotKnown)
	}
	progress.PrintDifferences(io.out, differences)
	if len(differences) > 0 {
		return exit(exitFailed)
	}
	fmt.Fprintln(io.out, "no differences")
	return nil
}
