// Package daemon is the running pgdrover: the configuration in force, the
// listener, the admin database and the engine, and how they start and stop
// together.
package daemon
