// Package tempdir makes directories that go away with the process that made
// them, however it ends: SIGKILL, a panic, os.Exit and an interrupt included.
//
// A guard, a small shell process in a process group of its own, holds the read
// end of a pipe whose only write end is in this process. The kernel closes that
// end when the process ends, the guard reads end-of-file, stops the server it
// was told about, unmounts what was mounted and removes the directory. Remove
// takes the same way, so there is one way of cleaning up and it is always used.
//
// PR_SET_PDEATHSIG was not chosen: it exists on Linux only, it fires when the
// thread that forked ends (Go's threads come and go), and it removes no files.
//
// Should process and guard die together (a container's end, a lost machine),
// the lock both held on the directory is free, and the next New beside it
// removes the directory.
package tempdir

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// guardScript is told on standard input, a line each, which server to stop and
// what to unmount. SIGQUIT is PostgreSQL's immediate shutdown; a server that
// has not ended after five seconds is killed. rm is repeated because a dying
// server may still create a file.
const guardScript = `
trap '' HUP INT QUIT TERM
server=0
mount=
while read -r word value; do
  case $word in
    server) server=$value ;;
    mount) mount=$value ;;
  esac
done
if [ "$server" -gt 0 ] && kill -QUIT "$server" 2>/dev/null; then
  n=0
  while kill -0 "$server" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.05; n=$((n+1)); done
  kill -KILL "$server" 2>/dev/null
fi
if [ -n "$mount" ]; then umount -l "$mount" 2>/dev/null || umount "$mount"; fi
n=0
until rm -rf -- "$1" || [ $n -ge 5 ]; do sleep 0.2; n=$((n+1)); done
`

const lockName = "lock"

// Dir is one such directory. Its methods may be called concurrently.
type Dir struct {
	path string

	mu    sync.Mutex
	guard *exec.Cmd
	pipe  *os.File // the guard's standard input; nil after Remove
	lock  *os.File
}

// New makes a directory in parent, "" being os.TempDir, whose name begins with
// prefix, and starts its guard. Directories of the same prefix that dead
// processes left in parent are removed first.
func New(parent, prefix string) (*Dir, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return nil, err
	}
	if strings.Contains(parent, "\n") {
		return nil, fmt.Errorf("make a temporary directory: the path %q contains a line break", parent)
	}
	sweep(parent, prefix)
	path, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	d := &Dir{path: path}
	if err := d.start(); err != nil {
		_ = os.RemoveAll(path) // err is what went wrong
		return nil, err
	}
	return d, nil
}

// Path is the directory's absolute path.
func (d *Dir) Path() string { return d.path }

// start locks the directory and starts the guard. The lock is taken under
// another name: a lock file that can be seen is always held, or stale.
func (d *Dir) start() error {
	unlocked := filepath.Join(d.path, lockName+".new")
	lock, err := os.OpenFile(unlocked, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(
		syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB),
		os.Rename(unlocked, filepath.Join(d.path, lockName)),
	); err != nil {
		return errors.Join(fmt.Errorf("lock %s: %w", d.path, err), lock.Close())
	}
	read, write, err := os.Pipe()
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	guard := exec.Command("/bin/sh", "-c", guardScript, "pgdrover-guard", d.path)
	guard.Dir = "/"
	guard.Stdin = read
	guard.ExtraFiles = []*os.File{lock}
	// Its own group: neither a terminal's Ctrl-C nor `kill -9 -group` reaches it.
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = guard.Start()
	_ = read.Close() // the guard has its own copy
	if err != nil {
		return errors.Join(fmt.Errorf("start the guard of %s: %w", d.path, err), write.Close(), lock.Close())
	}
	d.guard, d.pipe, d.lock = guard, write, lock
	return nil
}

// Server tells the guard which process to stop before the directory is
// removed: SIGQUIT, and SIGKILL when it has not ended after five seconds.
// 0 takes it back; call it as soon as the process was waited for, because its
// number may then become another's.
func (d *Dir) Server(pid int) error { return d.tell("server", fmt.Sprint(pid)) }

// Mount puts a tmpfs of size bytes over the directory. Linux and root only; the
// error says so otherwise. A directory is mounted once.
func (d *Dir) Mount(size int64) error {
	if err := d.tell("mount", d.path); err != nil {
		return err
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", d.path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mount a tmpfs of %d bytes at %s: %w: %s", size, d.path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tell writes one line. A line is shorter than PIPE_BUF, so it arrives whole or not at all.
func (d *Dir) tell(word, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pipe == nil {
		return fmt.Errorf("%s was removed already", d.path)
	}
	if _, err := fmt.Fprintf(d.pipe, "%s %s\n", word, value); err != nil {
		return fmt.Errorf("tell the guard of %s: %w", d.path, err)
	}
	return nil
}

// Remove removes the directory and waits until the guard has ended. Calling it
// again does nothing.
func (d *Dir) Remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pipe == nil {
		return nil
	}
	err := d.pipe.Close()
	d.pipe = nil
	_ = d.guard.Wait() // its exit status says no more than the next line does
	return errors.Join(err, os.RemoveAll(d.path), d.lock.Close())
}

// sweep removes directories whose process and guard are both dead. What cannot
// be removed stays: it may be another user's.
func sweep(parent, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		// Without O_NOFOLLOW a planted link would be opened elsewhere.
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close()
	}
}
