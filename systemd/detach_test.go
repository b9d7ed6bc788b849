package systemd

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// detach gives a descriptor that nobody owns, as one that was inherited.
func detach(t *testing.T, file *os.File) uintptr {
	t.Helper()
	defer file.Close()
	descriptor, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return uintptr(descriptor)
}
