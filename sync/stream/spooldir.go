package stream

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/pgdrover/pgdrover/pgerror"
)

// spoolDirPrefix begins the names of the directories that readers make in
// Options.SpillDirectory.
const spoolDirPrefix = "pgdrover-spill-"

// spoolDir is a reader's own directory. It is locked as long as its process
// lives, so that others can tell what a killed one has left behind.
type spoolDir struct {
	path string
	lock *os.File // the directory itself
}

// newSpoolDir makes a directory in parent ("" for the system's temporary
// directory) after removing those of processes that are no more.
func newSpoolDir(parent string) (*spoolDir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, spillFailed(parent, "make the spill directory", err)
	}
	removeLeftOver(parent)
	for {
		path, err := os.MkdirTemp(parent, spoolDirPrefix)
		if err != nil {
			return nil, spillFailed(parent, "make a directory for spilled transactions", err)
		}
		lock, err := lockDir(path)
		if err == nil {
			return &spoolDir{path: path, lock: lock}, nil
		}
		// Another process has taken it for a left-over before it was locked.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = os.Remove(path)
			return nil, spillFailed(parent, "lock a directory for spilled transactions", err)
		}
	}
}

// lockDir locks a directory that exists, also after it was locked.
func lockDir(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// removeLeftOver removes the directories that nobody has locked. What cannot be
// removed belongs to another user; it is no matter here.
func removeLeftOver(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), spoolDirPrefix) {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		if lock, err := lockDir(path); err == nil {
			_ = os.RemoveAll(path)
			_ = lock.Close()
		}
	}
}

// remove removes the directory with all files in it.
func (d *spoolDir) remove() error {
	err := os.RemoveAll(d.path)
	return errors.Join(err, d.lock.Close())
}

// spillFailed is the error for a file that cannot be written.
func spillFailed(dir, doing string, err error) error {
	var path *fs.PathError
	reason := err
	if errors.As(err, &path) {
		reason = path.Err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e := pgerror.New(pgerror.DiskFull, "no room to spill a large transaction: %w", reason).
			WithDetail("Directory for spilled transactions: %s.", dir).
			WithHint("make room there, or let the spill directory be one with room for the source's largest transactions")
		return e
	}
	return pgerror.New(pgerror.SystemError, "%s: %w", doing, reason).
		WithDetail("Directory for spilled transactions: %s.", dir).
		WithHint("the spill directory must exist and be writable by the user that runs pgdrover")
}

// file makes a file for one transaction.
func (d *spoolDir) file(xid uint32) (*os.File, error) {
	f, err := os.CreateTemp(d.path, fmt.Sprintf("%d-", xid))
	if err != nil {
		return nil, spillFailed(d.path, "make a file for a large transaction", err)
	}
	return f, nil
}
