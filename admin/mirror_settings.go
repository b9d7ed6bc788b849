package admin

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// MirrorSettings are changes of a mirror's settings, as they are written between
// the parentheses of WITH, SET and RESET: "workers = 4, SCHEMA public AS app".
type MirrorSettings struct {
	source  string
	changes []mirrorChange
}

// mirrorChange is one element of such a list.
type mirrorChange struct {
	name  string // "workers", "SCHEMA public", "TABLE public.orders"
	start int    // byte in the source
	apply func(*config.Mirror)
}

// ParseMirrorSettings reads what WITH and SET have between their parentheses.
// Errors have positions in text. The names and values of settings are checked.
func ParseMirrorSettings(text string) (MirrorSettings, error) { return parseSettingsText(text, false) }

// ParseMirrorReset reads what RESET has between its parentheses: names of
// settings, SCHEMA <name> and TABLE <name>.
func ParseMirrorReset(text string) (MirrorSettings, error) { return parseSettingsText(text, true) }

func parseSettingsText(text string, reset bool) (MirrorSettings, error) {
	tokens, err := lex(text)
	if err != nil {
		return MirrorSettings{}, err
	}
	return readSettings(settingsReader{source: text, tokens: tokens, reset: reset, bind: func(t token) (string, error) {
		return "", pgerror.New(pgerror.UndefinedParameter, "there is no parameter %s", t.text).At(position(text, t.start))
	}})
}

// Has tells whether a setting is among those that are changed.
func (s MirrorSettings) Has(name string) bool {
	return slices.ContainsFunc(s.changes, func(c mirrorChange) bool { return c.name == name })
}

// at gives the position of what is said of a setting.
func (s MirrorSettings) at(name string) int {
	for _, c := range s.changes {
		if c.name == name {
			return position(s.source, c.start)
		}
	}
	return 0
}

// Apply changes a mirror. It is refused with 22023 if its tables would then
// contradict each other, or the sharding of its destination in cfg, where they
// do not already.
func (s MirrorSettings) Apply(cfg *config.Config, m *config.Mirror) error {
	before := cfg.MirrorConflicts(*m)
	for _, c := range s.changes {
		c.apply(m)
	}
	for _, conflict := range cfg.MirrorConflicts(*m) {
		if !slices.Contains(before, conflict) {
			return s.contradiction(conflict)
		}
	}
	return nil
}

func (s MirrorSettings) contradiction(c config.Conflict) error {
	return pgerror.New(pgerror.InvalidParameterValue, "the mapping contradicts itself: %s", c.Message).
		WithDetail("In a file it would be %s.", c.Key).WithHint("%s", c.Hint)
}

// changeSetting takes a setting over from a mirror that has it.
func changeSetting(name string, from config.Mirror) func(*config.Mirror) {
	return func(m *config.Mirror) { copySetting(m, &from, name) }
}

// resetSetting makes a setting what it is without being set.
func resetSetting(name string) func(*config.Mirror) {
	return func(m *config.Mirror) {
		fresh := config.NewMirror(m.Source, m.Destination, m.Publication)
		copySetting(m, &fresh, name)
	}
}

// renameSchema gives a schema another name at the destination; "" takes that
// back. The map is another mirror's as well until it is copied.
func renameSchema(from, to string) func(*config.Mirror) {
	return func(m *config.Mirror) {
		m.Schemas = maps.Clone(m.Schemas)
		if to == "" {
			delete(m.Schemas, from)
			return
		}
		if m.Schemas == nil {
			m.Schemas = map[string]string{}
		}
		m.Schemas[from] = to
	}
}

// mapTable makes an entry what is other about a table, in place of the one that
// the mirror may have.
func mapTable(t config.MirrorTable) func(*config.Mirror) {
	return func(m *config.Mirror) {
		m.Tables = slices.Clone(m.Tables)
		if i := tableEntry(m, t); i >= 0 {
			m.Tables[i] = t
		} else {
			m.Tables = append(m.Tables, t)
		}
	}
}

