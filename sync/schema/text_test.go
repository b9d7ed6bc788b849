package schema

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

func TestNotValid(t *testing.T) {
	t.Parallel()
	for definition, want := range map[string]string{
		"ALTER TABLE ONLY public.a\n    ADD CONSTRAINT a_b_fkey FOREIGN KEY (b) REFERENCES public.b(id);\n": "ALTER TABLE ONLY public.a\n    ADD CONSTRAINT a_b_fkey FOREIGN KEY (b) REFERENCES public.b(id) NOT VALID;",
		"ALTER TABLE a ADD CONSTRAINT c CHECK ((x <> ';'::text));\n\n\n":                                    "ALTER TABLE a ADD CONSTRAINT c CHECK ((x <> ';'::text)) NOT VALID;",
	} {
		if got := notValid(definition); got != want {
			t.Errorf("notValid(%q) = %q, want %q", definition, got, want)
		}
	}
}

func TestInsertConcurrently(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`CREATE INDEX i ON public.t USING btree (x)`:                                  `CREATE INDEX CONCURRENTLY i ON public.t USING btree (x)`,
		`CREATE UNIQUE INDEX "CREATE INDEX ""q"" $1" ON t USING btree (x)`:            `CREATE UNIQUE INDEX CONCURRENTLY "CREATE INDEX ""q"" $1" ON t USING btree (x)`,
		`CREATE INDEX "x CREATE UNIQUE INDEX " ON t USING gin (f('CREATE INDEX '))`:   `CREATE INDEX CONCURRENTLY "x CREATE UNIQUE INDEX " ON t USING gin (f('CREATE INDEX '))`,
		`ALTER INDEX something_that_is_no_build ATTACH PARTITION another_partition_i`: `ALTER INDEX something_that_is_no_build ATTACH PARTITION another_partition_i`,
	} {
		if got := insertConcurrently(sql); got != want {
			t.Errorf("insertConcurrently(%s) = %s", sql, got)
		}
	}
}

func TestPromote(t *testing.T) {
	t.Parallel()
	table := catalog.Name{Schema: `Weird "Name" $1`, Name: "t"}
	index := catalog.Index{Index: catalog.Name{Schema: table.Schema, Name: `t "key"`}}
	for _, test := range []struct {
		constraint catalog.Constraint
		change     func(*catalog.Index)
		want       []string
	}{
		{catalog.Constraint{Type: 'p', Table: table, Name: `t "key"`}, nil,
			[]string{`ALTER TABLE ONLY "Weird ""Name"" $1"."t" ADD CONSTRAINT "t ""key""" PRIMARY KEY USING INDEX "t ""key""";`}},
		{catalog.Constraint{Type: 'u', Table: table, Name: "k", Deferrable: true}, nil,
			[]string{`ALTER TABLE ONLY "Weird ""Name"" $1"."t" ADD CONSTRAINT "k" UNIQUE USING INDEX "t ""key""" DEFERRABLE;`}},
		{catalog.Constraint{Type: 'u', Table: table, Name: "k", Deferrable: true, Deferred: true}, func(i *catalog.Index) { i.Clustered, i.ReplicaIdentity = true, true },
			[]string{`ALTER TABLE ONLY "Weird ""Name"" $1"."t" ADD CONSTRAINT "k" UNIQUE USING INDEX "t ""key""" DEFERRABLE INITIALLY DEFERRED;`,
				`ALTER TABLE "Weird ""Name"" $1"."t" CLUSTER ON "t ""key""";`,
				`ALTER TABLE ONLY "Weird ""Name"" $1"."t" REPLICA IDENTITY USING INDEX "t ""key""";`}},
	} {
		i := index
		if test.change != nil {
			test.change(&i)
		}
		if got := strings.Join(strings.Fields(promote(test.constraint, i)), " "); got != strings.Join(test.want, " ") {
			t.Errorf("promote gives\n%s, want\n%s", got, strings.Join(test.want, " "))
		}
	}
}

func TestReplaceLineStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, old, with, want string }{
		{"    id integer NOT NULL,", "    id integer", "    id bigint", "    id bigint NOT NULL,"},
		{"    id integer,\n    id2 integer\n", "    id integer", "    id bigint", "    id bigint,\n    id2 integer\n"},
		{"    id integer", "    id integer", "    id bigint", "    id bigint"},
		{"    id integer[]", "    id integer", "    id bigint", "    id integer[]"},
		{"    id integers_domain,", "    id integer", "    id bigint", "    id integers_domain,"},
		{"CHECK (    id integer )", "    id integer", "    id bigint", "CHECK (    id integer )"},
		{"", "    id integer", "x", ""},
	} {
		if got := replaceLineStart(test.text, test.old, test.with); got != test.want {
			t.Errorf("replaceLineStart(%q) = %q, want %q", test.text, got, test.want)
		}
	}
}

