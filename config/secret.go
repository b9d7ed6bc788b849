package config

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for a secret wherever something is shown.
const redacted = "********"

// Secret is text that must never be shown: every way of printing, logging or
// marshalling it gives "********", or nothing when it is empty.
type Secret string

// Reveal gives the text itself, to authenticate with and for nothing else.
func (s Secret) Reveal() string { return string(s) }

// String gives the mask.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString gives the mask for %#v.
func (s Secret) GoString() string { return fmt.Sprintf("config.Secret(%q)", s.String()) }

// Format gives the mask for every verb, %x and %d too.
func (s Secret) Format(state fmt.State, verb rune) {
	text := s.String()
	switch {
	case verb == 'v' && state.Flag('#'):
		text = s.GoString()
	case verb == 'q':
		text = `"` + text + `"`
	}
	_, _ = io.WriteString(state, text) // fmt.State keeps the error itself
}

// LogValue gives the mask to log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText gives the mask to encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON gives the mask to encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// shownUser is a User without User's methods.
type shownUser User

// shown is u with its verifier masked: a SCRAM verifier is no password, but
// it can be guessed from at leisure.
func (u User) shown() shownUser {
	out := shownUser(u)
	out.PasswordHash = Secret(out.PasswordHash).String()
	return out
}

// Format prints a user without its secrets, whatever the verb.
func (u User) Format(state fmt.State, verb rune) {
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), u.shown()) // fmt.State keeps the error itself
}

// LogValue gives a user without its secrets to log/slog.
func (u User) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", u.shown())) }

// MarshalJSON gives a user without its secrets.
func (u User) MarshalJSON() ([]byte, error) { return json.Marshal(u.shown()) }