// forgetTable makes a table the same at the destination.
func forgetTable(t config.MirrorTable) func(*config.Mirror) {
	return func(m *config.Mirror) {
		if i := tableEntry(m, t); i >= 0 {
			m.Tables = slices.Delete(slices.Clone(m.Tables), i, i+1)
		}
	}
}

func tableEntry(m *config.Mirror, t config.MirrorTable) int {
	return slices.IndexFunc(m.Tables, func(e config.MirrorTable) bool { return e.Schema == t.Schema && e.Name == t.Name })
}

// mirrorTable is a table within [[mirrors]] whose keys a list may set.
type mirrorTable struct {
	what     string   // of which these are settings, for messages
	sections []string // names in the key table
}

var (
	wholeMirror = mirrorTable{"a mirror", []string{"mirrors", "mirrors.drift"}}
	oneTable    = mirrorTable{"a table", []string{"mirrors.tables.drift"}}
)

// settingNames lists the settings, as lists have them.
func (t mirrorTable) settingNames() []string {
	var names []string
	for _, section := range t.sections {
		for _, key := range keysOf(section) {
			if isSetting(key) && key.Name != "name" {
				names = append(names, settingPrefix(section)+key.Name)
			}
		}
	}
	return names
}

// settingPrefix is what the names of a section's keys begin with in a list:
// drift. or nothing.
func settingPrefix(section string) string {
	if section == "mirrors" {
		return ""
	}
	return section[strings.LastIndexByte(section, '.')+1:] + "."
}

func keysOf(section string) []config.Key {
	for _, t := range config.Describe() {
		if t.Name == section {
			return t.Keys
		}
	}
	return nil
}

// isSetting tells whether a key has one value or a list of them: neither a table
// nor what makes the mirror this one.
func isSetting(k config.Key) bool {
	return !k.Section() && !k.Required() && !strings.HasPrefix(k.Type, "table")
}

// key finds a setting by its name, in any case.
func (t mirrorTable) key(name string) (section string, key config.Key, err error) {
	names := t.settingNames()
	for _, section := range t.sections {
		bare, ok := strings.CutPrefix(name, settingPrefix(section))
		if !ok || !slices.Contains(names, name) {
			continue
		}
		for _, key := range keysOf(section) {
			if key.Name == bare {
				return section, key, nil
			}
		}
	}
	if other, ok := otherWays[name]; ok && t.what == wholeMirror.what {
		return "", key, pgerror.New(pgerror.InvalidParameterValue, "%q is not set here", name).WithHint("%s", other)
	}
	e := pgerror.New(pgerror.UndefinedObject, "unrecognized setting \"%s\" of %s", name, t.what)
	all := "They are " + strings.Join(names, ", ") + "."
	if near := nearest(name, names); near != "" {
		return "", key, e.WithHint("Perhaps you meant %s. %s", near, all)
	}
	return "", key, e.WithHint("%s", all)
}

// otherWays tells where to say what [[mirrors]] has as a key, and a list has not.
var otherWays = map[string]string{
	"name": "The name of a mirror stays: DROP MIRROR, then CREATE MIRROR.", "source": "CREATE MIRROR has it after FROM. It stays.",
	"destination": "CREATE MIRROR has it after TO. It stays.", "publication": "CREATE MIRROR has it after PUBLICATION. It stays.",
	"schemas": "Write SCHEMA <name> AS <name at the destination>.",
	"tables":  "Write TABLE <name> AS <name at the destination> (EXCLUDE (...), RENAME (...), CAST (...), WHERE '...').",
	"drift":   "Write drift.<setting> = <value>: " + strings.Join(driftNames(), ", ") + ".",
}

func driftNames() []string {
	return mirrorTable{sections: []string{"mirrors.drift"}}.settingNames()
}

// errTwice refuses a list that says two things of one.
func errTwice(name string) *pgerror.Error {
	return pgerror.New(pgerror.InvalidParameterValue, "\"%s\" is there twice", name).WithHint("Remove one.")
}

// invalidValue is the error of a value that the configuration does not take.
func invalidValue(name string, p config.Problem) error {
	return pgerror.New(pgerror.InvalidParameterValue, "invalid value for setting \"%s\": %s", name, cmp.Or(p.Message, "it cannot be read")).WithHint("%s", p.Hint)
}
