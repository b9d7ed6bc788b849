package statement

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"":         "",
		"SELECT 1": "SELECT ?",
		"select  *\n from t where a='x''secret' and b = $1 -- secret":                    "select * from t where a=? and b = $1",
		"ALTER USER u PASSWORD 'secret'":                                                 "ALTER USER u PASSWORD ?",
		`INSERT INTO "T 1" VALUES (1.5e3, E'a\'secret', $x$secret$x$, B'1', U&'secret')`: `INSERT INTO "T 1" VALUES (?, ?, ?, ?, U&?)`,
		`SELECT 'a\' , 'secret'`:                                                         "SELECT ? ...",
		"SELECT 'secret not closed":                                                      "SELECT ?",
		"SELECT $$secret not closed":                                                     "SELECT ?",
		"/* secret */ SELECT -1":                                                         "SELECT -?",
		"SELECT 0x1F, 1_000, t1.c2":                                                      "SELECT ?, ?, t1.c2",
	} {
		got := Mask([]byte(sql))
		if got != want || strings.Contains(got, "secret") {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("SELECT 'a\\' , 'b'")
	f.Add("SELECT $a$x$a$ /* c")
	f.Fuzz(func(t *testing.T, sql string) {
		once := Mask([]byte(sql))
		if strings.Contains(sql, "'") && strings.Count(once, "'") > strings.Count(sql, "'") {
			t.Errorf("%q: %q", sql, once)
		}
	})
}
