package pgtest

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
)

var binary struct {
	path string
	err  error
}

// Binary gives the path of the pgdrover program, built once per test binary;
// with the race detector when the tests have it.
func Binary(tb testing.TB) string {
	tb.Helper()
	process.mu.Lock()
	defer process.mu.Unlock()
	if binary.path == "" && binary.err == nil {
		dir, err := tempdir.New("", "pgdrover-test-")
		if err != nil {
			tb.Fatal(err)
		}
		atExit(tb, dir.Remove)
		binary.path, binary.err = build(dir.Path())
	}
	if binary.err != nil {
		tb.Fatal(binary.err)
	}
	return binary.path
}

func build(dir string) (string, error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	path := filepath.Join(dir, "pgdrover")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/pgdrover")...)
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(module)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build pgdrover: %w", err), errors.New(string(out)))
	}
	return path, nil
}
