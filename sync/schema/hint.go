package schema

import (
	"fmt"
	"strings"
)

func lower(kind string) string { return strings.ToLower(kind) }

// describe names a statement's object in a message.
func describe(st *Statement) string {
	if st.Schema == "" {
		return fmt.Sprintf("%q", st.Object)
	}
	return fmt.Sprintf("%q in schema %q", st.Object, st.Schema)
}

// hintFor says what to do about a statement that failed, where the server did
// not say it.
func hintFor(code string, attempts int) string {
	again := "then run the same command again: it goes on with what is missing"
	switch {
	case code == "55P03", code == "40P01":
		return fmt.Sprintf("%d attempts met a lock of another session: see pg_stat_activity and pg_blocking_pids() on the destination, end it or raise [schema_sync] lock_timeout and retry_max_attempts, %s", attempts, again)
	case strings.HasPrefix(code, "53"):
		return "the destination has run out of a resource: free disk space or memory there, " + again
	case code == "42501":
		return "the schema admin of the destination lacks a right: grant it or let a superuser be schema_admin, " + again
	case code == "23503", code == "23505", code == "23514", code == "23P01":
		return "the rows on the destination violate the constraint: compare them with the source, repair them, " + again
	case code == "42704", code == "42P01", code == "42883", code == "3F000":
		return "something it needs is missing on the destination: SHOW SCHEMA_SYNC; tells what failed before it"
	}
	return "repair the cause and run the same command again: it goes on with what is missing; SCHEMA_SYNC with IGNORE ERRORS records failures and goes on"
}
