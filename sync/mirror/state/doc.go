// Package state is what pgdrover remembers: mirrors, tasks, and the result of
// every statement. It lives in the schema pgdrover of the destination's shard
// 0, so that it is backed up, restored and switched over with the data it
// speaks of; the process itself keeps nothing on disk.
//
// A task that runs holds a lease: an advisory lock of its mirror on a session
// of its own. When the process dies the session ends, the lock is gone, and
// everybody can see that the task was interrupted.
package state
