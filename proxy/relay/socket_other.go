//go:build !linux

package relay

import "net"

// hungUp cannot be asked here: that the client is gone is found when it is written
// to.
func hungUp(net.Conn) bool { return false }

// readable cannot be asked here: what a server says is read with its next answer.
func readable(net.Conn) bool { return false }
