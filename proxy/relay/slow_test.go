package relay_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestSlowQueries: what is logged of queries that take long, and what is not.
func TestSlowQueries(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{mode: "transaction", general: "log_min_duration_query = 0\n"})
	conn := s.connect()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
		if _, err := conn.Exec(t.Context(), "SELECT 'hidden-literal' || $1::text AS named_"+strings.ToLower(strings.ReplaceAll(mode.String(), " ", "_")), mode, "hidden-value"); err != nil {
			t.Fatal(err)
		}
	}
	log := s.log.String()
	for _, want := range []string{`msg="slow query"`, "duration=", "server_pid=", "SELECT ? ||", "$1::text AS named_cache_statement", "AS named_exec", "AS named_simple_protocol"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if strings.Contains(log, "hidden") {
		t.Error("the log has a constant or a parameter")
	}

	count := func() int { return strings.Count(s.log.String(), `msg="slow query"`) }
	before := count()
	s.configure(setup{mode: "transaction", general: "log_min_duration_query = 0\nlog_query_sample_rate = 0.0\n"})
	quiet := s.connect()
	if _, err := quiet.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	s.configure(setup{mode: "transaction", general: "log_min_duration_query = 3600000\n"})
	if _, err := s.connect().Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	if count() != before {
		t.Error("queries are logged that are not of the sample, or were quick")
	}
	s.configure(setup{mode: "transaction", general: "log_min_duration_query = 0\nlog_query_text = \"full\"\nlog_query_sample_length = 12\n"})
	if _, err := s.connect().Exec(t.Context(), "SELECT 12345, 67890", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.log.String(), `query="SELECT 12345"`) {
		t.Error("the text is not logged as far as it was asked for")
	}
}
