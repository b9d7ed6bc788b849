package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

var durationType = reflect.TypeFor[time.Duration]()

// units gives how many nanoseconds a key's unit has.
var units = map[string]time.Duration{"ms": time.Millisecond, "s": time.Second}

// assign puts a decoded TOML value into a field. It gives what is wrong with
// the value, "" if nothing is. No message holds the value of a secret.
func (k *Key) assign(field reflect.Value, raw any) string {
	if word, ok := raw.(string); ok && k.unset != "" && word == k.unset {
		field.SetZero()
		return ""
	}
	if field.Kind() == reflect.Pointer {
		value := reflect.New(field.Type().Elem())
		if wrong := k.assign(value.Elem(), raw); wrong != "" {
			return wrong
		}
		field.Set(value)
		return ""
	}
	if field.Type() == durationType {
		return k.assignDuration(field, raw)
	}
	switch field.Kind() {
	case reflect.Bool:
		value, ok := raw.(bool)
		if !ok {
			return k.mismatch("true or false", raw)
		}
		field.SetBool(value)
	case reflect.Int, reflect.Int64:
		value, ok := raw.(int64)
		if !ok {
			return k.mismatch("an integer", raw)
		}
		if wrong := k.outOfRange(float64(value)); wrong != "" {
			return wrong
		}
		if field.OverflowInt(value) {
			return "number is too large"
		}
		field.SetInt(value)
	case reflect.Float64:
		return k.assignFloat(field, raw)
	case reflect.String:
		return k.assignString(field, raw)
	case reflect.Slice:
		return k.assignList(field, raw)
	case reflect.Map:
		return k.assignMap(field, raw)
	case reflect.Interface:
		switch raw.(type) {
		case int64, string:
			field.Set(reflect.ValueOf(raw))
		default:
			return k.mismatch("an integer or a string", raw)
		}
	}
	return ""
}

func (k *Key) assignDuration(field reflect.Value, raw any) string {
	value, ok := raw.(int64)
	if !ok {
		return k.mismatch(`an integer (`+unitName(k.Unit)+`)`, raw)
	}
	if wrong := k.outOfRange(float64(value)); wrong != "" {
		return wrong
	}
	unit := units[k.Unit]
	if value > math.MaxInt64/int64(unit) {
		return "number is too large; leave the key out for its default"
	}
	field.SetInt(value * int64(unit))
	return ""
}

func (k *Key) assignFloat(field reflect.Value, raw any) string {
	var value float64
	switch raw := raw.(type) {
	case float64:
		value = raw
	case int64:
		value = float64(raw)
	default:
		return k.mismatch("a number", raw)
	}
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return "must be a finite number"
	}
	if wrong := k.outOfRange(value); wrong != "" {
		return wrong
	}
	field.SetFloat(value)
	return ""
}

func (k *Key) assignString(field reflect.Value, raw any) string {
	value, ok := raw.(string)
	switch {
	case !ok:
		return k.mismatch("a string", raw)
	case strings.ContainsRune(value, 0):
		return "must not contain a NUL byte"
	case !utf8.ValidString(value):
		return "is not valid UTF-8"
	case k.Required() && value == "":
		return "must not be empty"
	case len(k.Values) > 0 && !slices.Contains(k.Values, value):
		return fmt.Sprintf("expected %s, found %q", choices(k.choices()), value)
	}
	field.SetString(value)
	return ""
}

// choices gives all that a "one of" may be, the word for "not set" too.
func (k *Key) choices() []string {
	if k.unset == "" {
		return k.Values
	}
	return append(slices.Clone(k.Values), k.unset)
}

func (k *Key) assignList(field reflect.Value, raw any) string {
	elements, ok := raw.([]any)
	if !ok {
		return k.mismatch("a list", raw)
	}
	list := reflect.MakeSlice(field.Type(), len(elements), len(elements))
	element := Key{Min: math.MinInt64, Values: k.Values, flags: k.flags &^ required}
	for i, raw := range elements {
		if wrong := element.assign(list.Index(i), raw); wrong != "" {
			return fmt.Sprintf("element %d of the list: %s", i+1, wrong)
		}
	}
	if len(elements) == 0 {
		list = reflect.Zero(field.Type())
	}
	field.Set(list)
	return ""
}

