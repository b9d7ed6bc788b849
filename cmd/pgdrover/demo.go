package main

// demoCommand is written last.
type demoCommand struct{}

// Run is kong's.
func (demoCommand) Run() error { return exit(exitFailed) }
