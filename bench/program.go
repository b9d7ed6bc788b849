package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is a program that runs. A goroutine of its own waits for it and reads
// its memory; it ends with the program, which wait and stop wait for.
type program struct {
	name  string
	cmd   *exec.Cmd
	said  *tail
	ended chan struct{} // closed when it has ended
	err   error         // how; valid once ended is closed
	peak  int64         // of its resident memory, bytes; valid once ended is closed
}

// launch starts a program, which ends with ctx at the latest. What it prints is
// kept for an error's sake; env is added to the environment.
func launch(ctx context.Context, env []string, path string, args ...string) (*program, error) {
	p := &program{name: filepath.Base(path), said: &tail{}, ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTimeout
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.watch()
	return p, nil
}

// stopTimeout is how long a program may take to end when it is told to.
const stopTimeout = 30 * time.Second

// watch reads the program's memory until it ends.
func (p *program) watch() {
	waited := make(chan error, 1)
	go func() { waited <- p.cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case p.err = <-waited:
			close(p.ended)
			return
		case <-tick.C:
			p.peak = max(p.peak, peakMemory(p.cmd.Process.Pid))
		}
	}
}

// peakMemory is the peak of a process's resident memory so far (VmHWM), in
// bytes; 0 where the system does not tell or the process has ended.
func peakMemory(pid int) int64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }() // it was read only
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// wait waits until the program has ended by itself, and well.
func (p *program) wait() error {
	<-p.ended
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, p.said)
	}
	return nil
}

// stop tells the program to end and waits. It must still be running, and end in
// an orderly way: a status of 1 may say that it was stopped before its time.
func (p *program) stop() error {
	select {
	case <-p.ended:
		return p.untimely()
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		return errors.Join(fmt.Errorf("%s did not stop within %s: %s", p.name, stopTimeout, p.said), p.kill())
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case p.err == nil, status.Signaled() && status.Signal() == syscall.SIGTERM:
		return nil
	case status.Exited() && (status.ExitStatus() == 1 || status.ExitStatus() == 128+int(syscall.SIGTERM)):
		return nil
	}
	return p.wait()
}

// kill ends the program, if it has not ended, and waits.
func (p *program) kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// untimely says that a program has ended that was to go on.
func (p *program) untimely() error {
	return fmt.Errorf("%s ended before it was told to (%w): %s", p.name, errors.Join(p.err, errEnded), p.said)
}

var errEnded = errors.New("it goes on until it is stopped")

// finish runs a program to its end.
func finish(ctx context.Context, env []string, path string, args ...string) error {
	p, err := launch(ctx, env, path, args...)
	if err != nil {
		return err
	}
	return p.wait()
}

// pipe runs one program into the other to the end of both, and gives the sum of
// their peaks of memory.
func pipe(ctx context.Context, from, into []string) (peak int64, err error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	ends := [2]*program{}
	for i, args := range [2][]string{from, into} {
		p := &program{name: filepath.Base(args[0]), said: &tail{}, ended: make(chan struct{})}
		p.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
		p.cmd.Stderr = p.said
		if i == 0 {
			p.cmd.Stdout = writer
		} else {
			p.cmd.Stdin = reader
		}
		if startErr := p.cmd.Start(); startErr != nil {
			err = errors.Join(err, fmt.Errorf("start %s: %w", p.name, startErr))
			continue
		}
		ends[i] = p
		go p.watch()
	}
	err = errors.Join(err, writer.Close(), reader.Close()) // theirs stay open
	for _, p := range ends {
		if p != nil {
			err = errors.Join(err, p.wait())
			peak += p.peak
		}
	}
	return peak, err
}

// tail keeps the end of what is written to it, from any goroutine.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(text), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
