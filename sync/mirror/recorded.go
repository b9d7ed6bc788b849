package mirror

import (
	"encoding/json"
	"fmt"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// recorded is what is kept of a mirror's settings: pgdrover.mirrors.definition.
type recorded struct {
	config.Mirror
	// Entry is the entry of [[mirrors]] as far as it was taken over; nil for a
	// mirror that no file has had. Gone: the file has it no more.
	Entry *config.Mirror `json:"entry,omitempty"`
	Gone  bool           `json:"entry_gone,omitempty"`
	// Remapped are tables that have another name or form at the destination since
	// the last task was at work: the next one brings them in line.
	Remapped []remapped `json:"remapped,omitempty"`
}

// remapped is a table that is to be copied again, because it is another one at
// the destination. Moved: to another table there, which has to be empty.
type remapped struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Moved  bool   `json:"moved,omitempty"`
}

func (r remapped) table() catalog.Name { return catalog.Name{Schema: r.Schema, Name: r.Name} }

// text is how the settings are kept.
func (r recorded) text() (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("write down the settings of mirror %q: %w", r.Name, err)
	}
	return string(text), nil
}

// recorded gives what is kept of a mirror's settings: as it was created, else
// the defaults.
func (k keptMirror) recorded() (recorded, error) {
	out := recorded{Mirror: config.NewMirror(k.row.Source, k.row.Destination, k.row.Publication)}
	out.Name = k.row.Name
	if k.row.Definition == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(k.row.Definition), &out); err != nil {
		return out, fmt.Errorf("read the settings of mirror %q: %w", k.row.Name, err)
	}
	return out, nil
}

// definition is what a mirror is.
func (k keptMirror) definition() (config.Mirror, error) {
	r, err := k.recorded()
	return r.Mirror, err
}
