package apply_test

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// TestShapesThatDoNotFit: each difference that could lose or change a value is
// an error that says what to do, and what it says can be run.
func TestShapesThatDoNotFit(t *testing.T) {
	t.Parallel()
	c := pgtest.Shared(t, 0)
	src, dst := c.CreateDatabase(t), c.CreateDatabase(t)
	for name, test := range map[string]struct {
		source, destination string
		code                string // "" if they fit
		hint                string
		key                 string
	}{
		"same":                   {source: "(id int PRIMARY KEY, v text)"},
		"missing column":         {"(id int PRIMARY KEY, \"V\"\"\" varchar(7))", "(id int PRIMARY KEY)", "42703", `ALTER TABLE "public"."%s" ADD COLUMN "V""" character varying(7);`, ""},
		"missing numeric":        {"(id int PRIMARY KEY, v numeric(7,2)[])", "(id int PRIMARY KEY)", "42703", `ADD COLUMN "v" numeric(7,2)[];`, ""},
		"missing timestamp":      {"(id int PRIMARY KEY, v timestamptz(3))", "(id int PRIMARY KEY)", "42703", `ADD COLUMN "v" timestamp(3) with time zone;`, ""},
		"missing bit, char":      {"(id int PRIMARY KEY, b char(4))", "(id int PRIMARY KEY)", "42703", `ADD COLUMN "b" character(4);`, ""},
		"extra nullable":         {source: "(id int PRIMARY KEY)", destination: "(id int PRIMARY KEY, v text)"},
		"extra default":          {source: "(id int PRIMARY KEY)", destination: "(id int PRIMARY KEY, v text NOT NULL DEFAULT '')"},
		"extra not null":         {"(id int PRIMARY KEY)", "(id int PRIMARY KEY, v text NOT NULL)", "23502", `ALTER COLUMN "v" DROP NOT NULL;`, ""},
		"generated there":        {"(id int PRIMARY KEY, v int)", "(id int PRIMARY KEY, v int GENERATED ALWAYS AS (id) STORED)", "42P16", `ALTER COLUMN "v" DROP EXPRESSION;`, ""},
		"generated on both":      {source: "(id int PRIMARY KEY, v int GENERATED ALWAYS AS (id) STORED)"},
		"wider integer":          {source: "(id smallint PRIMARY KEY, v int)", destination: "(id int PRIMARY KEY, v bigint)"},
		"narrower integer":       {"(id bigint PRIMARY KEY)", "(id int PRIMARY KEY)", "42804", `ALTER COLUMN "id" TYPE bigint;`, ""},
		"integer to numeric":     {source: "(id int PRIMARY KEY)", destination: "(id numeric PRIMARY KEY)"},
		"bigint to double":       {"(id int PRIMARY KEY, v bigint)", "(id int PRIMARY KEY, v float8)", "42804", `TYPE bigint;`, ""},
		"text to integer":        {"(id int PRIMARY KEY, v int)", "(id int PRIMARY KEY, v text)", "42804", `ALTER COLUMN "v" TYPE integer USING "v"::integer;`, ""},
		"array of others":        {"(id int PRIMARY KEY, v int[])", "(id int PRIMARY KEY, v text[])", "42804", `TYPE integer[] USING "v"::integer[];`, ""},
		"integer to text":        {"(id int PRIMARY KEY, v text)", "(id int PRIMARY KEY, v int)", "42804", `ALTER COLUMN "v" TYPE text;`, ""},
		"varchar to text":        {source: "(id int PRIMARY KEY, v varchar(5))", destination: "(id int PRIMARY KEY, v text)"},
		"shorter varchar":        {"(id int PRIMARY KEY, v varchar(5))", "(id int PRIMARY KEY, v varchar(4))", "42804", `TYPE character varying(5);`, ""},
		"text to varchar(n)":     {"(id int PRIMARY KEY, v text)", "(id int PRIMARY KEY, v varchar(4))", "42804", `TYPE text;`, ""},
		"smaller scale":          {"(id int PRIMARY KEY, v numeric(9,3))", "(id int PRIMARY KEY, v numeric(12,2))", "42804", `TYPE numeric(9,3);`, ""},
		"fewer digits":           {"(id int PRIMARY KEY, v numeric(9,3))", "(id int PRIMARY KEY, v numeric(9,4))", "42804", "", ""},
		"more digits":            {source: "(id int PRIMARY KEY, v numeric(9,3))", destination: "(id int PRIMARY KEY, v numeric(11,4))"},
		"time zone":              {"(id int PRIMARY KEY, v timestamp)", "(id int PRIMARY KEY, v timestamptz)", "42804", `TYPE timestamp;`, ""},
		"precision of time":      {"(id int PRIMARY KEY, v timestamp(3))", "(id int PRIMARY KEY, v timestamp(0))", "42804", `TYPE timestamp(3);`, ""},
		"no key there":           {"(id int PRIMARY KEY, v text)", "(id int, v text)", "55000", `ADD PRIMARY KEY ("id");`, ""},
		"no key at all":          {source: "(id int, v text)"},
		"a view":                 {"(id int PRIMARY KEY)", "VIEW", "42809", "", ""},
		"sharding key not in it": {"(id int PRIMARY KEY, k bigint)", "", "55000", "REPLICA IDENTITY FULL", "k"},
		"no sharding column":     {"(id int PRIMARY KEY)", "", "42703", "", "k"},
	} {
		t.Run(name, func(t *testing.T) {
			table := strings.NewReplacer(" ", "_", ",", "").Replace(name)
			src.Exec(t, "CREATE TABLE "+pgtest.Quote(table)+" "+test.source)
			switch test.destination {
			case "":
				dst.Exec(t, "CREATE TABLE "+pgtest.Quote(table)+" "+test.source)
			case "VIEW":
				dst.Exec(t, "CREATE VIEW "+pgtest.Quote(table)+" AS SELECT 1 AS id")
			default:
				dst.Exec(t, "CREATE TABLE "+pgtest.Quote(table)+" "+test.destination)
			}
			from, fromTypes := shapes(t, src, table)
			to, toTypes := shapes(t, dst, table)
			var key *shard.Key
			if test.key != "" {
				key = bigintKey(t, table)
			}
			target, err := apply.NewTarget(published(from[table], 'd'), fromTypes, to[table], toTypes, apply.TargetOptions{Key: key})
			if test.code == "" {
				if err != nil {
					t.Errorf("it does not fit: %s (%s)", err.Message, err.Detail)
				} else if target.String() != "public."+table {
					t.Errorf("it is named %s", target)
				}
				return
			}
			if err == nil {
				t.Fatal("it fits")
			}
			if err.Code != test.code {
				t.Errorf("%s %s", err.Code, err.Message)
			}
			if hint := strings.ReplaceAll(test.hint, "%s", table); !strings.Contains(err.Hint, hint) {
				t.Errorf("HINT: %s", err.Hint)
			}
			if strings.HasPrefix(err.Hint, "ALTER TABLE") {
				dst.Exec(t, err.Hint)
			}
		})
	}
}
