package admin

import (
	"context"
	"strings"

	"github.com/pgdrover/pgdrover/config"
)

// runSet is SET of a setting. Those of the session are in
// parameter_statements.go.
func runSet(_ context.Context, c *console, call call) (result, error) {
	texts, err := call.texts("name", "value")
	if err != nil {
		return result{}, err
	}
	name, value := texts[0], texts[1]
	place := call.at(call.arguments["name"].start)
	setting, known := c.setting(name)
	if !known {
		return result{}, errNoSuchSetting(name, nearest(name, c.settingNames())).At(place)
	}
	if call.arguments["value"].isDefault {
		value = setting.Default
	}
	if err := c.server.options.Configuration.Set(setting.Name, value); err != nil {
		return result{}, configError(err, place)
	}
	return result{}, nil
}

// config gives the configuration in force.
func (c *console) config() *config.Config { return c.server.options.Configuration.Config() }

// setting finds a setting of the configuration; case does not matter.
func (c *console) setting(name string) (config.Setting, bool) {
	for _, s := range c.config().Settings() {
		if strings.EqualFold(s.Name, name) {
			return s, true
		}
	}
	return config.Setting{}, false
}

func (c *console) settingNames() []string {
	var names []string
	for _, s := range c.config().Settings() {
		names = append(names, s.Name)
	}
	return names
}
