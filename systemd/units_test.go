package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnits: the examples say what the program does.
func TestUnits(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"pgdrover.service", "pgdrover@.service"} {
		text := read(t, file)
		for _, line := range []string{"Type=notify-reload", "WatchdogSec=", "KillMode=mixed", "TimeoutStopSec=150",
			"ExecStart=/usr/local/bin/pgdrover --config /etc/pgdrover/pgdog.toml --users /etc/pgdrover/users.toml"} {
			if !strings.Contains(text, "\n"+line) {
				t.Errorf("%s has no %s", file, line)
			}
		}
	}
	if !strings.Contains(read(t, "pgdrover.socket"), "\nListenStream=0.0.0.0:6432\n") {
		t.Error("pgdrover.socket does not listen at the default port")
	}
}

// TestUnitsAreValid asks systemd itself, where it is.
func TestUnitsAreValid(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	directory := t.TempDir()
	for _, file := range []string{"pgdrover.service", "pgdrover@.service", "pgdrover.socket"} {
		text := strings.ReplaceAll(read(t, file), "/usr/local/bin/pgdrover", "/bin/true") // it looks for it
		if err := os.WriteFile(filepath.Join(directory, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", filepath.Join(directory, "pgdrover.socket"),
		filepath.Join(directory, "pgdrover@a.service")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Unknown") {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
