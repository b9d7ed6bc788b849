package config

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestKeyTableAndStructsAreOne: each tagged field has a row; that each row has
// a field is checked when the package starts.
func TestKeyTableAndStructsAreOne(t *testing.T) {
	t.Parallel()
	for i := range reflect.TypeFor[Config]().NumField() {
		name := reflect.TypeFor[Config]().Field(i).Tag.Get("toml")
		if name != "" && tableNamed(name) == nil {
			t.Errorf("no table %q", name)
		}
	}
	for _, table := range tables {
		if table.Description == "" {
			t.Errorf("[%s] has no description", table.Name)
		}
		if table.AnyKeys {
			continue
		}
		seen := map[string]bool{}
		for _, key := range table.Keys {
			name := table.Name + "." + key.Name
			if seen[key.Name] {
				t.Errorf("%s is there twice", name)
			}
			seen[key.Name] = true
			if key.Description == "" || !strings.HasSuffix(key.Description, ".") || strings.Contains(key.Description, "\n") {
				t.Errorf("%s: description %q", name, key.Description)
			}
			if key.Default == "" && key.Example == "" {
				t.Errorf("%s has neither default nor example", name)
			}
			if key.Required() && key.Default != "" {
				t.Errorf("%s is required and has a default", name)
			}
			if key.Settable() && key.NeedsRestart() {
				t.Errorf("%s is settable, and needs a restart", name)
			}
			field := table.element.FieldByIndex(key.index)
			if holdsSecret := strings.Contains(field.Type.String(), "Secret"); holdsSecret != key.Secret() && name != "users.password_hash" {
				t.Errorf("%s: secret in the table: %v, in the struct: %v", name, key.Secret(), holdsSecret)
			}
			if isDuration := strings.HasSuffix(field.Type.String(), "time.Duration"); isDuration != (key.Unit == "ms" || key.Unit == "s") {
				t.Errorf("%s: unit %q of a %s", name, key.Unit, field.Type)
			}
		}
		for i := range table.element.NumField() {
			if name := table.element.Field(i).Tag.Get("toml"); name != "" && !seen[name] {
				t.Errorf("%s.%s has no row", table.Name, name)
			}
		}
	}
}

// TestDescribeIsACopy: what a caller does to it changes nothing.
func TestDescribeIsACopy(t *testing.T) {
	t.Parallel()
	all := Describe()
	all[0].Keys[0].Default, all[0].Name = "broken", "broken"
	if again := Describe(); again[0].Name != "general" || again[0].Keys[0].Default != `"0.0.0.0"` {
		t.Error("Describe gives the table itself")
	}
	for _, table := range Describe() {
		for _, key := range table.Keys {
			if key.Type == "" {
				t.Errorf("%s.%s has no type", table.Name, key.Name)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	candidates := []string{"host", "port", "name", "database", "password", "passwords", "client_login_timeout", "log_level"}
	for name, want := range map[string]string{
		"prot": "port", "hots": "host", "nme": "name", "databse": "database", "pasword": "password",
		"client_log_timeout": "client_login_timeout", "loglevel": "log_level", "x": "", "zzzz": "", "": "", "entirely_different": "",
	} {
		if got := nearest(name, candidates); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[a-d]{0,8}`).Draw(t, "a")
		b := rapid.StringMatching(`[a-d]{0,8}`).Draw(t, "b")
		d := editDistance(a, b)
		if (d == 0) != (a == b) || d > max(len(a), len(b)) || d < abs(len(a)-len(b)) {
			t.Errorf("distance %d of %q and %q", d, a, b)
		}
		if len(a) == 0 {
			return
		}
		i := rapid.IntRange(0, len(a)-1).Draw(t, "i")
		if one := a[:i] + a[i+1:]; editDistance(a, one) != 1 {
			t.Errorf("%q and %q: %d", a, one, editDistance(a, one))
		}
	})
}
