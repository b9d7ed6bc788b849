package pgcluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// RootsVariable is the environment variable that lists directories, separated
// by ':', each the root of an unpacked system with a PostgreSQL server in it
// (scripts/pg-next.sh makes one). They are used by chroot, which takes root.
const RootsVariable = "PGDROVER_PG_ROOT"

// cachedRoots is where scripts/pg-next.sh keeps its roots.
const cachedRoots = "/var/cache/pgdrover/postgresql-*"

// Installation is one set of PostgreSQL server programs.
type Installation struct {
	Major   int    // 15
	Version string // as the server gives it: "15.12 (Debian 15.12-0+deb12u2)"
	BinDir  string // the directory with postgres and initdb; inside Root if that is set
	Root    string // the directory to chroot to, "" for the machine's own
}

// String is "PostgreSQL 15.12 (…) in /usr/lib/postgresql/15/bin".
func (i Installation) String() string {
	return fmt.Sprintf("PostgreSQL %s in %s", i.Version, filepath.Join(i.Root, i.BinDir))
}

// binDirs are the places where packages put servers.
var binDirs = []string{
	"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                   // RPMs of postgresql.org
	"/usr/local/pgsql/bin",               // from source
	"/opt/homebrew/opt/postgresql@*/bin", // macOS
	"/usr/local/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/libexec/postgresql*", // Alpine
	"/usr/bin",                 // Fedora, Arch
}

// Installed finds the machine's servers: those of the known places and of PATH,
// and, for root, those of the roots in $PGDROVER_PG_ROOT and of
// scripts/pg-next.sh. Newest first; of one version the machine's own first.
// A server that does not run is left out.
func Installed() []Installation {
	var found []Installation
	seen := map[string]bool{}
	add := func(root, dir string) {
		real, err := filepath.EvalSymlinks(filepath.Join(root, dir))
		if err != nil || seen[real] {
			return
		}
		seen[real] = true
		if inst, err := inspect(root, dir); err == nil {
			found = append(found, inst)
		}
	}
	for _, pattern := range binDirs {
		for _, dir := range glob(pattern) {
			add("", dir)
		}
	}
	for _, program := range []string{"pg_config", "postgres", "initdb"} {
		if dir, err := binDirOf(program); err == nil {
			add("", dir)
		}
	}
	if os.Getuid() == 0 {
		roots := append(filepath.SplitList(os.Getenv(RootsVariable)), glob(cachedRoots)...)
		for _, root := range roots {
			for _, pattern := range binDirs {
				for _, dir := range glob(filepath.Join(root, pattern)) {
					add(filepath.Clean(root), "/"+strings.TrimPrefix(dir, filepath.Clean(root)+"/"))
				}
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Installation) int {
		return cmp.Or(cmp.Compare(b.Major, a.Major), cmp.Compare(len(a.Root), len(b.Root)))
	})
	return found
}

// Find gives the installation of a major version, 0 for the newest one of the
// machine itself (of a root when there is no other).
func Find(major int) (Installation, error) {
	installed := Installed()
	if major == 0 {
		if i := slices.IndexFunc(installed, func(i Installation) bool { return i.Root == "" }); i >= 0 {
			return installed[i], nil
		}
		if len(installed) > 0 {
			return installed[0], nil
		}
		return Installation{}, pgerror.New(pgerror.UndefinedFile, "no PostgreSQL server programs were found").
			WithDetail("Looked for postgres and initdb in PATH, %s.", strings.Join(binDirs, ", ")).
			WithHint("Install them: apt-get install postgresql postgresql-contrib (Debian, Ubuntu), dnf install postgresql-server postgresql-contrib (Fedora), brew install postgresql (macOS).")
	}
	if i := slices.IndexFunc(installed, func(i Installation) bool { return i.Major == major }); i >= 0 {
		return installed[i], nil
	}
	var names []string
	for _, i := range installed {
		names = append(names, i.String())
	}
	return Installation{}, pgerror.New(pgerror.UndefinedFile, "PostgreSQL %d was not found", major).
		WithDetail("Found: %s.", cmp.Or(strings.Join(names, "; "), "nothing")).
		WithHint("Install its packages (apt-get install postgresql-%d), or set %s to the root of a system that has them.", major, RootsVariable)
}

// glob is filepath.Glob for patterns known to be good.
func glob(pattern string) []string {
	matches, _ := filepath.Glob(pattern)
	return matches
}

// binDirOf finds the bin directory through a program in PATH.
func binDirOf(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", err
	}
	if program != "pg_config" {
		path, err = filepath.EvalSymlinks(path)
		return filepath.Dir(path), err
	}
	out, err := exec.Command(path, "--bindir").Output()
	return strings.TrimSpace(string(out)), err
}

// inspect asks the server in dir for its version.
func inspect(root, dir string) (Installation, error) {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(root, dir, program)); err != nil {
			return Installation{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "-V")
	cmd.Dir = "/"
	if root != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
	out, err := cmd.Output()
	if err != nil {
		return Installation{}, fmt.Errorf("ask %s for its version: %w", filepath.Join(root, dir), err)
	}
	version, major, err := parseVersion(string(out))
	return Installation{Major: major, Version: version, BinDir: dir, Root: root}, err
}

// parseVersion reads `postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)`;
// 18beta1 and 19devel are of majors 18 and 19.
func parseVersion(output string) (version string, major int, err error) {
	_, version, ok := strings.Cut(strings.TrimSpace(output), "(PostgreSQL) ")
	digits := len(version) - len(strings.TrimLeft(version, "0123456789"))
	major, convErr := strconv.Atoi(version[:digits])
	if !ok || convErr != nil {
		return "", 0, fmt.Errorf("not the version of a PostgreSQL server: %q", output)
	}
	return version, major, nil
}
