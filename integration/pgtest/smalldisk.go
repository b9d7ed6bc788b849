package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgdrover/pgdrover/pgcluster/tempdir"
)

// SmallDisk gives a directory on a file system of size bytes, in parent ("" for
// the temporary directory). Writing more fails with ENOSPC, which PostgreSQL
// reports as SQLSTATE 53100. It is a tmpfs: where it cannot be mounted (not
// root, a container that forbids it) the test is skipped.
func SmallDisk(tb testing.TB, parent string, size int64) string {
	tb.Helper()
	dir, err := tempdir.New(parent, "pgdrover-disk-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := dir.Remove(); err != nil {
			tb.Errorf("remove the small disk: %v", err)
		}
	})
	if err := dir.Mount(size); err != nil {
		tb.Skipf("a full disk cannot be simulated here: %v", err)
	}
	return dir.Path()
}

// SmallTablespace makes a tablespace on a disk of size bytes and gives its
// name. A database made with CreateDatabase(tb, "TABLESPACE "+name) has all its
// relations there (some 8 MB to begin with), while WAL has room elsewhere: so
// statements fail with 53100 and the server lives on.
func (c *Cluster) SmallTablespace(tb testing.TB, size int64) string {
	tb.Helper()
	disk := SmallDisk(tb, filepath.Dir(c.SocketDir()), size)
	location := filepath.Join(disk, "tablespace")
	if err := os.Mkdir(location, 0o700); err != nil {
		tb.Fatal(err)
	}
	owner, err := os.Stat(c.DataDir())
	if err != nil {
		tb.Fatal(err)
	}
	stat := owner.Sys().(*syscall.Stat_t)
	if err := os.Chown(location, int(stat.Uid), int(stat.Gid)); err != nil {
		tb.Fatal(err)
	}
	name := fmt.Sprintf("small_disk_%d", databases.Add(1))
	location = strings.TrimPrefix(location, c.Installation().Root)
	postgres := c.Database("postgres")
	postgres.Exec(tb, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", name, strings.ReplaceAll(location, "'", "''")))
	tb.Cleanup(func() {
		if err := postgres.TryExec(context.Background(), "DROP TABLESPACE "+name); err != nil {
			tb.Errorf("drop the tablespace of the small disk: %v", err)
		}
	})
	return name
}
