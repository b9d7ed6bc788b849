package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// oldestMajor is the oldest pg_dump that is used: it can dump every server that
// has logical replication.
const oldestMajor = 10

// versionTimeout bounds one `pg_dump --version`.
const versionTimeout = 10 * time.Second

// binaryPlaces are where packages put pg_dump beside PATH.
var binaryPlaces = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // Red Hat, PGDG
	"/usr/lib/postgresql*/bin",                           // SUSE
	"/usr/libexec/postgresql*",                           // Alpine
	"/usr/local/pgsql/bin",                               // built from source
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew, ARM
	"/opt/homebrew/opt/libpq/bin",                        //
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/usr/local/opt/libpq/bin",                           //
	"/Applications/Postgres.app/Contents/Versions/*/bin", //
}

// Binary is one pg_dump that answers.
type Binary struct {
	Path    string // absolute, symbolic links resolved
	Major   int    // 17
	Version string // "17.2 (Debian 17.2-1.pgdg120+1)"

	rank release
}

// Candidate is one file that was looked at.
type Candidate struct {
	Binary         // zero but for Path if it does not answer
	Problem string // why it cannot be used; "" if it can
}

// Finding is what Find looked at.
type Finding struct {
	Configured string      // the configured path, "" if none
	Candidates []Candidate // in the order in which they were found
}

// Find looks at the configured pg_dump, or, if configured is "", at every
// pg_dump on PATH and where packages put it. A configured path without a slash
// is looked up on PATH. A configured pg_dump that cannot be used is an error
// 58P01; that nothing was found is not: Choose reports it, with what was needed.
func Find(ctx context.Context, configured string) (Finding, error) {
	if configured == "" {
		paths := searchPaths(filepath.SplitList(os.Getenv("PATH")), binaryPlaces)
		return findIn(ctx, paths)
	}
	finding := Finding{Configured: configured}
	path, err := exec.LookPath(configured)
	if err != nil {
		return finding, notUsable(configured, lookupProblem(configured, err))
	}
	candidate, err := examine(ctx, path)
	if err != nil {
		return finding, err
	}
	finding.Candidates = []Candidate{candidate}
	if candidate.Problem != "" {
		return finding, notUsable(configured, candidate.Problem)
	}
	return finding, nil
}

func notUsable(configured, problem string) error {
	return pgerror.New(pgerror.UndefinedFile, "the configured pg_dump %q cannot be used: %s", configured, problem).
		WithHint("correct [replication] pg_dump_path in pgdog.toml, or remove it to use the newest pg_dump found")
}

// lookupProblem says in an operator's words why there is nothing to run.
func lookupProblem(path string, err error) string {
	switch info, statErr := os.Stat(path); {
	case errors.Is(err, exec.ErrNotFound):
		return "there is no such program on PATH"
	case errors.Is(statErr, os.ErrNotExist):
		return "there is no such file"
	case statErr == nil && info.IsDir():
		return "it is a directory"
	case statErr == nil && info.Mode()&0o111 == 0:
		return "the file is not executable"
	}
	return err.Error()
}

// searchPaths gives the files named pg_dump of PATH's directories and of
// places, each real file once.
func searchPaths(directories, places []string) []string {
	for _, place := range places {
		matches, _ := filepath.Glob(place) // the patterns are constants
		directories = append(directories, matches...)
	}
	var paths []string
	seen := make(map[string]bool)
	for _, directory := range directories {
		if !filepath.IsAbs(directory) {
			continue // what "." holds depends on where the program was started
		}
		path := filepath.Join(directory, "pg_dump")
		real, err := filepath.EvalSymlinks(path)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		paths = append(paths, path)
	}
	return paths
}

func findIn(ctx context.Context, paths []string) (Finding, error) {
	var finding Finding
	for _, path := range paths {
		if isDebianWrapper(path) {
			finding.Candidates = append(finding.Candidates, Candidate{
				Binary:  Binary{Path: path},
				Problem: "Debian's wrapper, which runs the one of some cluster's version; the real ones are looked at themselves",
			})
			continue
		}
		candidate, err := examine(ctx, path)
		if err != nil {
			return finding, err
		}
		finding.Candidates = append(finding.Candidates, candidate)
	}
	return finding, nil
}

func isDebianWrapper(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && filepath.Base(real) == "pg_wrapper"
}

// examine asks the file at path for its version. The error is that ctx ended;
// everything else is the candidate's problem.
func examine(ctx context.Context, path string) (Candidate, error) {
	candidate := Candidate{Binary: Binary{Path: absolute(path)}}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		candidate.Problem = "not an executable file"
		return candidate, nil
	}
	limited, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	output, err := askVersion(limited, candidate.Path)
	switch {
	case ctx.Err() != nil:
		return candidate, fmt.Errorf("ask %s for its version: %w", path, context.Cause(ctx))
	case limited.Err() != nil:
		candidate.Problem = fmt.Sprintf("no answer to --version within %v", versionTimeout)
		return candidate, nil
	case err != nil:
		candidate.Problem = fmt.Sprintf("--version fails: %v", err)
		return candidate, nil
	}
	version, rank, ok := parseVersion(output)
	if !ok {
		candidate.Problem = fmt.Sprintf("not pg_dump: --version answers %q", firstLine(output))
		return candidate, nil
	}
	candidate.Major, candidate.Version, candidate.rank = rank.major, version, rank
	if rank.major < oldestMajor {
		candidate.Problem = fmt.Sprintf("too old: pg_dump %d or newer is needed", oldestMajor)
	}
	return candidate, nil
}

// askVersion runs path --version. A host in the environment makes Debian's
// wrapper, if that was configured, choose as it will when it dumps.
func askVersion(ctx context.Context, path string) (string, error) {
	var output tail
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = append(cleanEnvironment(os.LookupEnv), "PGHOST=localhost")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return output.String(), err
}

// absolute resolves symbolic links, but not those of wrappers that look at the
// name by which they were called.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && filepath.Base(real) == "pg_dump" {
		return real
	}
	return path
}

// release orders versions: 18devel < 18beta1 < 18rc1 < 18.0 < 18.4.
type release struct {
	major, stage, minor int
}

// stageReleased is the stage of versions that are not development ones.
const stageReleased = 4

var stages = map[string]int{"devel": 0, "alpha": 1, "beta": 2, "rc": 3, ".": stageReleased}

func (r release) before(other release) bool {
	if r.major != other.major {
		return r.major < other.major
	}
	if r.stage != other.stage {
		return r.stage < other.stage
	}
	return r.minor < other.minor
}

// versionLine matches "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
// Vendors put their own name in the parentheses.
var versionLine = regexp.MustCompile(`(?m)^pg_dump \([^)\n]+\) ((\d{1,4})(?:(\.|alpha|beta|rc|devel)(\d{0,6}))?[^\n]*)$`)

// parseVersion reads what pg_dump --version answers.
func parseVersion(output string) (version string, rank release, ok bool) {
	m := versionLine.FindStringSubmatch(output)
	if m == nil {
		return "", release{}, false
	}
	rank.stage = stageReleased
	if m[3] != "" {
		rank.stage = stages[m[3]]
	}
	rank.major, _ = strconv.Atoi(m[2]) // digits, checked by the pattern
	rank.minor, _ = strconv.Atoi(m[4]) // digits or empty, which is 0
	return strings.TrimSpace(m[1]), rank, true
}

func firstLine(text string) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace([]byte(text)), []byte("\n"))
	return string(line[:min(len(line), 200)])
}
