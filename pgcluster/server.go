package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// launchScript waits for a line before it becomes the server. The guard is told
// the process number in between: at no moment is there a server that would
// outlive this process. At end-of-file, this process being dead, it ends.
const launchScript = `read -r go <&3 && exec "$@" 3<&-`

// server is one run of the postmaster, a child of this process.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the postmaster has ended and was waited for
}

// launch starts the postmaster on a port. It is not ready when launch returns.
// One goroutine waits for its end.
func (c *Cluster) launch(port int) (*server, error) {
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	goRead, goWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer goWrite.Close()
	inst := c.options.Installation
	cmd := exec.Command("/bin/sh", "-c", launchScript, "sh", filepath.Join(inst.BinDir, "postgres"),
		"-D", inside(inst.Root, c.dataDir()), "-p", strconv.Itoa(port))
	cmd.Env, cmd.Dir = environment(), "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{goRead}
	cmd.SysProcAttr = c.account.attributes(inst.Root)
	err = cmd.Start()
	_ = goRead.Close() // the child has its own copy
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", inst, err)
	}
	s := &server{cmd: cmd, done: make(chan struct{})}
	tellErr := c.dir.Server(cmd.Process.Pid)
	if tellErr == nil {
		_, tellErr = goWrite.WriteString("go\n")
	}
	go func() {
		defer close(s.done)
		_ = cmd.Wait()      // the status is in cmd.ProcessState
		_ = c.dir.Server(0) // fails when the directory is gone, which is as good
	}()
	if tellErr != nil {
		_ = goWrite.Close()
		<-s.done
		return nil, tellErr
	}
	return s, nil
}

// ended reports whether the postmaster has ended.
func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// awaitReady waits until the postmaster says in postmaster.pid that it takes
// connections, as pg_ctl does; that file has no event.
func (s *server) awaitReady(ctx context.Context, dataDir string) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return fmt.Errorf("the server ended before it took connections: %v", s.cmd.ProcessState)
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			lines := pidFile(dataDir)
			if len(lines) > pidFileStatus && lines[pidFilePID] == strconv.Itoa(s.cmd.Process.Pid) &&
				(lines[pidFileStatus] == "ready" || lines[pidFileStatus] == "standby") {
				return nil
			}
		}
	}
}

// Lines of postmaster.pid (miscadmin.h, LOCK_FILE_LINE_…).
const (
	pidFilePID       = 0
	pidFileSharedMem = 6 // "key id" of the System V segment
	pidFileStatus    = 7
)

func pidFile(dataDir string) []string {
	text, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// await waits for the postmaster's end.
func (s *server) await(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends the postmaster and all its children with SIGKILL and waits until
// they are gone. The postmaster is stopped first, so that it starts no more.
func (s *server) kill() error {
	pid := s.cmd.Process.Pid
	if s.ended() {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the postmaster: %w", err)
	}
	children, err := childrenOf(pid)
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGKILL) // ESRCH: it has just ended
	}
	if killErr := syscall.Kill(pid, syscall.SIGKILL); killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
		err = errors.Join(err, killErr)
	}
	<-s.done
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(30 * time.Second)
	for _, child := range children {
		for !processGone(child) {
			select {
			case <-ticker.C:
			case <-deadline:
				return errors.Join(err, fmt.Errorf("server process %d is still there 30 s after SIGKILL", child))
			}
		}
	}
	return err
}
