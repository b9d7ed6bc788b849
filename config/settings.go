package config

import (
	"cmp"
	"reflect"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Setting is one row of SHOW CONFIG.
type Setting struct {
	Name        string // "port", "tcp_keepalive", "schema_sync.index_jobs"
	Value       string // as SET takes it; secrets masked
	Default     string
	Source      string // "default", "file", "environment" or "set"
	Unit        string // "ms", "bytes" or ""
	Description string
	Settable    bool // SET may change it
	Supported   bool // something acts on it
	Restart     bool // a change in the file takes effect at the next start
}

// setting is where a setting's value is.
type setting struct {
	table *Table
	key   *Key
	name  string // in SHOW CONFIG and SET
}

// source is the name under which Config.sources knows it.
func (s setting) source() string { return child(s.table.Name, s.key.Name) }

func (s setting) field(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.table.index).FieldByIndex(s.key.index)
}

// settings gives all settings, in the order of SHOW CONFIG.
func settings() []setting {
	var out []setting
	for _, prefix := range []struct{ table, before string }{
		{"general", ""}, {"tcp", "tcp_"}, {"memory", "memory_"},
		{"admin", "admin."}, {"replication", "replication."}, {"schema_sync", "schema_sync."}, {"data_sync", "data_sync."},
		{"drift", "drift."},
	} {
		t := tableNamed(prefix.table)
		for i := range t.Keys {
			out = append(out, setting{t, &t.Keys[i], prefix.before + t.Keys[i].Name})
		}
	}
	return out
}

// Settings gives the rows of SHOW CONFIG: every key of [general], [tcp],
// [memory], [admin], [replication], [schema_sync], [data_sync] and
// [drift].
func (c *Config) Settings() []Setting {
	var out []Setting
	for _, s := range settings() {
		out = append(out, Setting{
			Name:        s.name,
			Value:       s.key.text(s.field(c)),
			Default:     s.key.text(s.table.defaults.FieldByIndex(s.key.index)),
			Source:      cmp.Or(c.sources[s.source()], sourceDefault),
			Unit:        s.key.Unit,
			Description: s.key.Description,
			Settable:    s.key.Settable() && s.key.Supported(),
			Supported:   s.key.Supported(),
			Restart:     s.key.NeedsRestart(),
		})
	}
	return out
}

// Set gives a copy with one setting changed, for SET name TO value; "default"
// brings back the default. c stays as it is. Errors are *pgerror.Error: 42704
// for an unknown setting, 0A000 for one that nothing acts on yet, 22023 for
// one that SET cannot change and for a value that cannot be.
func (c *Config) Set(name, value string) (*Config, error) {
	s, err := findSetting(name)
	if err != nil {
		return nil, err
	}
	switch {
	case !s.key.Supported():
		return nil, pgerror.New(pgerror.FeatureNotSupported, "setting %q is not supported yet", s.name)
	case s.key.Settable():
	case s.key.NeedsRestart():
		return nil, pgerror.New(pgerror.InvalidParameterValue, "setting %q cannot be changed without a restart", s.name).
			WithHint("Change %s in the configuration file and restart.", s.source())
	default:
		return nil, pgerror.New(pgerror.InvalidParameterValue, "setting %q cannot be changed by SET", s.name).
			WithHint("Change %s in the configuration file and run RELOAD.", s.source())
	}
	out := c.clone()
	field := s.field(out)
	if strings.EqualFold(value, "default") {
		field.Set(s.table.defaults.FieldByIndex(s.key.index))
	} else if wrong := s.key.assign(field, s.key.parseText(field.Type(), value)); wrong != "" {
		return nil, pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting %q: %s", s.name, wrong)
	}
	out.sources[s.source()] = sourceSet
	if err := out.consistent(s); err != nil {
		return nil, err
	}
	return out, nil
}

// consistent checks a changed setting against the others.
func (c *Config) consistent(s setting) error {
	r := &reader{config: c, main: &document{kind: configFile, name: configFile}, bad: map[string]bool{}}
	r.checkGeneral()
	if len(r.problems) == 0 {
		return nil
	}
	p := r.problems[0]
	return pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting %q: %s", s.name, p.Message).WithHint("%s", p.Hint)
}

// findSetting finds a setting by its name in SHOW CONFIG, or with its table
// ("general.port", "tcp.keepalive"), in any case.
func findSetting(name string) (setting, error) {
	var names []string
	name = strings.ToLower(name)
	for _, s := range settings() {
		if s.name == name || s.source() == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	err := pgerror.New(pgerror.UndefinedObject, "unknown setting %q", name)
	if likely := nearest(name, names); likely != "" {
		return setting{}, err.WithHint("Did you mean %q? SHOW CONFIG lists all settings.", likely)
	}
	return setting{}, err.WithHint("SHOW CONFIG lists all settings.")
}
