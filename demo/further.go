package demo

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/pgcluster"
)

// suggestion is a line to go on with.
type suggestion struct{ line, why string }

// further is what to try next, while everything stays up.
func (d *demo) further() string {
	on := func(cluster *pgcluster.Cluster, database, sql string) suggestion {
		return suggestion{line: fmt.Sprintf(`psql "host=127.0.0.1 port=%d user=%s dbname=%s password=%s" -c '%s'`,
			cluster.Port(), cluster.Superuser(), database, d.serverPassword, sql)}
	}
	mirror := mirrorOf(unsharded)
	var b strings.Builder
	section := func(title string, suggestions ...suggestion) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, s := range suggestions {
			if s.why == "" {
				fmt.Fprintf(&b, "  %s\n", s.line)
			} else {
				fmt.Fprintf(&b, "  %-46s %s\n", s.line, s.why)
			}
		}
	}
	section("All of it stays up, and the customers go on. In another terminal:", suggestion{d.psql(), ""})
	section("There, for example:",
		suggestion{`SHOW MIRRORS \watch 1`, "how far behind; Ctrl-C ends it"},
		suggestion{"SHOW MIRROR " + mirror + ";", "its tables, their states, what stopped them"},
		suggestion{"SHOW SCHEMA_SYNC;", "every statement on every shard"},
		suggestion{"SHOW HELP;", "all commands"},
		suggestion{`\x auto`, "wide results, a column on each line"},
	)
	section("Take a row away behind its back, and change it on the source:",
		on(d.destination, unshardedDatabase, "DELETE FROM shop.addresses WHERE id = 1"),
		on(d.source, sourceDatabase, "UPDATE shop.addresses SET is_default = false WHERE id = 1"),
		suggestion{"SHOW MIRROR " + mirror + ";", "addresses is stopped: LSN, key, way out. The others go on"},
		suggestion{"RESYNC " + mirror + " shop.addresses;", "the way out: it is copied again, and joins the others"},
	)
	section("Alter a table. Nobody said that the mirror may follow, so the table is stopped before a row is lost, and its changes are kept:",
		on(d.source, sourceDatabase, `ALTER TABLE shop.reviews ADD COLUMN helpful int NOT NULL DEFAULT 0`),
		suggestion{"SHOW MIRROR " + mirror + ";", "reviews is stopped, with the ways out; the others go on"},
		suggestion{"SYNC_SCHEMA " + mirror + " DRY RUN;", "what would be run, which locks it takes, and for how long"},
		suggestion{"SYNC_SCHEMA " + mirror + ";", "runs it; reviews goes on where it was"},
	)
	section("Make a table. The publication is FOR ALL TABLES, so it is copied and joins:",
		on(d.source, sourceDatabase, "CREATE TABLE shop.wishes (id bigint PRIMARY KEY, wish text); INSERT INTO shop.wishes SELECT i, md5(i::text) FROM generate_series(1, 100) i"),
		on(d.destination, unshardedDatabase, "SELECT count(*) FROM shop.wishes"),
	)
	section("Be an application: connect to pgdrover as if it were PostgreSQL.",
		suggestion{fmt.Sprintf(`psql "host=127.0.0.1 port=%d user=%s dbname=%s password=%s"`, d.port, d.source.Superuser(), source, d.serverPassword), ""},
		suggestion{"PAUSE " + source + ";", "in the admin database: open transactions end, then the application waits"},
		suggestion{"SHOW CLIENTS; SHOW POOLS;", "who waits"},
		suggestion{"RESUME " + source + ";", "and goes on"},
	)
	section("Stop, go on, and end it for good:",
		suggestion{"STOP_TASK 1;", "the slot stays, and keeps the source's WAL"},
		suggestion{copyCommand(unsharded), "goes on where it was"},
		suggestion{"DROP MIRROR " + mirror + ";", "stops it, drops its slot and its state; the rows stay"},
	)
	b.WriteString("\nCtrl-C here, or SHUTDOWN; there, removes everything.\n")
	return b.String()
}
