package dump

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestOwnerSQL(t *testing.T) {
	tests := []struct {
		entry Entry
		want  string
	}{
		{Entry{Kind: KindTable, Namespace: `Weird "Schema" $1`, Tag: `Weird "Name" $1`, Drop: "DROP TABLE x;\n", Owner: `Weird "Owner"`},
			`ALTER TABLE "Weird ""Schema"" $1"."Weird ""Name"" $1" OWNER TO "Weird ""Owner"""`},
		{Entry{Kind: KindSchema, Tag: "public", Definition: "-- *not* creating", Drop: "-- *not* dropping", Owner: "o"}, `ALTER SCHEMA "public" OWNER TO "o"`},
		{Entry{Kind: KindProceduralLanguage, Tag: "pl", Drop: "DROP PROCEDURAL LANGUAGE pl;\n", Owner: "o"}, `ALTER PROCEDURAL LANGUAGE "pl" OWNER TO "o"`},
		{Entry{Kind: KindServer, Tag: "s", Drop: "DROP SERVER s;\n", Owner: "o"}, `ALTER SERVER "s" OWNER TO "o"`},
		{Entry{Kind: KindFunction, Namespace: "app", Tag: "f(integer)", Drop: "DROP FUNCTION app.f(a integer, b text);\n", Owner: "o"},
			`ALTER FUNCTION app.f(a integer, b text) OWNER TO "o"`},
		{Entry{Kind: KindFunction, Namespace: "app", Tag: "f;", Drop: "DROP FUNCTION app.\"f;\"();\n", Owner: "o"}, `ALTER FUNCTION app."f;"() OWNER TO "o"`},
		{Entry{Kind: KindProcedure, Namespace: "app", Tag: "p()", Drop: "DROP PROCEDURE app.p();\n", Owner: "o"}, `ALTER PROCEDURE app.p() OWNER TO "o"`},
		{Entry{Kind: KindOperator, Namespace: "app", Tag: "===", Drop: "DROP OPERATOR app.=== (integer, integer);\n", Owner: "o"},
			`ALTER OPERATOR app.=== (integer, integer) OWNER TO "o"`},
		{Entry{Kind: KindOperatorClass, Namespace: "app", Tag: `W "C"`, Drop: "DROP OPERATOR CLASS app.\"W \"\"C\"\"\" USING hash;\n", Owner: "o"},
			`ALTER OPERATOR CLASS app."W ""C""" USING hash OWNER TO "o"`},
		{Entry{Kind: KindBlob, Tag: "4711", Drop: "SELECT pg_catalog.lo_unlink('4711');\n", Owner: "o"}, `ALTER LARGE OBJECT 4711 OWNER TO "o"`},
		// No owner of its own, no owner recorded, nothing to drop.
		{Entry{Kind: KindIndex, Namespace: "app", Tag: "i", Drop: "DROP INDEX app.i;\n", Owner: "o"}, ""},
		{Entry{Kind: KindConstraint, Tag: "t c", Drop: "ALTER TABLE t DROP CONSTRAINT c;\n", Owner: "o"}, ""},
		{Entry{Kind: KindExtension, Tag: "citext", Drop: "DROP EXTENSION citext;\n"}, ""},
		{Entry{Kind: KindSequenceOwnedBy, Namespace: "app", Tag: "s", Definition: "ALTER SEQUENCE ...", Owner: "o"}, ""},
		{Entry{Kind: KindShellType, Namespace: "app", Tag: "t", Owner: "o"}, ""},
		{Entry{Kind: KindFunction, Tag: "f()", Drop: "nothing", Owner: "o"}, ""},
		{Entry{Kind: KindBlobMetadata, Tag: "1..2", Drop: "SELECT", Owner: "o"}, ""},
	}
	for _, tt := range tests {
		got, ok := tt.entry.OwnerSQL()
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %s:\n got %q, %t\nwant %q", tt.entry.Kind, tt.entry.Tag, got, ok, tt.want)
		}
	}
}

