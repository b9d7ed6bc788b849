// Package pool keeps connections to servers and lends them to clients.
//
// What there is, from the top: Pools has the databases of the configuration (a
// database is a cluster: the entries of [[databases]] of one name). A database
// has pools, one for each user that has come, and a pool has a target for each
// server: its connections, its sizes, its bans and statistics.
//
// A Client is one application session. It checks out a Server, uses its
// connection and releases it. Whoever waits is served in the order of arrival:
// a connection that is released while somebody waits is handed over, never put
// back. Nothing waits without bound: there are at most so many who wait, and
// each for so long.
//
// A pool has one lock, and there is none above it on the way of a checkout. Its
// critical sections do no input or output. What has to be dialled, checked,
// cleaned or closed runs outside, in goroutines that Pools.Run ends and waits
// for.
//
// Gates stop the lending: see gate.go for their states and control.go for the
// commands that close and open them.
package pool
