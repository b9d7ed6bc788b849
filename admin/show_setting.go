package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// describeShowSetting is where every SHOW of something unknown ends.
func describeShowSetting(c *console, s *statement) error {
	written := s.arguments["setting"]
	if setting, known := c.setting(written.text); known {
		s.columns = []Column{{Name: setting.Name, Type: Text}}
		return nil
	}
	if syntax := c.server.grammar.syntaxFor(s.tokens); syntax != "" { // SHOW MIRROR without a name
		return pgerror.New(pgerror.SyntaxError, "syntax error at end of input").At(s.at(s.tokens[len(s.tokens)-1].end)).
			WithHint("Syntax: %s", syntax)
	}
	e := pgerror.New(pgerror.SyntaxError, "unknown SHOW topic or setting \"%s\"", written.text).At(s.at(written.start))
	topics := c.server.grammar.topics()
	candidates := slices.Concat(topics, c.settingNames())
	for _, p := range sessionParameters {
		candidates = append(candidates, p.name)
	}
	var hint string
	if near := nearest(written.text, candidates); near != "" {
		hint = fmt.Sprintf("Perhaps you meant SHOW %s. ", near)
	}
	return e.WithDetail("Topics: %s.", strings.Join(topics, ", ")).WithHint("%s%s", hint, helpHint)
}

func runShowSetting(_ context.Context, c *console, call call) (result, error) {
	setting, known := c.setting(call.columns[0].Name)
	if !known { // a reload between Parse and Execute
		return result{}, errNoSuchSetting(call.columns[0].Name, "")
	}
	return result{rows: [][]any{{setting.Value}}}, nil
}