func TestAccessMethodSQL(t *testing.T) {
	partitioned := Entry{Kind: KindTable, Namespace: "app", Tag: "p", AccessMethod: "heap2", Relkind: 'p'}
	if got, ok := partitioned.AccessMethodSQL(); !ok || got != `ALTER TABLE "app"."p" SET ACCESS METHOD "heap2"` {
		t.Errorf("%q, %t", got, ok)
	}
	for _, change := range []func(*Entry){
		func(e *Entry) { e.Relkind = 'r' }, func(e *Entry) { e.AccessMethod = "" }, func(e *Entry) { e.Kind = KindMaterializedView },
	} {
		e := partitioned
		change(&e)
		if got, ok := e.AccessMethodSQL(); ok {
			t.Errorf("%+v: %q", e, got)
		}
	}
}

func TestKeys(t *testing.T) {
	entries := []Entry{
		{Kind: KindTable, Namespace: "app", Tag: "t", Owner: "x"},
		{Kind: KindTable, Namespace: "app2", Tag: "t"},
		{Kind: KindConstraint, Namespace: "app", Tag: "a b c", Definition: `ALTER TABLE app."a b" ADD c`},
		{Kind: KindConstraint, Namespace: "app", Tag: "a b c", Definition: `ALTER TABLE app.a ADD "b c"`},
		{Kind: KindOperator, Namespace: "app", Tag: "=", Drop: "DROP OPERATOR app.= (int, int);\n"},
		{Kind: KindOperator, Namespace: "app", Tag: "=", Drop: "DROP OPERATOR app.= (text, text);\n"},
		{Kind: KindOperatorFamily, Namespace: "app", Tag: "f", Drop: "DROP OPERATOR FAMILY app.f USING btree;\n"},
		{Kind: KindOperatorFamily, Namespace: "app", Tag: "f", Drop: "DROP OPERATOR FAMILY app.f USING hash;\n"},
		{Kind: KindDefaultACL, Namespace: "app", Tag: "DEFAULT PRIVILEGES FOR TABLES", Owner: "a"},
		{Kind: KindDefaultACL, Namespace: "app", Tag: "DEFAULT PRIVILEGES FOR TABLES", Owner: "b"},
	}
	one := &Archive{Entries: entries}
	keys := one.Keys()
	unique := make(map[Key]bool)
	for i, key := range keys {
		unique[key] = true
		if key.Ordinal != 0 && entries[i].Kind != KindConstraint {
			t.Errorf("%+v is numbered", key)
		}
	}
	if len(unique) != len(entries) {
		t.Errorf("%d different keys of %d entries", len(unique), len(entries))
	}
	// In another order, with other owners, the same objects have the same keys.
	other := &Archive{Entries: slices.Clone(entries)}
	slices.Reverse(other.Entries)
	other.Entries[len(entries)-1].Owner = "y"
	reversed := other.Keys()
	slices.Reverse(reversed)
	if diff := cmp.Diff(keys, reversed); diff != "" {
		t.Error(diff)
	}
}

