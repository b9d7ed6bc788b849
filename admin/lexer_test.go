package admin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/pgerror"
)

// kindLetters name the kinds in tests.
const kindLetters = "ewqsnp*;"

func lexed(text string) ([]string, error) {
	tokens, err := lex(text)
	var out []string
	for _, t := range tokens {
		out = append(out, kindLetters[t.kind:t.kind+1]+":"+t.text)
	}
	return out, err
}

func TestLex(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                                 ``,
		`SHOW tasks;`:                      `w:SHOW w:tasks ;:;`,
		`my-db prod.eu _x$1 2024-db 500ms`: `w:my-db w:prod.eu w:_x$1 w:2024-db w:500ms`,
		`"Weird ""Name"" $1"`:              `q:Weird "Name" $1`,
		`'it''s' ''`:                       `s:it's s:`,
		`'a;b' ";"`:                        `s:a;b q:;`,
		`$1 $23 $ x`:                       `p:$1 p:$23 *:$ w:x`,
		`1 -1 +2 2.5 -0.5 1.2.3`:           `n:1 n:-1 n:+2 n:2.5 n:-0.5 w:1.2.3`,
		`x=-1`:                             `w:x *:= n:-1`,
		`a -- b ; 'c` + "\n" + `d`:         `w:a w:d`,
		`a--b`:                             `w:a`,
		`a/* b /* c */ ; ' */d`:            `w:a w:d`,
		`a::text`:                          `w:a *::: w:text`,
		`pg_catalog.lower("x"."y")`:        `w:pg_catalog.lower *:( q:x *:. q:y *:)`,
		`t.* a- b.`:                        `w:t *:. *:* w:a *:- w:b *:.`,
		`Größe 数据库-1`:                      `w:Größe w:数据库-1`,
		"\u00a0SHOW\u2003x":                `w:SHOW w:x`,
		`postgres://u:p%40@h:5432/d?x=1`:   `w:postgres *:: *:/ *:/ w:u *:: w:p *:% n:40 *:@ w:h *:: n:5432 *:/ w:d *:? w:x *:= n:1`,
		`- 1 -`:                            `*:- n:1 *:-`,
		`'a'''`:                            `s:a'`,
	} {
		got, err := lexed(text)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("lex(%q) = %q, %v, want %q", text, strings.Join(got, " "), err, want)
		}
	}
}

func TestLexErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text     string
		code     string
		position int
	}{
		{`SHOW 'x`, pgerror.SyntaxError, 6},
		{`größe "x`, pgerror.SyntaxError, 7},
		{`数 数 /* /* */`, pgerror.SyntaxError, 5},
		{`SHOW ""`, pgerror.SyntaxError, 6},
		{"SHOW \xff", characterNotInRepertoire, 0},
	} {
		_, err := lex(test.text)
		if e := pgerror.From(err); e == nil || e.Code != test.code || e.Position != test.position {
			t.Errorf("lex(%q) = %+v, want %s at %d", test.text, e, test.code, test.position)
		}
	}
}

func TestSplitStatements(t *testing.T) {
	t.Parallel()
	var got []string
	tokens, err := lex(`;; a b;"c;"; ;-- d;
e`)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range splitStatements(tokens) {
		var words []string
		for _, w := range s {
			words = append(words, w.text)
		}
		got = append(got, strings.Join(words, " "))
	}
	if diff := cmp.Diff([]string{"a b", "c;", "e"}, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzLex checks what holds for every text: tokens lie in order inside it, what
// lies between them is blank or comment, and a token alone lexes to itself.
func FuzzLex(f *testing.F) {
	for _, seed := range []string{
		`SCHEMA_SYNC PRE "Weird ""Name"" $1" my-db 'p''q' DRY RUN; SHOW TASKS -- x`, `/* /* */ */ $1 -1 a.b-c::text`, `'`, `"`, `/*`, "\xff", `a--`, `- -1`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := lex(text)
		if err != nil {
			if e := pgerror.From(err); e.Position < 0 || e.Position > utf8.RuneCountInString(text)+1 {
				t.Fatalf("position %d outside of %q", e.Position, text)
			}
			return
		}
		end := 0
		for _, token := range tokens {
			if token.start < end || token.end <= token.start || token.end > len(text) {
				t.Fatalf("token %+v of %q begins before %d or has no length", token, text, end)
			}
			if between, err := lex(text[end:token.start]); err != nil || len(between) > 0 {
				t.Fatalf("%q is between tokens of %q", text[end:token.start], text)
			}
			alone, err := lex(text[token.start:token.end])
			if err != nil || len(alone) != 1 || alone[0].kind != token.kind || alone[0].text != token.text {
				t.Fatalf("token %+v of %q lexes to %+v, %v", token, text, alone, err)
			}
			end = token.end
		}
	})
}
