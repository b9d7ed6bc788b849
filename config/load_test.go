package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write puts both files into a new directory; a file without text is left out.
func write(t *testing.T, main, users string, mode os.FileMode) Paths {
	t.Helper()
	dir := t.TempDir()
	paths := Paths{Config: filepath.Join(dir, configFile), Users: filepath.Join(dir, usersFile)}
	for path, text := range map[string]string{paths.Config: main, paths.Users: users} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	return paths
}

func TestLoad(t *testing.T) {
	t.Parallel()
	paths := write(t, oneDatabase, oneUser, 0o600)
	c, warnings, err := Load(paths, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(detail(err), warnings)
	}
	if d := c.Databases[0]; d.File != paths.Config || d.Line != 1 || c.Users[0].File != paths.Users {
		t.Errorf("places: %+v %+v", d, c.Users[0])
	}
}

func TestLoadMissingFiles(t *testing.T) {
	t.Parallel()
	paths := write(t, "", "", 0)
	c, _, err := Load(paths, nil)
	want := []string{
		fmt.Sprintf("%s: file does not exist; start with the example: cp pgdog.toml.example %s", paths.Config, paths.Config),
		fmt.Sprintf("%s: file does not exist; start with the example: cp users.toml.example %s", paths.Users, paths.Users),
	}
	if diff := cmp.Diff(want, lines(problemsOf(err))); diff != "" || c != nil {
		t.Error(diff)
	}
	// What is wrong in the other file is reported beside it, but not what
	// only follows from the file that is missing.
	paths = write(t, "", "[[users]]\nname = 1\ndatabase = \"prod\"\n", 0o600)
	if _, _, err = Load(paths, nil); len(problemsOf(err)) != 2 || !strings.Contains(detail(err), "users.toml:2: users.name: expected a string") {
		t.Error(detail(err))
	}
}

func TestLoadWhatIsNoFile(t *testing.T) {
	t.Parallel()
	paths := write(t, oneDatabase, "", 0o600)
	paths.Users = t.TempDir()
	if _, _, err := Load(paths, nil); len(problemsOf(err)) != 1 || problemsOf(err)[0].File != paths.Users {
		t.Errorf("directory: %v", err)
	}
}

func TestLoadWarnsOfExposedSecrets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	for _, test := range []struct {
		main string
		mode os.FileMode
		want []string // kinds of file warned of
	}{
		{oneDatabase, 0o600, nil},
		{oneDatabase, 0o400, nil},
		{oneDatabase, 0o640, []string{usersFile}},
		{oneDatabase, 0o604, []string{usersFile}},
		{oneDatabase, 0o644, []string{usersFile}},
		{oneDatabase + "password = \"x\"\n", 0o644, []string{configFile, usersFile}},
		{oneDatabase + "password = \"x\"\n", 0o600, nil},
	} {
		paths := write(t, test.main, oneUser, test.mode)
		_, warnings, err := Load(paths, nil)
		if err != nil {
			t.Fatal(detail(err))
		}
		var got []string
		for _, w := range warnings {
			got = append(got, filepath.Base(w.File))
			if want := fmt.Sprintf("%s: holds passwords and can be read by others than its owner (mode %04o); run: chmod 600 %s", w.File, test.mode, w.File); w.String() != want {
				t.Errorf("%q, want %q", w, want)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("mode %o: %s", test.mode, diff)
		}
	}
}
