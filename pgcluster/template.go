package pgcluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/pgerror"
)

// fillDataDir makes an initialised data directory at data. initdb takes
// seconds, a copy of what it made takes a few hundredths: the first run leaves
// a template in the user's cache (a root's own /var/cache), later ones copy it.
// The cache may be deleted at any time.
func (o Options) fillDataDir(ctx context.Context, who account, data string) error {
	cache, err := templateCache(o.Installation)
	if err != nil {
		return o.initdb(ctx, who, data) // no cache (no HOME, read-only): slower, that is all
	}
	template := filepath.Join(cache, o.templateKey(who))
	unlock, err := lockFile(ctx, template+".lock")
	if err != nil {
		return fmt.Errorf("wait for the template of %s: %w", o.Installation, err)
	}
	defer unlock()
	if _, err := os.Stat(template); err == nil {
		return copyTree(template, data, who)
	}
	if err := o.initdb(ctx, who, data); err != nil {
		return err
	}
	// A directory under the template's own name is complete.
	partial := template + ".partial"
	err = errors.Join(os.RemoveAll(partial), copyTree(data, partial, account{}))
	if err == nil {
		err = os.Rename(partial, template)
	}
	if err != nil {
		_ = os.RemoveAll(partial) // the cache is a convenience: the cluster itself is fine
	}
	return nil
}

// templateCache is a directory that is writable by this process.
func templateCache(inst Installation) (string, error) {
	dir := filepath.Join(inst.Root, "var/cache/pgdrover")
	if inst.Root == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "pgdrover")
	}
	dir = filepath.Join(dir, "initdb")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// templateKey changes with everything that initdb's result depends on.
func (o Options) templateKey(who account) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", o.Installation.Version, o.Installation.BinDir, o.Locale, o.InitdbArgs))
	return fmt.Sprintf("%d-%d-%x", o.Installation.Major, who.uid, sum[:8])
}

// initdb makes the data directory with trust authentication; pg_hba.conf is
// written before a server ever runs on it.
func (o Options) initdb(ctx context.Context, who account, data string) error {
	args := slices.Concat([]string{"-D", inside(o.Installation.Root, data), "-U", superuser, "-A", "trust",
		"-E", "UTF8", "--locale=" + o.Locale, "--no-sync"}, o.InitdbArgs)
	if out, err := o.run(ctx, who, "", "initdb", args...); err != nil {
		return pgerror.New(pgerror.SystemError, "initdb of %s failed: %w", o.Installation, err).WithDetail("%s", out)
	}
	return nil
}

// setPassword gives the superuser its password in single-user mode, so that
// there is never a server that lets everybody in.
func (o Options) setPassword(ctx context.Context, who account, data string) error {
	sql := fmt.Sprintf("ALTER USER %s PASSWORD '%s';\n", superuser, strings.ReplaceAll(o.SuperuserPassword, "'", "''"))
	out, err := o.run(ctx, who, sql, "postgres", "--single", "-D", inside(o.Installation.Root, data),
		"-c", "log_statement=none", "-c", "log_min_error_statement=panic", "template1")
	// In single-user mode an SQL error does not change the exit status.
	if err != nil || strings.Contains(out, "ERROR:") {
		return pgerror.New(pgerror.SystemError, "set the superuser's password: %v", err).WithDetail("%s", out)
	}
	return nil
}

// run runs one of the installation's programs to its end and gives what it printed.
func (o Options) run(ctx context.Context, who account, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(o.Installation.BinDir, program), args...)
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = who.attributes(o.Installation.Root)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// environment leaves out the caller's PG* variables, which change what a server does.
func environment() []string {
	env := []string{"LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lockFile waits for an exclusive lock, which the kernel releases should this
// process die. There is no event for it, so it is tried again and again.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		}
	}
}

// copyTree copies directories and regular files, which is all that initdb
// makes, and gives them to owner. It is nearly all creating a thousand small
// files, which some file systems do slowly, so it is done on every processor.
func copyTree(from, to string, owner account) error {
	var files errgroup.Group
	files.SetLimit(runtime.GOMAXPROCS(0))
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return errors.Join(os.Mkdir(target, info.Mode().Perm()), owner.chown(target))
		case entry.Type().IsRegular():
			files.Go(func() error {
				return errors.Join(copyFile(path, target, info.Mode().Perm()), owner.chown(target))
			})
			return nil
		default:
			return fmt.Errorf("copy %s: neither a file nor a directory", path)
		}
	})
	return errors.Join(err, files.Wait())
}

// copyFile shares blocks with the original where the file system can (io.Copy
// uses copy_file_range on Linux).
func copyFile(from, to string, mode fs.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}
