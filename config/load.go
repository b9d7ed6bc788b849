package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// maxFileSize bounds what is read into memory; a configuration of 100,000
// users fits.
const maxFileSize = 64 << 20

// Paths are the two files.
type Paths struct {
	Config string // "pgdog.toml" if empty
	Users  string // "users.toml" if empty
}

// Load reads both files, applies the environment (os.LookupEnv, or nil for
// none) and validates. All problems are in one *Error; warnings are returned
// beside a usable Config, and beside an *Error too. Load changes nothing: a
// reload that fails leaves the caller with the Config it had.
func Load(paths Paths, lookupEnv func(string) (string, bool)) (*Config, []Problem, error) {
	if paths.Config == "" {
		paths.Config = configFile
	}
	if paths.Users == "" {
		paths.Users = usersFile
	}
	r := newReader(paths.Config, paths.Users)
	mainMode := r.open(r.main)
	usersMode := r.open(r.users)
	r.checkMode(r.users, usersMode)
	if r.mainHasSecrets() {
		r.checkMode(r.main, mainMode)
	}
	return r.finish(lookupEnv)
}

// open reads a file and gives its permissions, 0 if it could not be read.
func (r *reader) open(doc *document) fs.FileMode {
	source, mode, err := readFile(doc.name)
	switch {
	case err == nil:
		r.read(doc, source)
		return mode
	case errors.Is(err, fs.ErrNotExist):
		r.problems = append(r.problems, Problem{File: doc.name, Message: "file does not exist",
			Hint: fmt.Sprintf("start with the example: cp %s.example %s", doc.kind, doc.name)})
	case errors.Is(err, fs.ErrPermission):
		r.problems = append(r.problems, Problem{File: doc.name, Message: "file cannot be read: permission denied",
			Hint: "make the user that runs pgdrover its owner"})
	default:
		r.problems = append(r.problems, Problem{File: doc.name, Message: fmt.Sprintf("file cannot be read: %v", err)})
	}
	return 0
}

func readFile(path string) (_ []byte, mode fs.FileMode, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	source, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	if err != nil {
		return nil, 0, err
	}
	if len(source) > maxFileSize {
		return nil, 0, fmt.Errorf("it is larger than %d MiB", maxFileSize>>20)
	}
	return source, info.Mode().Perm(), nil
}

// checkMode warns of a file with secrets that others than its owner may read.
func (r *reader) checkMode(doc *document, mode fs.FileMode) {
	if runtime.GOOS == "windows" || mode&0o044 == 0 {
		return
	}
	r.warnings = append(r.warnings, Problem{File: doc.name,
		Message: fmt.Sprintf("holds passwords and can be read by others than its owner (mode %04o)", mode),
		Hint:    "run: chmod 600 " + doc.name})
}

// mainHasSecrets tells whether a password stands in pgdog.toml.
func (r *reader) mainHasSecrets() bool {
	if _, there := r.main.places["admin.password"]; there {
		return true
	}
	for _, d := range r.config.Databases {
		if d.Password != "" {
			return true
		}
	}
	return false
}
