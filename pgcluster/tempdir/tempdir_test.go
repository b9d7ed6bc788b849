package tempdir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
)

// Run as a child process, this test binary makes a directory in the directory
// given, has it guard a process, prints both and waits to be killed.
func TestMain(m *testing.M) {
	parent, isChild := os.LookupEnv("TEMPDIR_TEST_PARENT")
	if !isChild {
		os.Exit(m.Run())
	}
	d, err := tempdir.New(parent, "guarded-")
	exitOn(err)
	server := exec.Command("sleep", "600")
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // survives its parent, as a server does
	exitOn(server.Start())
	exitOn(d.Server(server.Process.Pid))
	disk, err := tempdir.New(parent, "disk-")
	exitOn(err)
	mounted := disk.Mount(1<<20) == nil // root alone may; its directory goes anyway
	exitOn(os.WriteFile(filepath.Join(disk.Path(), "file"), nil, 0o600))
	fmt.Println(d.Path(), server.Process.Pid, disk.Path(), mounted)
	select {}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func TestRemovedWhenTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "TEMPDIR_TEST_PARENT="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var path, disk string
	var pid int
	var mounted bool
	if _, err := fmt.Fscan(out, &path, &pid, &disk, &mounted); err != nil {
		t.Fatalf("read what the child made: %v", err)
	}
	for _, dir := range []string{path, disk} {
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("the child's directory: %v", err)
		}
	}
	if mounted != (os.Getuid() == 0) {
		t.Logf("mounted: %t, as user %d", mounted, os.Getuid())
	}
	// The whole group, as a test runner or a shell would kill it.
	if err := syscall.Kill(-child.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	for _, dir := range []string{path, disk} {
		until(t, dir+" is gone", func() bool {
			_, err := os.Stat(dir)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	until(t, "the guarded process is gone", func() bool { return dead(pid) })
}

func TestRemoveStopsTheServer(t *testing.T) {
	t.Parallel()
	d, err := tempdir.New(t.TempDir(), "guarded-")
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command("sleep", "600")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := d.Server(server.Process.Pid); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- server.Wait() }()
	if err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil || !strings.Contains(err.Error(), "quit") {
		t.Errorf("the server ended with %v, want SIGQUIT", err)
	}
	if _, err := os.Stat(d.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat after Remove: %v", err)
	}
	if err := d.Remove(); err != nil {
		t.Errorf("second Remove: %v", err)
	}
	if err := d.Server(1); err == nil {
		t.Error("Server after Remove: no error")
	}
}

// A directory that nobody holds is removed by the next New; one that is held,
// one of another prefix and one without a lock stay.
func TestNewSweepsStaleDirectories(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	for _, name := range []string{"guarded-stale", "other-stale", "guarded-nolock"} {
		if err := os.MkdirAll(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"guarded-stale", "other-stale"} {
		if err := os.WriteFile(filepath.Join(parent, name, "lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := tempdir.New(parent, "guarded-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Remove() })
	second, err := tempdir.New(parent, "guarded-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Remove() })
	for name, want := range map[string]bool{
		"guarded-stale": false, "other-stale": true, "guarded-nolock": true,
		filepath.Base(held.Path()): true, filepath.Base(second.Path()): true,
	} {
		_, err := os.Stat(filepath.Join(parent, name))
		if got := err == nil; got != want {
			t.Errorf("%s exists: %t, want %t", name, got, want)
		}
	}
}

// dead reports whether a process has ended. One whose parent does not wait for
// it (process 1 of some containers) stays a zombie, which is dead as well.
func dead(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}
