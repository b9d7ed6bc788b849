package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/config"
)

var configColumns = []Column{
	{"name", Text, "key; those of [general] without their table"},
	{"value", Text, "value in force; secrets masked"},
	{"default", Text, "value without any configuration"},
	{"source", Text, "where the value comes from: default, file, environment or set"},
	{"unit", Text, "of value and default; NULL if they have none"},
	{"settable", Bool, "SET may change it"},
	{"supported", Bool, "it has an effect; false for keys of PgDog that are accepted and nothing acts on yet"},
	{"description", Text, "what it is for"},
}

// runShowConfig is SHOW CONFIG.
func runShowConfig(_ context.Context, c *console, call call) (result, error) {
	written, one := call.arguments["name"]
	if !one {
		return result{rows: settingRows(c.config().Settings())}, nil
	}
	name, err := call.text("name")
	if err != nil {
		return result{}, err
	}
	setting, known := c.setting(name)
	if !known {
		return result{}, errNoSuchSetting(name, nearest(name, c.settingNames())).At(call.at(written.start))
	}
	return result{rows: settingRows([]config.Setting{setting})}, nil
}

func settingRows(settings []config.Setting) [][]any {
	var rows [][]any
	for _, s := range settings {
		rows = append(rows, []any{s.Name, s.Value, s.Default, s.Source, orNull(s.Unit), s.Settable, s.Supported, s.Description})
	}
	return rows
}
