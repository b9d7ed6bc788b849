package ddl

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

const (
	// imageLimit is the size in bytes above which the event triggers leave an
	// image out.
	imageLimit = 1 << 20
	// commandLimit bounds the images of one command, and commandImages how many
	// there may be.
	commandLimit  = 4 << 20
	commandImages = 64
	// contentLimit is more than the event triggers can send: an image, and what
	// is around it. In UTF-8 it may be longer than in the database's encoding.
	contentLimit = 4 << 20
	// messageVersion is that of the form of the messages.
	messageVersion = 1
)

// message is how an event is written.
type message struct {
	Version int             `json:"v"`
	Kind    EventKind       `json:"kind"`
	Tag     string          `json:"tag"`
	User    string          `json:"user"`
	Fields  messageFields   `json:"fields"`
	Image   json.RawMessage `json:"image"`
	Failure *messageFailure `json:"failure"`
}

type messageFields struct {
	OID     uint32            `json:"oid"`
	Schema  string            `json:"schema"`
	Name    string            `json:"name"`
	Relkind string            `json:"relkind"`
	Plain   bool              `json:"plain"`
	Missing map[string]string `json:"leaf_missing"`
	Reason  RewriteReason     `json:"reason"`
	Dropped []messageObject   `json:"dropped"`
	Tables  []messageTable    `json:"tables"`
}

type messageObject struct {
	Class  uint32   `json:"class"`
	OID    uint32   `json:"oid"`
	Column int      `json:"column"`
	Type   string   `json:"type"`
	Names  []string `json:"names"`
	Args   []string `json:"args"`
}

type messageTable struct {
	OID  uint32 `json:"oid"`
	Name string `json:"name"`
}

type messageFailure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Decode reads the content of a message with the prefix Prefix. Anybody who may
// call pg_logical_emit_message can write one: what it says is a claim about the
// schema, and one that does not fit is an error (08P01), never a panic, and
// costs no more memory than its length times a constant.
func Decode(content []byte) (Event, error) {
	if len(content) > contentLimit {
		return Event{}, pgerror.New(pgerror.ProtocolViolation, "a message about a schema change has %d bytes; at most %d are possible", len(content), contentLimit)
	}
	if !utf8.Valid(content) {
		return Event{}, malformed("it is not UTF-8", nil)
	}
	var m message
	if err := json.Unmarshal(content, &m); err != nil {
		return Event{}, malformed("it is not JSON of the expected form", err)
	}
	if m.Version != messageVersion {
		return Event{}, pgerror.New(pgerror.FeatureNotSupported, "a message about a schema change has the form %d; this version of pgdrover reads %d", m.Version, messageVersion).
			WithHint("run SETUP SCHEMA, which puts this version's event triggers into the source")
	}
	if string(m.Image) == "null" {
		m.Image = nil
	}
	return m.event()
}

func (m *message) event() (Event, error) {
	f := &m.Fields
	e := Event{
		Kind: m.Kind, Tag: m.Tag, User: m.User, OID: f.OID, Name: catalog.Name{Schema: f.Schema, Name: f.Name}, Relkind: f.Relkind,
		Plain: f.Plain, LeafMissing: f.Missing, Reason: f.Reason, Failure: (*Failure)(m.Failure),
	}
	for _, d := range f.Dropped {
		e.Dropped = append(e.Dropped, Dropped(d))
	}
	for _, t := range f.Tables {
		e.Tables = append(e.Tables, NumberedTable(t))
	}
	if why := e.lacks(len(m.Image) > 0); why != "" {
		return Event{}, malformed(why, nil)
	}
	if len(m.Image) == 0 {
		return e, nil
	}
	if err := e.setImage(m.Image); err != nil {
		return Event{}, malformed("its image is not of the expected form", err)
	}
	if e.After != nil && e.After.OID != e.OID {
		return Event{}, malformed("its image is of another table", nil)
	}
	return e, nil
}

// lacks tells what an event of its kind must have and e has not, "" if it is
// complete.
func (e *Event) lacks(image bool) string {
	switch e.Kind {
	case TableEvent, TypeEvent, PublicationEvent:
		if !image && e.Failure == nil {
			return "it has neither an image nor a reason"
		}
	case RewriteEvent, SchemaEvent, DropEvent, UnknownEvent:
		if image {
			return "it has an image that nothing is known of"
		}
	default:
		return "it is of unknown kind"
	}
	if e.OID == 0 && e.Kind != DropEvent && e.Kind != UnknownEvent {
		return "it names no object"
	}
	return ""
}

func (e *Event) setImage(image []byte) (err error) {
	switch e.Kind {
	case TableEvent:
		e.After, err = catalog.ParseDescription(image)
	case TypeEvent:
		e.Type = &catalog.TypeDescription{}
		err = json.Unmarshal(image, e.Type)
	case PublicationEvent:
		e.Publication = &Publication{}
		err = json.Unmarshal(image, e.Publication)
	}
	return err
}

func malformed(why string, err error) error {
	if err == nil {
		return pgerror.New(pgerror.ProtocolViolation, "malformed message about a schema change: %s", why)
	}
	return pgerror.New(pgerror.ProtocolViolation, "malformed message about a schema change: %s: %w", why, err)
}
