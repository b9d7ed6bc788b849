// Package mirror joins the engine's parts: it resolves the names of a command,
// checks both sides, takes the mirror's lease, runs the task and records what
// becomes of it. The admin database and the command line both work through
// Manager, so that they do the same and leave the same traces.
package mirror