func TestDisplay(t *testing.T) {
	tests := []struct {
		name string
		kind Kind
		sql  string
		want string
	}{
		{"user mapping", KindUserMapping,
			"CREATE USER MAPPING FOR a SERVER \"it's\" OPTIONS (\n    password E'hunter\\'2',\n    \"user\" 'o''brien'\n);\n",
			"CREATE USER MAPPING FOR a SERVER \"it's\" OPTIONS (\n    password '********',\n    \"user\" '********'\n);\n"},
		{"subscription", KindSubscription,
			`CREATE SUBSCRIPTION s CONNECTION 'host=h password=''x y''' PUBLICATION "p'" WITH (connect = false, slot_name = 's');`,
			`CREATE SUBSCRIPTION s CONNECTION '********' PUBLICATION "p'" WITH (connect = false, slot_name = '********');`},
		{"subscription, dollar quotes, not closed", KindSubscription, `CONNECTION $x$a'b$x$ $y$ secret`, `CONNECTION '********' '********'`},
		{"server", KindServer,
			`CREATE SERVER s TYPE 'postgres' FOREIGN DATA WRAPPER w OPTIONS (host 'h', sslpassword 'a', "Api Key" 'b', session_token 'c', dsn 'Server=x;Pwd=d', url 'https://me:e@h/', plain 'https://h/?a@b');`,
			`CREATE SERVER s TYPE 'postgres' FOREIGN DATA WRAPPER w OPTIONS (host 'h', sslpassword '********', "Api Key" '********', session_token '********', dsn '********', url '********', plain 'https://h/?a@b');`},
		{"foreign table", KindForeignTable,
			`CREATE FOREIGN TABLE t (password text DEFAULT 'shown' NOT NULL, id int OPTIONS (column_name 'ID')) SERVER s OPTIONS (credential /* why */ 'x');`,
			`CREATE FOREIGN TABLE t (password text DEFAULT 'shown' NOT NULL, id int OPTIONS (column_name 'ID')) SERVER s OPTIONS (credential /* why */ '********');`},
		{"foreign data wrapper", KindForeignDataWrapper, `CREATE FOREIGN DATA WRAPPER w OPTIONS (client_secret 'x')`, `CREATE FOREIGN DATA WRAPPER w OPTIONS (client_secret '********')`},
		{"other kinds", KindFunction, `SELECT 'password', password 'x'`, `SELECT 'password', password 'x'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Entry{Kind: tt.kind, Definition: tt.sql}).Display(); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Whatever a password holds, nothing of it is shown.
func TestDisplayNeverShowsALiteral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := strings.ReplaceAll(rapid.StringOf(rapid.RuneFrom([]rune(`a'"\$;-/* `+"\n"))).Draw(t, "secret"), "\x00", "")
		e := Entry{Kind: KindSubscription, Definition: `CREATE SUBSCRIPTION "s" CONNECTION ` + QuoteLiteral(secret) + ` PUBLICATION "p";`}
		if got := e.Display(); got != `CREATE SUBSCRIPTION "s" CONNECTION '********' PUBLICATION "p";` {
			t.Fatal(got)
		}
	})
}

func TestStatements(t *testing.T) {
	tests := []struct {
		kind Kind
		sql  string
		want []string
	}{
		{KindSchema, "-- *not* creating schema, since initdb creates it\n", nil},
		{KindTable, "", nil},
		{KindIndex, "CREATE INDEX i ON t (a);\n\nALTER TABLE t CLUSTER ON i;\n\n\nALTER TABLE ONLY t REPLICA IDENTITY USING INDEX i;\n",
			[]string{"CREATE INDEX i ON t (a)", "ALTER TABLE t CLUSTER ON i", "ALTER TABLE ONLY t REPLICA IDENTITY USING INDEX i"}},
		{KindRule, "CREATE RULE r AS ON INSERT TO a DO ALSO ( INSERT INTO b VALUES (';');\n DELETE FROM c; );\n",
			[]string{"CREATE RULE r AS ON INSERT TO a DO ALSO ( INSERT INTO b VALUES (';');\n DELETE FROM c; )"}},
		{KindFunction, "CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2; END;\n", []string{"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2; END"}},
		{KindView, `CREATE VIEW v AS SELECT "a;", E'\';', $$;$$, $x$;$$;$x$, $1 /* ; /* ; */ ; */ -- ;` + "\n FROM t[1;2]; ;",
			[]string{`CREATE VIEW v AS SELECT "a;", E'\';', $$;$$, $x$;$$;$x$, $1 /* ; /* ; */ ; */ -- ;` + "\n FROM t[1;2]"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Entry{Kind: tt.kind, Definition: tt.sql}.Statements()); diff != "" {
			t.Errorf("%s\n%s", tt.sql, diff)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ in, ident, literal string }{
		{"", `""`, `''`},
		{"a", `"a"`, `'a'`},
		{`Weird ""Name"" $1`, `"Weird """"Name"""" $1"`, `'Weird ""Name"" $1'`},
		{`it's`, `"it's"`, `'it''s'`},
		{`back\slash's`, `"back\slash's"`, `E'back\\slash''s'`},
	}
	for _, tt := range tests {
		if got := QuoteIdent(tt.in); got != tt.ident {
			t.Errorf("ident %q: %s", tt.in, got)
		}
		if got := QuoteLiteral(tt.in); got != tt.literal {
			t.Errorf("literal %q: %s", tt.in, got)
		}
	}
}
