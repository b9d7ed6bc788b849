package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
)

func TestParseVersion(t *testing.T) {
	tests := []struct {
		output  string
		version string
		rank    release
	}{
		{"pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "15.18 (Debian 15.18-0+deb12u1)", release{15, stageReleased, 18}},
		{"pg_dump (PostgreSQL) 17.2\n", "17.2", release{17, stageReleased, 2}},
		{"pg_dump (PostgreSQL) 17beta1", "17beta1", release{17, 2, 1}},
		{"pg_dump (PostgreSQL) 18rc2\n", "18rc2", release{18, 3, 2}},
		{"pg_dump (PostgreSQL) 19alpha1\n", "19alpha1", release{19, 1, 1}},
		{"pg_dump (PostgreSQL) 18devel\n", "18devel", release{18, 0, 0}},
		{"pg_dump (PostgreSQL) 9.6.24\n", "9.6.24", release{9, stageReleased, 6}},
		{"pg_dump (EnterpriseDB) 16.1.0\n", "16.1.0", release{16, stageReleased, 1}},
		{"a warning of the loader\npg_dump (PostgreSQL) 16.1\n", "16.1", release{16, stageReleased, 1}},
	}
	for _, tt := range tests {
		version, rank, ok := parseVersion(tt.output)
		if !ok || version != tt.version || rank != tt.rank {
			t.Errorf("%q: %q, %v, %t", tt.output, version, rank, ok)
		}
	}
	for _, output := range []string{"", "psql (PostgreSQL) 15.1", "pg_dumpall (PostgreSQL) 15.1", "pg_dump 15", "pg_dump (PostgreSQL) x", "xpg_dump (PostgreSQL) 15.1"} {
		if version, _, ok := parseVersion(output); ok {
			t.Errorf("%q is taken for %q", output, version)
		}
	}
	ordered := []release{{18, 0, 0}, {18, 1, 1}, {18, 2, 1}, {18, 2, 3}, {18, 3, 1}, {18, stageReleased, 0}, {18, stageReleased, 4}, {19, 0, 0}}
	for i := range len(ordered) - 1 {
		if !ordered[i].before(ordered[i+1]) || ordered[i+1].before(ordered[i]) {
			t.Errorf("%v and %v", ordered[i], ordered[i+1])
		}
	}
}

// program writes an executable that answers --version with output.
func program(t *testing.T, path, script string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func versionScript(version string) string {
	return fmt.Sprintf("echo 'pg_dump (PostgreSQL) %s'", version)
}

func TestSearch(t *testing.T) {
	root := t.TempDir()
	at := func(parts ...string) string { return filepath.Join(append([]string{root}, parts...)...) }
	program(t, at("pg", "15", "bin", "pg_dump"), versionScript("15.18"))
	program(t, at("pg", "17", "bin", "pg_dump"), versionScript("17.2"))
	program(t, at("pg", "9.6", "bin", "pg_dump"), versionScript("9.6.24"))
	program(t, at("share", "pg_wrapper"), "exit 1")
	program(t, at("broken", "pg_dump"), "echo oops >&2; exit 3")
	program(t, at("other", "pg_dump"), "echo something else")
	plain := program(t, at("plain", "pg_dump"), "")
	for _, err := range []error{
		os.Chmod(plain, 0o644), os.Mkdir(at("usrbin"), 0o755), os.Mkdir(at("linked"), 0o755), os.Mkdir(at("empty"), 0o755),
		os.Symlink(at("share", "pg_wrapper"), at("usrbin", "pg_dump")),
		os.Symlink(at("pg", "17", "bin", "pg_dump"), at("linked", "pg_dump")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := []string{".", "", at("usrbin"), at("linked"), at("plain"), at("broken"), at("other"), at("empty"), at("missing")}
	finding, err := findIn(t.Context(), searchPaths(path, []string{at("pg", "*", "bin")}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range finding.Candidates {
		relative, _ := filepath.Rel(root, c.Path)
		got = append(got, fmt.Sprintf("%s|%d|%s|%s", relative, c.Major, c.Version, c.Problem))
	}
	want := []string{
		"usrbin/pg_dump|0||Debian's wrapper, which runs the one of some cluster's version; the real ones are looked at themselves",
		"pg/17/bin/pg_dump|17|17.2|",
		"plain/pg_dump|0||not an executable file",
		"broken/pg_dump|0||--version fails: exit status 3",
		`other/pg_dump|0||not pg_dump: --version answers "something else"`,
		"pg/15/bin/pg_dump|15|15.18|",
		"pg/9.6/bin/pg_dump|9|9.6.24|too old: pg_dump 10 or newer is needed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	best, err := Choose(finding, []Need{{15, "a"}})
	if err != nil || best.Major != 17 {
		t.Errorf("%v, %v", best, err)
	}
}

func TestFindConfigured(t *testing.T) {
	root := t.TempDir()
	good := program(t, filepath.Join(root, "good"), versionScript("16.1"))
	notExecutable := program(t, filepath.Join(root, "plain"), "")
	if err := os.Chmod(notExecutable, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, problem string }{
		{"missing", filepath.Join(root, "missing"), "there is no such file"},
		{"directory", root, "it is a directory"},
		{"not executable", notExecutable, "the file is not executable"},
		{"not on PATH", "no-such-program-anywhere", "there is no such program on PATH"},
		{"not pg_dump", program(t, filepath.Join(root, "psql"), "echo 'psql (PostgreSQL) 16.1'"), `not pg_dump: --version answers "psql (PostgreSQL) 16.1"`},
		{"fails", program(t, filepath.Join(root, "fails"), "exit 2"), "--version fails: exit status 2"},
		{"too old", program(t, filepath.Join(root, "old"), versionScript("9.6.24")), "too old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			finding, err := Find(t.Context(), tt.path)
			if finding.Configured != tt.path {
				t.Errorf("configured %q", finding.Configured)
			}
			if e := pgerror.From(err); e == nil || e.Code != pgerror.UndefinedFile || !strings.Contains(e.Message, tt.problem) ||
				!strings.Contains(e.Message, tt.path) || !strings.Contains(e.Hint, "pg_dump_path") {
				t.Errorf("%+v", e)
			}
		})
	}
	finding, err := Find(t.Context(), good)
	if err != nil || len(finding.Candidates) != 1 || finding.Candidates[0].Path != good || finding.Candidates[0].Major != 16 {
		t.Fatalf("%+v, %v", finding, err)
	}
	_, err = Choose(finding, []Need{{15, `"prod" shard 0`}, {17, `"prod_new" shard 1`}})
	e := pgerror.From(err)
	if e == nil || e.Code != pgerror.UndefinedFile || !strings.Contains(e.Message, "pg_dump 17 or newer is needed, and the configured one is older") {
		t.Fatalf("%+v", e)
	}
	want := "Found:\n  " + good + ": 16.1\nNeeded:\n  15 by \"prod\" shard 0\n  17 by \"prod_new\" shard 1"
	if e.Detail != want || !strings.Contains(e.Hint, "apt-get install postgresql-client-17") {
		t.Errorf("detail:\n%s\nhint: %s", e.Detail, e.Hint)
	}
}

func TestFindEndsWithContext(t *testing.T) {
	path := program(t, filepath.Join(t.TempDir(), "pg_dump"), "exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, path); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The environment of whoever starts pgdrover does not change what is found.
func TestFindAsksWithCleanEnvironment(t *testing.T) {
	t.Setenv("PGCLUSTER", "9.6/main")
	path := program(t, filepath.Join(t.TempDir(), "pg_dump"), `[ -z "$PGCLUSTER" ] && [ -n "$PGHOST" ] && `+versionScript("16.1"))
	if _, err := Find(t.Context(), path); err != nil {
		t.Error(err)
	}
}

func TestChoose(t *testing.T) {
	candidate := func(version, problem string) Candidate {
		text, rank, ok := parseVersion("pg_dump (PostgreSQL) " + version)
		if !ok {
			t.Fatal(version)
		}
		return Candidate{Binary: Binary{Path: "/" + version, Major: rank.major, Version: text, rank: rank}, Problem: problem}
	}
	all := Finding{Candidates: []Candidate{
		candidate("15.3", ""), candidate("17.1", ""), candidate("17.4", ""), candidate("16.9", ""), candidate("18beta1", ""), candidate("19.1", "broken"),
	}}
	tests := []struct {
		name    string
		finding Finding
		needs   []Need
		want    string
	}{
		{"newest", all, []Need{{15, "a"}, {14, "b"}}, "/17.4"},
		{"exact", all, []Need{{17, "a"}}, "/17.4"},
		{"only a beta is new enough", all, []Need{{17, "a"}, {18, "b"}}, "/18beta1"},
		{"no need", all, nil, "/17.4"},
		{"unusable does not count", all, []Need{{19, "a"}}, ""},
		{"nothing found", Finding{}, []Need{{15, "a"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Choose(tt.finding, tt.needs)
			if got.Path != tt.want || (err == nil) != (tt.want != "") {
				t.Fatalf("%q, %v", got.Path, err)
			}
			if err != nil {
				e := pgerror.From(err)
				if e.Code != pgerror.UndefinedFile || !strings.Contains(e.Detail, " by a") || !strings.Contains(e.Hint, "pg_dump_path") {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}
