package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pgdrover/pgdrover/integration/ledger"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// shopEntry begins the entry of a mirror "shop".
const shopEntry = "\n[[mirrors]]\nname = \"shop\"\nautostart = true\nsource = \"prod\"\ndestination = \"prod_new\"\n"

// configured serves a mirror that the configuration has.
type configured struct {
	*running
	source, destination *pgtest.Database
	m                   *mirror.Manager // which only looks
	head                string          // the file without the mirror
}

func newConfigured(t *testing.T, entry string) *configured {
	c := &configured{}
	c.source, c.destination = fresh(t, pairRows)
	c.source.Exec(t, "CREATE PUBLICATION other_tables FOR TABLE items")
	s := between(c.source, c.destination)
	s.extra = entry
	c.running, c.m = serve(t, s), s.manager(t)
	wanted(t, c.m, "shop", mirror.MirrorRunning)
	text, err := os.ReadFile(c.paths.Config)
	if err != nil {
		t.Fatal(err)
	}
	c.head, _, _ = strings.Cut(string(text), shopEntry)
	return c
}

// write writes the file with another end.
func (c *configured) write(tb testing.TB, rest string) {
	tb.Helper()
	if err := os.WriteFile(c.paths.Config, []byte(c.head+rest), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// stands waits until SHOW MIRRORS tells how the mirror stands to its entry.
func (c *configured) stands(tb testing.TB, want string) {
	tb.Helper()
	pgtest.Eventually(tb, "SHOW MIRRORS has entry "+want, func(context.Context) (bool, error) {
		return c.table(tb, "SHOW MIRRORS")[0]["entry"] == want, nil
	})
}

// settles waits until workers, group_rows and drift.validation are recorded so.
func (c *configured) settles(tb testing.TB, want string) {
	tb.Helper()
	c.destination.WaitUntil(tb, "SELECT concat_ws(' ', definition::json->>'workers', definition::json->>'group_rows', definition::json#>>'{drift,validation}') = $1 FROM pgdrover.mirrors", want)
}

// TestConfiguredMirrorChanges changes an entry of [[mirrors]]: RELOAD takes over
// what can be, and tells of what cannot, with the command that does it.
func TestConfiguredMirrorChanges(t *testing.T) {
	pgtest.Long(t)
	t.Parallel()
	c := newConfigured(t, shopEntry+"publication = \"all_tables\"\nworkers = 2\n")
	c.stands(t, "same")
	c.settles(t, "2")
	before := mirrorNamed(t, c.m, "shop").Task
	c.write(t, shopEntry+"publication = \"all_tables\"\nworkers = 3\ndrift = { validation = \"permissive\" }\n")
	c.psql(t, "-c", "RELOAD").expect(t, 0, `NOTICE:  mirror "shop" is altered as [[mirrors]] has changed: workers 2 -> 3, drift.validation`, "its task is started anew")
	c.settles(t, "3 permissive")
	c.stands(t, "same")
	pgtest.Eventually(t, "another task goes on", func(context.Context) (bool, error) { return mirrorNamed(t, c.m, "shop").Task > before, nil })
	wanted(t, c.m, "shop", mirror.MirrorRunning)

	// What tables are at the destination, and between whom the mirror is, is told.
	c.destination.Exec(t, "CREATE TABLE said (note text, at timestamptz)")
	const mapped = "publication = \"all_tables\"\nworkers = 3\ndrift = { validation = \"permissive\" }\n[[mirrors.tables]]\nname = \"notes\"\ndestination_name = \"said\"\n"
	c.write(t, shopEntry+mapped)
	const command = `ALTER MIRROR "shop" SET (TABLE "public"."notes" AS "said");`
	c.psql(t, "-c", "RELOAD").expect(t, 0, `WARNING:  mirror "shop" differs from its entry of [[mirrors]], and is left as it is: `, "TABLE public.notes", "copied again", command)
	c.psql(t, "-c", "RELOAD").expect(t, 0, command)
	c.stands(t, "differs: TABLE public.notes")
	changed(t, c.source, 1)
	ledger.CaughtUp(t, c.source, appliedOf(c.m, "shop"))
	sameRows(t, c.source, c.destination)
	c.psql(t, "-c", command).expect(t, 0)
	c.stands(t, "same")
	pgtest.Eventually(t, "the table is where the file wants it", func(context.Context) (bool, error) {
		return fmt.Sprint(c.source.Rows(t, "SELECT * FROM notes ORDER BY 1, 2")) == fmt.Sprint(c.destination.Rows(t, "SELECT * FROM said ORDER BY 1, 2")), nil
	})
	c.write(t, shopEntry+strings.Replace(mapped, "all_tables", "other_tables", 1))
	o := c.psql(t, "-c", "RELOAD").expect(t, 0, `WARNING:  mirror "shop" is between others than its entry of [[mirrors]] says: publication all_tables -> other_tables`, "DROP MIRROR")
	if strings.Contains(o.err, "is left as it is") {
		t.Errorf("what was altered by command is told as not taken over:\n%s", o.err)
	}
	c.write(t, "")
	c.psql(t, "-c", "RELOAD").expect(t, 0, `WARNING:  mirror "shop" is in [[mirrors]] no more, and stays as it is`, `DROP MIRROR "shop";`)
	c.stands(t, "gone")
	wanted(t, c.m, "shop", mirror.MirrorRunning)
	if s := slots(t, c.source); len(s) != 1 {
		t.Errorf("the slots are %v", s)
	}
}

// TestConfiguredMirrorTakenOver takes a changed entry over by a signal and by a
// restart. What was altered by command, and not in the file, stays.
func TestConfiguredMirrorTakenOver(t *testing.T) {
	t.Parallel()
	pgtest.Long(t)
	c := newConfigured(t, shopEntry+"publication = \"all_tables\"\nworkers = 2\n")
	c.rows(t, "ALTER MIRROR shop SET (group_rows = 7)")
	c.stands(t, "differs: group_rows")
	c.write(t, shopEntry+"publication = \"all_tables\"\nworkers = 4\n")
	c.signal(t, syscall.SIGHUP)
	c.settles(t, "4 7")
	c.signal(t, syscall.SIGTERM)
	c.exitCode(t)
	c.write(t, strings.Replace(shopEntry, "autostart = true\n", "", 1)+"publication = \"all_tables\"\nworkers = 5\n")
	c.running = c.serveAgain(t)
	c.settles(t, "5 7")
	wanted(t, c.m, "shop", mirror.MirrorRunning)
	c.stands(t, "differs: group_rows")
	c.signal(t, syscall.SIGTERM)
	c.exitCode(t)
	c.write(t, "")
	c.running = c.serveAgain(t)
	c.logs(t, "is in [[mirrors]] no more")
	c.stands(t, "gone")
	changed(t, c.source, 2)
	ledger.CaughtUp(t, c.source, appliedOf(c.m, "shop"))
	sameRows(t, c.source, c.destination)
}
