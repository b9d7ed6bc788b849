package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// TestSecretsAreNeverShown prints everything that has secrets in every way
// that Go has for printing.
func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const text = "hunter2hunter2"
	s := Secret(text)
	u := User{Name: "app", Password: s, Passwords: []Secret{s}, PasswordHash: text, ServerPassword: s}
	c := Default()
	c.Users, c.Admin.Password, c.OTel.Headers = []User{u}, s, map[string]Secret{"a": s}
	c.Databases = []Database{{Name: "prod", Password: s}}
	hexText := fmt.Sprintf("%x", text)
	for _, value := range []any{s, &s, u, &u, []User{u}, *c, c, c.Databases, c.Server(c.Databases[0], u), c.Admin, c.OTel} {
		var shown []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%20v"} {
			shown = append(shown, fmt.Sprintf(verb, value))
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		shown = append(shown, string(encoded), log.String())
		for _, line := range shown {
			if strings.Contains(line, "hunter2") || strings.Contains(strings.ToLower(line), hexText) {
				t.Errorf("%T shows its secret: %s", value, line)
			}
		}
	}
	var encoded bytes.Buffer
	if err := toml.NewEncoder(&encoded).Encode(map[string]any{"admin": c.Admin}); err != nil || strings.Contains(encoded.String(), "hunter2") {
		t.Errorf("TOML: %v %s", err, encoded.String())
	}
	if s.Reveal() != text || s.String() != "********" || Secret("").String() != "" || fmt.Sprintf("%q", s) != `"********"` {
		t.Errorf("Secret: %q %q", s.String(), Secret("").String())
	}
	if got := fmt.Sprintf("%+v", u); !strings.Contains(got, "Name:app") {
		t.Errorf("User: %s", got)
	}
}
