package schema

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// manual is the table "Conflicting Lock Modes" as the manual prints it: rows
// are the requested mode, columns the existing one, both weakest first.
var manual = []string{
	".......X", // ACCESS SHARE
	"......XX", // ROW SHARE
	"....XXXX", // ROW EXCLUSIVE
	"...XXXXX", // SHARE UPDATE EXCLUSIVE
	"..XX.XXX", // SHARE
	"..XXXXXX", // SHARE ROW EXCLUSIVE
	".XXXXXXX", // EXCLUSIVE
	"XXXXXXXX", // ACCESS EXCLUSIVE
}

func TestLockConflictsAreTheManuals(t *testing.T) {
	t.Parallel()
	for i, row := range manual {
		requested := AccessShare + LockMode(i)
		for j, mark := range row {
			existing := AccessShare + LockMode(j)
			if got, want := requested.Conflicts(existing), mark == 'X'; got != want {
				t.Errorf("%s conflicts with %s: %t, want %t", requested, existing, got, want)
			}
			if requested.Conflicts(existing) != existing.Conflicts(requested) {
				t.Errorf("the conflict of %s and %s is not symmetric", requested, existing)
			}
		}
		if requested.Conflicts(NoLock) || NoLock.Conflicts(requested) {
			t.Errorf("%s conflicts with no lock at all", requested)
		}
	}
	if NoLock.Conflicts(NoLock) || NoLock.String() != "" {
		t.Errorf("no lock: conflicts with itself or is called %q", NoLock)
	}
}

// TestLockConflictsAreTheServers asks a server about every pair of modes; it
// also proves that the names are what LOCK TABLE takes.
func TestLockConflictsAreTheServers(t *testing.T) {
	t.Parallel()
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	d.Exec(t, `CREATE TABLE locked ()`)
	holder, asker := d.Connect(t), d.Connect(t)
	for held := AccessShare; held <= AccessExclusive; held++ {
		tx, err := holder.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "LOCK TABLE locked IN "+held.String()+" MODE"); err != nil {
			t.Fatal(err)
		}
		for asked := AccessShare; asked <= AccessExclusive; asked++ {
			err := pgx.BeginFunc(t.Context(), asker, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "LOCK TABLE locked IN "+asked.String()+" MODE NOWAIT")
				return err
			})
			refused := pgerror.Code(err) == pgerror.LockNotAvailable
			if err != nil && !refused {
				t.Fatal(err)
			}
			if refused != asked.Conflicts(held) {
				t.Errorf("%s while %s is held: the server refuses: %t, Conflicts: %t", asked, held, refused, asked.Conflicts(held))
			}
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStatementStates(t *testing.T) {
	t.Parallel()
	// What may follow what, a row for each state: pending, running, done,
	// existed, failed.
	allowed := map[State]string{
		StatePending: ".X.XX",
		StateRunning: "X.X.X",
		StateDone:    ".....",
		StateExisted: ".....",
		StateFailed:  "X....",
	}
	states := States()
	if len(states) != len(allowed) {
		t.Fatalf("States lists %v", states)
	}
	for _, from := range states {
		for i, to := range states {
			got, err := from.To(to)
			if want := allowed[from][i] == 'X'; want != (err == nil) {
				t.Errorf("%s to %s: error %v, allowed %t", from, to, err, want)
			}
			if err == nil && got != to || err != nil && got != from {
				t.Errorf("%s to %s gives %s", from, to, got)
			}
			if err != nil && (!strings.Contains(err.Error(), string(from)) || !strings.Contains(err.Error(), string(to))) {
				t.Errorf("the error does not name both states: %v", err)
			}
		}
	}
}
