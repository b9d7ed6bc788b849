package applications

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// tool prepares a program of PostgreSQL's for a database of the site.
func (s *site) tool(t *testing.T, database, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.database.Cluster.Installation().BinDir, name), args...)
	if _, err := os.Stat(cmd.Path); err != nil {
		t.Skipf("%s is not installed: %v", name, err)
	}
	cmd.Env = s.environment(database)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience
	return cmd
}

// run runs a program that has to succeed and gives what it wrote.
func (s *site) run(t *testing.T, database, name string, args ...string) string {
	t.Helper()
	out, err := s.tool(t, database, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestReplication has PostgreSQL's programs back up, dump and replicate through
// session mode, and be refused in the others.
func TestReplication(t *testing.T) {
	t.Parallel()
	onlyAsked(t)
	d := postgresOf(t)
	d.Exec(t, "CREATE TABLE item (id int PRIMARY KEY, t text)")
	d.Exec(t, "INSERT INTO item SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i")
	s := open(t, plan{database: d, names: map[string]config.PoolerMode{
		"session": config.ModeSession, "transaction": config.ModeTransaction,
		"replication": config.ModeSession, // what programs of physical replication ask for
	}})
	t.Run("pg_dump", func(t *testing.T) {
		for _, mode := range []string{"session", "transaction"} {
			if out := s.run(t, mode, "pg_dump", "--serializable-deferrable"); strings.Count(out, strings.Repeat("x", 500)) != 2000 {
				t.Errorf("%s mode: the dump has %d bytes", mode, len(out))
			}
		}
		dir := filepath.Join(t.TempDir(), "dump") // several connections share a snapshot
		s.run(t, "session", "pg_dump", "--format=directory", "--jobs=3", "--file="+dir)
		target := d.Cluster.CreateDatabase(t)
		other := open(t, plan{database: target})
		other.run(t, "session", "pg_restore", "--jobs=3", "--dbname=session", dir)
		if n := pgtest.Value[int](t, target, "SELECT count(*) FROM item"); n != 2000 {
			t.Errorf("%d rows are restored", n)
		}
	})
	t.Run("pg_basebackup", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "backup") // a second connection streams WAL
		s.run(t, "replication", "pg_basebackup", "--pgdata="+dir, "--checkpoint=fast", "--wal-method=stream", "--no-sync")
		s.run(t, "replication", "pg_verifybackup", dir)
	})
	t.Run("pg_receivewal", func(t *testing.T) {
		dir := t.TempDir()
		s.run(t, "replication", "pg_receivewal", "--slot=wal", "--create-slot")
		stop := s.start(t, "replication", "pg_receivewal", "--slot=wal", "--directory="+dir, "--no-sync")
		d.WaitUntil(t, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'wal' AND active)")
		d.Exec(t, "INSERT INTO item VALUES (-1, 'wal')")
		d.Exec(t, "SELECT pg_switch_wal()")
		pgtest.Eventually(t, "a segment is there", func(context.Context) (bool, error) {
			found, err := filepath.Glob(filepath.Join(dir, "????????????????????????"))
			return len(found) > 0, err
		})
		stop()
		s.run(t, "replication", "pg_receivewal", "--slot=wal", "--drop-slot")
	})
	t.Run("pg_recvlogical", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "changes")
		args := []string{"--dbname=session", "--slot=logical", "--plugin=pgoutput", "-o", "proto_version=1", "-o", "publication_names=p"}
		d.Exec(t, "CREATE PUBLICATION p FOR ALL TABLES")
		s.run(t, "session", "pg_recvlogical", append(args, "--create-slot")...)
		stop := s.start(t, "session", "pg_recvlogical", append(args, "--start", "--file="+file, "--status-interval=1", "--fsync-interval=1")...)
		d.Exec(t, "INSERT INTO item VALUES (-2, 'a change that is streamed')")
		pgtest.Eventually(t, "the change is there", func(context.Context) (bool, error) {
			text, err := os.ReadFile(file)
			return strings.Contains(string(text), "a change that is streamed"), ignoreMissing(err)
		})
		stop()
		s.run(t, "session", "pg_recvlogical", append(args, "--drop-slot")...)
		args[0] = "--dbname=transaction"
		if out, err := s.tool(t, "transaction", "pg_recvlogical", append(args, "--create-slot")...).CombinedOutput(); err == nil || !strings.Contains(string(out), "pooler_mode") {
			t.Errorf("in transaction mode: %v\n%s", err, out)
		}
	})
	t.Run("subscription", func(t *testing.T) {
		subscribe(t, s, d)
	})
	s.balanced(t)
}

func ignoreMissing(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// start starts a program that runs until stop interrupts it, which it has to take
// well.
func (s *site) start(t *testing.T, database, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := s.tool(t, database, name, args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Errorf("stop %s: %v", name, err)
		}
		timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, said.String())
		}
	}
}

// subscribe has another server subscribe through the proxy, and the publisher
// restart.
func subscribe(t *testing.T, s *site, d *pgtest.Database) {
	subscriber := pgtest.Shared(t, 0).CreateDatabase(t)
	subscriber.Exec(t, "CREATE TABLE item (id int PRIMARY KEY, t text)")
	subscriber.Exec(t, "ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
	if err := subscriber.Cluster.Reload(); err != nil {
		t.Fatal(err)
	}
	subscriber.Exec(t, fmt.Sprintf("CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=%d user=%s password=%s dbname=session' PUBLICATION p", s.port, d.Cluster.Superuser(), password))
	defer subscriber.Exec(t, "DROP SUBSCRIPTION sub")
	n := pgtest.Value[int](t, d, "SELECT count(*) FROM item")
	subscriber.WaitUntil(t, "SELECT count(*) = $1 FROM item", n)
	d.Exec(t, "UPDATE item SET t = 'changed' WHERE id BETWEEN 1 AND 100")
	subscriber.WaitUntil(t, "SELECT count(*) = 100 FROM item WHERE t = 'changed'")
	d.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
	d.Exec(t, "DELETE FROM item WHERE id BETWEEN 1 AND 50")
	subscriber.WaitUntil(t, "SELECT count(*) = 50 FROM item WHERE t = 'changed'")
}
