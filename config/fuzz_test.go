package config

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse: whatever the files and the environment hold, Parse gives a Config
// or problems with a file, and a Config can be shown, changed and compared.
func FuzzParse(f *testing.F) {
	for i, seed := range fuzzSeeds {
		f.Add(seed, fuzzSeeds[(i*7+3)%len(fuzzSeeds)], "6432")
	}
	f.Add(oneDatabase, oneUser, "tcp://10.0.0.1:1")
	f.Fuzz(func(t *testing.T, main, users, environment string) {
		c, warnings, err := Parse("m", []byte(main), "u", []byte(users), func(string) (string, bool) { return environment, environment != "" })
		for _, p := range append(problemsOf(err), warnings...) {
			if p.File == "" || p.Message == "" || p.Line < 0 || !utf8.ValidString(p.String()) {
				t.Errorf("problem without a place or message: %#v", p)
			}
		}
		if (c == nil) != (err != nil) || err != nil && len(problemsOf(err)) == 0 {
			t.Fatalf("config %v, error %v", c != nil, err)
		}
		if c == nil {
			return
		}
		for _, cluster := range c.Clusters() {
			for i, shard := range cluster.Shards {
				if shard.Number != i || shard.Primary.Host == "" {
					t.Errorf("accepted a broken cluster: %+v", cluster)
				}
			}
			c.SchemaAdmin(cluster.Name)
		}
		if changes := Diff(c, c); len(changes.Applied)+len(changes.NeedsRestart) > 0 {
			t.Errorf("differs from itself: %+v", changes)
		}
		for _, s := range c.Settings() {
			if !s.Settable {
				continue
			}
			same, err := c.Set(s.Name, s.Value)
			if err != nil {
				t.Errorf("SET %s TO what SHOW CONFIG gives, %q: %v", s.Name, s.Value, err)
			} else if changes := Diff(c, same); len(changes.Applied) > 0 {
				t.Errorf("SET %s TO what SHOW CONFIG gives changes %+v", s.Name, changes)
			}
		}
	})
}

// TestSecretsInBrokenFiles breaks a file at every byte, in several ways: no
// message shows any part of its secrets.
func TestSecretsInBrokenFiles(t *testing.T) {
	t.Parallel()
	const secret = "0xF00DqzjwvKb8"
	document := fmt.Sprintf(`[[users]]
name = "app"
database = "prod"
password = %[1]q
passwords = [ %[1]q, '%[1]s' ]
server_password = """%[1]s"""
password_hash = %[1]q
[admin]
password = %[1]q
`, secret)
	variants := []string{strings.ReplaceAll(document, `"`, ""), strings.ReplaceAll(document, secret, "1.5"+secret), strings.ReplaceAll(document, `"0x`, `0x`)}
	for i := range document {
		variants = append(variants, document[:i], document[i:], document[:i]+document[i+1:], document[:i]+"\\"+document[i:], document[:i]+"'"+document[i:], document[:i]+"\n"+document[i:])
	}
	for _, text := range variants {
		for _, where := range []struct{ main, users string }{{oneDatabase, text}, {oneDatabase + strings.ReplaceAll(text, "users", "databases"), oneUser}} {
			_, warnings, err := parse(where.main, where.users)
			for _, p := range append(problemsOf(err), warnings...) {
				for i := range len(secret) - 3 {
					if part := secret[i : i+4]; strings.Contains(p.String(), part) {
						t.Fatalf("%s shows %q of:\n%s", p, part, text)
					}
				}
			}
		}
	}
}
