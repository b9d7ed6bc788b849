//go:build !linux

package systemd

// monotonic is of systems without systemd.
func monotonic() int64 { return 0 }