func TestWidenedText(t *testing.T) {
	t.Parallel()
	name := catalog.Name{Schema: "s", Name: "t"}
	keys := []catalog.IntegerKey{
		{Table: name, Column: "id", Type: "integer", Sequence: catalog.Name{Schema: "s", Name: "t_id_seq"}},
		{Table: name, Column: `Weird "Name" $1`, Type: "smallint"},
		{Table: catalog.Name{Schema: "other", Name: "t"}, Column: "n", Type: "integer"},
	}
	for _, test := range []struct {
		entry dump.Entry
		want  string
	}{
		{dump.Entry{Kind: dump.KindTable, Namespace: "s", Tag: "t", Definition: "CREATE TABLE s.t (\n    id integer NOT NULL,\n    n integer,\n    \"Weird \"\"Name\"\" $1\" smallint\n);\n"},
			"CREATE TABLE s.t (\n    id bigint NOT NULL,\n    n integer,\n    \"Weird \"\"Name\"\" $1\" bigint\n);\n"},
		{dump.Entry{Kind: dump.KindSequence, Namespace: "s", Tag: "t_id_seq", Definition: "CREATE SEQUENCE s.t_id_seq\n    AS integer\n    START WITH 1\n"},
			"CREATE SEQUENCE s.t_id_seq\n    START WITH 1\n"},
		{dump.Entry{Kind: dump.KindView, Namespace: "s", Tag: "t", Definition: "    id integer,"}, "    id integer,"},
		{dump.Entry{Kind: dump.KindTable, Namespace: "third", Tag: "t", Definition: "    id integer,"}, "    id integer,"},
	} {
		if got := widened(&test.entry, test.entry.Definition, keys); got != test.want {
			t.Errorf("%s %s: %q, want %q", test.entry.Kind, test.entry.Tag, got, test.want)
		}
	}
}

func TestExpectationOfShardedSequences(t *testing.T) {
	t.Parallel()
	e := &dump.Entry{Kind: dump.KindSequence, Definition: "CREATE SEQUENCE s\n    START WITH 1\n    INCREMENT BY -2\n    NO MINVALUE\n"}
	if expectation(&Source{}, 1, PlanOptions{}) != nil {
		t.Error("one shard, nothing widened: something is expected to differ")
	}
	expect := expectation(&Source{}, 3, PlanOptions{})
	if got, want := expect(e), strings.Replace(e.Definition, "-2", "-6", 1); got != want {
		t.Errorf("on three shards %q is expected, want %q", got, want)
	}
	e.Kind = dump.KindFunction
	if got := expect(e); got != e.Definition {
		t.Errorf("a function's text is changed to %q", got)
	}
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	server := func(code, message, schema string) error {
		return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: message, SchemaName: schema})
	}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{server("55P03", "canceling statement due to lock timeout", ""), true},
		{server("40P01", "deadlock detected", ""), true},
		{server("40001", "could not serialize access", ""), true},
		{server("23505", "duplicate key value violates unique constraint", "pg_catalog"), true},
		{server("XX000", "tuple concurrently updated", ""), true},
		{server("23505", "duplicate key value violates unique constraint", "public"), false},
		{server("XX000", "something else", ""), false},
		{server("42P07", "relation exists", ""), false},
		{server("53100", "could not extend file", ""), false},
		{errors.New("55P03"), false},
		{context.Canceled, false},
		{nil, false},
	} {
		if got := retryable(test.err); got != test.want {
			t.Errorf("retryable(%v) = %t", test.err, got)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for attempt := 1; attempt <= 8; attempt++ {
		got = append(got, backoff(time.Second, attempt)/time.Second)
	}
	if want := "[1ns 2ns 4ns 8ns 16ns 32ns 32ns 32ns]"; fmt.Sprint(got) != want {
		t.Errorf("backoff grows by %v, want %s", got, want)
	}
	if backoff(time.Second, 1000) != 32*time.Second || backoff(0, 5) != 0 {
		t.Error("backoff has no bound")
	}
}

func TestPgDogsKinds(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"TABLE": "table", "FOREIGN TABLE": "table", "INDEX": "index", "CONSTRAINT": "statement", KindAnalyze: "statement",
	} {
		if got := (&Statement{Kind: kind}).PgDogKind(); got != want {
			t.Errorf("%s is a %q, want %q", kind, got, want)
		}
	}
}
