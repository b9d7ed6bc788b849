package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/pgdrover/pgdrover/pgerror"
)

// With gives a copy of a mirror with one key of [[mirrors]] changed, as WITH
// (key = value) of CREATE MIRROR and ALTER MIRROR says it. Keys of
// [mirrors.drift] are called drift.interval and so on; schemas, tables and drift
// are given as TOML: { public = "app" }. The value "default" brings the default
// back. Contradictions are for MirrorConflicts. Errors are *pgerror.Error: 42704
// for an unknown key, 22023 for one that names what a mirror is between, and for
// a value that cannot be.
func (m Mirror) With(name, value string) (Mirror, error) {
	t, into := tableNamed("mirrors"), reflect.ValueOf(&m).Elem()
	own, inside := strings.CutPrefix(name, "drift.")
	if inside {
		t, into = tableNamed("mirrors.drift"), reflect.ValueOf(&m.Drift).Elem()
	}
	key := t.key(own)
	switch {
	case key == nil:
		err := pgerror.New(pgerror.UndefinedObject, "unknown setting of a mirror %q", name)
		if likely := nearest(own, t.keyNames()); likely != "" {
			return Mirror{}, err.WithHint("Did you mean %q?", strings.TrimSuffix(name, own)+likely)
		}
		return Mirror{}, err.WithHint("The settings are the keys of [[mirrors]] in pgdog.toml.example.")
	case key.flags&cluster != 0 || own == "name" && !inside:
		return Mirror{}, pgerror.New(pgerror.InvalidParameterValue, "setting %q of a mirror cannot be changed", name).
			WithHint("DROP MIRROR %q; and create another one.", m.Name)
	}
	field := into.FieldByIndex(key.index)
	if strings.EqualFold(value, "default") {
		field.Set(t.defaults.FieldByIndex(key.index))
		return m, nil
	}
	r := newReader("WITH", "WITH")
	r.value(r.main, t, key, key.option(field.Type(), value), t.Name, field)
	if len(r.problems) > 0 {
		p := r.problems[0]
		return Mirror{}, pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting %q of a mirror: %s", name, p.Message).WithHint("%s", p.Hint)
	}
	return m, nil
}

// option gives the TOML value that the text of an option stands for. Text that
// is none comes back as it is, to be refused.
func (k *Key) option(field reflect.Type, text string) any {
	table := field.Kind() == reflect.Map || field.Kind() == reflect.Struct || field.Kind() == reflect.Slice && field.Elem().Kind() == reflect.Struct
	if !table {
		return k.parseText(field, text)
	}
	var out map[string]any
	literal := fmt.Sprintf("x = %s", text)
	if _, tooDeep := locate([]byte(literal)); tooDeep > 0 {
		return text
	}
	if _, err := toml.Decode(literal, &out); err != nil || len(out) != 1 {
		return text
	}
	return out["x"]
}
