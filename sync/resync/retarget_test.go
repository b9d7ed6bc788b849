package resync

import (
	"testing"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

func TestMoves(t *testing.T) {
	t.Parallel()
	m := moves{{Schema: "public", Name: "t"}: "x", {Schema: `a "b"`, Name: `C d`}: `"y"`}
	for _, c := range []struct{ sql, want string }{
		{`CREATE TABLE public.t (a int)`, `CREATE TABLE "x".t (a int)`},
		{`"public"."t"."col" PUBLIC.T public.tt publi.t`, `"x"."t"."col" "x".T public.tt publi.t`},
		{`'public.t' E'\'public.t' 'it''s public.t'`, `'public.t' E'\'public.t' 'it''s public.t'`},
		{`nextval('public.t'::regclass) -- public.t`, `nextval('public.t'::regclass) -- public.t`},
		{`"a ""b"""."C d" "a b"."C d"`, `"""y"""."C d" "a b"."C d"`},
		{`db.public.t a.public.t public.t`, `db.public.t a.public.t "x".t`},
		{`"PUBLIC".t 1.t public . t`, `"PUBLIC".t 1.t public . t`},
		{`"not closed public.t`, `"not closed "x".t`},
	} {
		if got := m.apply(c.sql); got != c.want {
			t.Errorf("%s: got %s, want %s", c.sql, got, c.want)
		}
	}
}

func TestWithoutConstraint(t *testing.T) {
	t.Parallel()
	const sql = "CREATE TABLE t (\n    a int,\n    CONSTRAINT b CHECK ((a > 0)),\n    CONSTRAINT pgdrover_bound CHECK (((a IS NOT NULL) AND (b <> ')'::text)))\n)\nWITH (fillfactor='70')"
	const want = "CREATE TABLE t (\n    a int,\n    CONSTRAINT b CHECK ((a > 0))\n)\nWITH (fillfactor='70')"
	if got := withoutBoundCheck(sql); got != want {
		t.Errorf("got %s", got)
	}
	if got := withoutBoundCheck(want); got != want {
		t.Errorf("without one: %s", got)
	}
}

// FuzzMoves: whatever the text is, nothing but qualified names changes.
func FuzzMoves(f *testing.F) {
	for _, seed := range []string{`public.t`, `"a"."b"`, `'`, `E'\`, `"""`, "\xff.\xfe", `a.b.c 'x' "y" -- z` + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		if got := (moves{}).apply(sql); got != sql {
			t.Errorf("%q became %q", sql, got)
		}
		_ = withoutBoundCheck(sql)
		_ = canonical(sql)
		_ = moves{catalog.Name{Schema: "public", Name: "t"}: "x"}.apply(sql)
	})
}
