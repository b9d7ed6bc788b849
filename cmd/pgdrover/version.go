package main

import "fmt"

// versionCommand prints the version.
type versionCommand struct{}

// Run is kong's.
func (versionCommand) Run(io *streams) error {
	_, err := fmt.Fprintln(io.out, "pgdrover "+version)
	return err
}
