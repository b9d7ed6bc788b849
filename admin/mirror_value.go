package admin

import (
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// read has the configuration read one setting as if a file had it, so that its
// rules are those of the file. It gives a mirror with this setting alone.
func (t mirrorTable) read(name string, values []string) (config.Mirror, error) {
	section, key, err := t.key(name)
	if err != nil {
		return config.Mirror{}, err
	}
	isList := strings.HasPrefix(key.Type, "list")
	if !isList && len(values) != 1 {
		return config.Mirror{}, invalidValue(name, config.Problem{Message: "it has one value, not a list"})
	}
	file := minimalFile
	if section == "mirrors.tables.drift" {
		file += "[[mirrors.tables]]\nname = \"t\"\n"
	}
	if section != "mirrors" {
		file += "[" + section + "]\n"
	}
	file += key.Name + " = " + tomlValue(key, values, isList) + "\n"
	cfg, _, err := config.Parse("settings", []byte(file), "users", nil, nil)
	var broken *config.Error
	if errors.As(err, &broken) {
		return config.Mirror{}, invalidValue(name, broken.Problems[0])
	}
	if err != nil {
		return config.Mirror{}, pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting \"%s\": %w", name, err)
	}
	return cfg.Mirrors[0], nil
}

// minimalFile is all that a file needs for a mirror to be one.
const minimalFile = `
[[databases]]
name = "a"
host = "a"
[[databases]]
name = "b"
host = "b"
[[mirrors]]
source = "a"
destination = "b"
publication = "p"
`

// tomlValue writes values as TOML has them. What is no value of the key's type
// becomes a string, which the configuration refuses in its own words.
func tomlValue(key config.Key, values []string, isList bool) string {
	if isList {
		var elements []string
		for _, value := range values {
			for part := range strings.SplitSeq(value, ",") {
				if part = strings.TrimSpace(part); part != "" {
					elements = append(elements, tomlString(part))
				}
			}
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	value := strings.TrimSpace(values[0])
	switch key.Type {
	case "boolean":
		switch strings.ToLower(value) {
		case "true", "on", "yes", "1":
			return "true"
		case "false", "off", "no", "0":
			return "false"
		}
	case "integer":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return strconv.FormatInt(n, 10)
		}
		if digits.MatchString(value) {
			return value // too large, which TOML's own error tells
		}
	case "one of": // CAST-IF-SAFE is cast_if_safe, as SET takes it
		if folded := strings.ReplaceAll(strings.ToLower(value), "-", "_"); slices.Contains(key.Values, folded) {
			value = folded
		}
	}
	return tomlString(value)
}

var digits = regexp.MustCompile(`^-?[1-9][0-9]*$`)

// tomlString writes a text as a basic string of TOML, which is JSON's but for
// DEL.
func tomlString(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		return `""` // no string fails
	}
	return strings.ReplaceAll(string(encoded), "\x7f", `\u007f`)
}

// copySetting copies the field of a setting, "drift.interval", from one mirror,
// or table of one, to another.
func copySetting[T config.Mirror | config.MirrorTable](to, from *T, name string) {
	copyTagged(reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem(), strings.Split(name, "."))
}

// copyTagged copies the field that the path leads to by its names in the file.
func copyTagged(to, from reflect.Value, path []string) {
	for _, field := range reflect.VisibleFields(to.Type()) {
		if field.Tag.Get("toml") != path[0] {
			continue
		}
		if len(path) > 1 {
			copyTagged(to.FieldByIndex(field.Index), from.FieldByIndex(field.Index), path[1:])
			return
		}
		to.FieldByIndex(field.Index).Set(from.FieldByIndex(field.Index))
		return
	}
}
