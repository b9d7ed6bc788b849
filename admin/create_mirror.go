package admin

import (
	"context"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
)

var createMirrorColumns = []Column{
	{"mirror", Text, "its name"},
	{"task_id", Text, "number of the task that was started: for WAIT, STOP_TASK, SHOW TASKS; NULL if none was"},
}

// describeSettings refuses a list that is no list of settings, before its
// parameters are known.
func describeSettings(_ *console, s *statement) error {
	for name, reset := range map[string]bool{"settings": false, "setting_names": true} {
		list, there := s.arguments[name]
		if !there {
			continue
		}
		if _, err := readSettings(settingsReader{source: s.source, tokens: list.tokens, reset: reset}); err != nil {
			return err
		}
	}
	return nil
}

// runCreateMirror is CREATE MIRROR.
func runCreateMirror(ctx context.Context, c *console, call call) (result, error) {
	definition, start, err := mirrorDefinition(c.config(), call)
	if err != nil {
		return result{}, err
	}
	engine, name := c.server.options.Engine, definition.Name
	if err := engine.CreateMirror(ctx, definition); err != nil {
		return result{}, err
	}
	if !start {
		return result{rows: [][]any{{name, nil}}}, nil
	}
	started, err := engine.Resume(ctx, name)
	c.warn(started.Warnings)
	if err != nil {
		quoted := dump.QuoteIdent(name)
		c.notify("NOTICE", pgerror.New(successfulCompletion, "mirror %s is recorded, and was not started", quoted).
			WithHint("When what follows is resolved: RESUME MIRROR %[1]s; or DROP MIRROR %[1]s;", quoted))
		return result{}, err
	}
	return result{rows: [][]any{{name, taskNumber(started.Task)}}}, nil
}

// mirrorDefinition is what CREATE MIRROR says, and whether the mirror is to be
// started: unless NO START or autostart = false forbids it.
func mirrorDefinition(cfg *config.Config, call call) (config.Mirror, bool, error) {
	names, err := call.texts("mirror", "source", "destination", "publication")
	if err != nil {
		return config.Mirror{}, false, err
	}
	if names[0] == "" {
		return config.Mirror{}, false, pgerror.New(pgerror.InvalidParameterValue, "the name of a mirror must not be empty").
			At(call.at(call.arguments["mirror"].start))
	}
	definition := config.NewMirror(names[1], names[2], names[3])
	definition.Name = names[0]
	noStart := call.options["NO START"]
	definition.Autostart = !noStart
	settings, err := MirrorSettings{}, error(nil)
	if call.options[withSettings] {
		settings, err = call.settings("settings", false)
	}
	if err == nil {
		err = settings.Apply(cfg, &definition)
	}
	if err == nil && noStart && definition.Autostart {
		err = pgerror.New(pgerror.InvalidParameterValue, "NO START and autostart = true contradict each other").At(settings.at("autostart")).
			WithHint("Remove one of them.")
	}
	return definition, definition.Autostart, err
}

// withSettings is the name of the option of CREATE MIRROR.
const withSettings = "WITH ( <settings> )"
