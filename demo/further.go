package demo

import (
	"fmt"
	"strings"
)

// suggestion is a line to go on with.
type suggestion struct{ line, why string }

// further is what to try next, while everything stays up.
func (d *demo) further() string {
	shard := fmt.Sprintf(`psql "host=127.0.0.1 port=%d user=%s dbname=%s password=%s"`,
		d.destination.Port(), d.destination.Superuser(), shardDatabase(1), d.serverPassword)
	var b strings.Builder
	section := func(title string, suggestions ...suggestion) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, s := range suggestions {
			if s.why == "" {
				fmt.Fprintf(&b, "  %s\n", s.line)
			} else {
				fmt.Fprintf(&b, "  %-58s %s\n", s.line, s.why)
			}
		}
	}
	section("All of it stays up. Go on in another terminal:", suggestion{d.psql(), ""})
	section("There, for example:",
		suggestion{"SHOW HELP;", "all commands"},
		suggestion{`\x auto`, "wide results, a column on each line"},
		suggestion{fmt.Sprintf("SCHEMA_SYNC PRE %s %s %s DRY RUN;", source, unsharded, publication), "the statements; nothing is run"},
		suggestion{fmt.Sprintf("SCHEMA_SYNC PRE %s %s %s;", source, unsharded, publication), "to an unsharded database this time"},
		suggestion{"SHOW SCHEMA_SYNC;", "every statement on every shard"},
		suggestion{`SHOW TASKS \watch 1`, "again every second; Ctrl-C ends it"},
	)
	section("Or make a difference on shard 1, and have it found and repaired:",
		suggestion{shard + " -c 'DROP INDEX shop.reviews_customer'", ""},
		suggestion{fmt.Sprintf("SHOW SCHEMA_DIFF %s %s;", source, sharded), "names it, with the command that repairs it"},
		suggestion{fmt.Sprintf("SCHEMA_SYNC POST %s %s %s;", source, sharded, publication), "makes what is missing, and only that"},
	)
	section("Or one that nobody but you can decide about (SHOW SCHEMA_DIFF again, with \\x auto):",
		suggestion{shard + " -c 'ALTER TABLE shop.coupons ADD COLUMN note text'", ""},
		suggestion{shard + " -c 'ALTER TABLE shop.coupons DROP COLUMN note'", ""},
	)
	b.WriteString("\nCtrl-C here, or SHUTDOWN; there, removes everything.\n")
	return b.String()
}