func (k *Key) assignMap(field reflect.Value, raw any) string {
	entries, ok := raw.(map[string]any)
	if !ok {
		return k.mismatch("a table", raw)
	}
	out := reflect.MakeMapWithSize(field.Type(), len(entries))
	for name, raw := range entries {
		value := reflect.New(field.Type().Elem()).Elem()
		if wrong := (&Key{flags: k.flags}).assign(value, raw); wrong != "" {
			return fmt.Sprintf("entry %q: %s", name, wrong)
		}
		out.SetMapIndex(reflect.ValueOf(name), value)
	}
	if len(entries) == 0 {
		out = reflect.Zero(field.Type())
	}
	field.Set(out)
	return ""
}

func (k *Key) mismatch(expected string, found any) string {
	if k.unset != "" {
		expected += fmt.Sprintf(" or %q", k.unset)
	}
	return "expected " + expected + ", found " + kindOf(found)
}

// outOfRange gives what is wrong with a number.
func (k *Key) outOfRange(value float64) string {
	shown := strconv.FormatFloat(value, 'f', -1, 64)
	switch {
	case k.Max > 0 && (value < float64(k.Min) || value > float64(k.Max)):
		return fmt.Sprintf("must be between %d and %d, found %s", k.Min, k.Max, shown)
	case value < float64(k.Min) && k.Min == 0:
		return "must not be negative, found " + shown
	case value < float64(k.Min):
		return fmt.Sprintf("must be at least %d, found %s", k.Min, shown)
	}
	return ""
}

// kindOf names the type of a decoded TOML value.
func kindOf(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number with a fraction"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	}
	return fmt.Sprintf("%T", raw)
}

func unitName(unit string) string {
	switch unit {
	case "ms":
		return "milliseconds"
	case "s":
		return "seconds"
	}
	return unit
}

// parseText gives the TOML value that text from the environment or SET stands
// for. Text that is no such value comes back as it is, for assign to refuse.
func (k *Key) parseText(field reflect.Type, text string) any {
	if k.unset != "" && text == k.unset {
		return text
	}
	if field.Kind() == reflect.Pointer {
		field = field.Elem()
	}
	switch field.Kind() {
	case reflect.Bool:
		switch strings.ToLower(text) {
		case "true", "on", "yes", "1":
			return true
		case "false", "off", "no", "0":
			return false
		}
	case reflect.Int, reflect.Int64:
		if value, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64); err == nil {
			return value
		}
	case reflect.Float64:
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			return value
		}
	case reflect.String:
		// VERIFY-FULL is verify_full.
		if folded := strings.ReplaceAll(strings.ToLower(text), "-", "_"); slices.Contains(k.Values, folded) {
			return folded
		}
	case reflect.Slice:
		return parseList(text)
	}
	return text
}

// parseList reads ["a", "b"] or a, b.
func parseList(text string) any {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		var out map[string]any
		if _, err := toml.Decode("x = "+text, &out); err != nil {
			return text
		}
		return out["x"]
	}
	list := []any{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// text shows a field as SHOW CONFIG does: what SET would take, secrets masked.
func (k *Key) text(field reflect.Value) string {
	if k.Secret() {
		if field.IsZero() {
			return ""
		}
		return redacted
	}
	if field.Kind() == reflect.Pointer {
		if field.IsNil() {
			return k.unset
		}
		field = field.Elem()
	}
	if field.Type() == durationType {
		return strconv.FormatInt(field.Int()/int64(units[k.Unit]), 10)
	}
	switch field.Kind() {
	case reflect.String:
		if field.String() == "" {
			return k.unset
		}
		return field.String()
	case reflect.Slice, reflect.Struct, reflect.Map:
		switch {
		case field.Kind() == reflect.Slice && field.Len() == 0:
			return "[]"
		case field.Kind() == reflect.Map && field.Len() == 0:
			return "{}"
		}
		if encoded, err := json.Marshal(field.Interface()); err == nil {
			return string(encoded)
		}
	}
	return fmt.Sprint(field.Interface())
}
