// Package demo is `pgdrover demo`: two throw-away clusters of the PostgreSQL
// found on the machine, a sample shop with customers who write to it all the
// time, a pgdrover between them, and the main job done before the user's eyes
// through the admin database, as the user would do it. What is promised is checked
// on the way: a side that differs fails the demonstration.
//
// Run owns everything it starts: the servers, the daemon, the customers and the
// directory of the configuration go when Run returns, and when the process is killed (packages
// pgcluster and tempdir see to that).
package demo
