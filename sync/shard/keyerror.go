package shard

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pgdrover/pgdrover/pgerror"
)

// KeyErrorKind is why a row has no shard.
type KeyErrorKind byte

// The kinds of a KeyError.
const (
	NullKey   KeyErrorKind = iota + 1 // the key is NULL
	Unmatched                         // no rule of the mapping has the value, and there is none for what is left
	Malformed                         // the value is not one of the column's type in this format
)

// SQLSTATE codes of rows without a shard; the names are those of errcodes.txt.
const (
	nullValueNotAllowed         = "22004"
	invalidTextRepresentation   = "22P02"
	invalidBinaryRepresentation = "22P03"
	datatypeMismatch            = "42804"
	undefinedColumn             = "42703"
)

// longestValue is how much of a value an error shows, in characters.
const longestValue = 200

// KeyError is a row without a shard. It unwraps to a *pgerror.Error: 22004 for
// NullKey, 22023 for Unmatched, 22P02 or 22P03 for Malformed.
type KeyError struct {
	Kind          KeyErrorKind
	Schema, Table string
	Column        string
	Value         string // at most 200 characters; \x and hexadecimal digits where it is not text
	Entry         string // of the configuration
	Format        Format

	kind kind
}

// Error says it in one line.
func (e *KeyError) Error() string {
	column := fmt.Sprintf("sharding key %s of table %s", quote(e.Column), quote(e.Schema, e.Table))
	switch e.Kind {
	case NullKey:
		return column + " is null"
	case Unmatched:
		return column + " has a value that no mapping rule matches"
	}
	return fmt.Sprintf("%s has a value that is not a valid %s", column, e.kind.name())
}

// Unwrap gives the error with SQLSTATE, DETAIL and HINT.
func (e *KeyError) Unwrap() error {
	out := &pgerror.Error{Message: e.Error()}
	switch e.Kind {
	case NullKey:
		out.Code = nullValueNotAllowed
		return out.WithDetail("The table is sharded by %s: a row without a key belongs to no shard.", e.Entry).
			WithHint("Give these rows a key, or list the table in [[omnisharded_tables]] if every shard needs it whole. They are: SELECT * FROM %s WHERE %s IS NULL;",
				quote(e.Schema, e.Table), quote(e.Column))
	case Unmatched:
		out.Code = pgerror.InvalidParameterValue
		return out.WithDetail("Key (%s)=(%s); the rules are those of %s.", quote(e.Column), e.Value, e.Entry).
			WithHint("Add a rule for it, or one without values, start and end for all that is left: { shard = 0 }.")
	}
	out.Code = invalidTextRepresentation
	if e.Format == Binary {
		out.Code = invalidBinaryRepresentation
	}
	detail := fmt.Sprintf("Key (%s)=(%s)", quote(e.Column), e.Value)
	if e.Format != Text && e.Format != Binary {
		detail += fmt.Sprintf(" in the unknown format %q", byte(e.Format))
	}
	return out.WithDetail("%s; the table is sharded by %s.", detail, e.Entry)
}

// fail makes the error of a row; value is copied.
func (k *Key) fail(why KeyErrorKind, format Format, value []byte) *KeyError {
	e := &KeyError{Kind: why, Schema: k.schema, Table: k.table, Column: k.Column, Entry: k.entry, Format: format, kind: k.kind}
	if why != NullKey {
		e.Value = k.show(format, value)
	}
	return e
}

// show is a value as a person reads it. The stream is not trusted: what is not
// printable text comes as hexadecimal digits.
func (k *Key) show(format Format, value []byte) string {
	switch {
	case format == Binary && k.kind == uuid && len(value) == 16:
		return formatUUID(value)
	case format == Text || k.kind == text || k.kind == blank:
		// No more than what is shown is looked at: a value may have a gigabyte.
		if start := value[:min(len(value), utf8.UTFMax*(longestValue+1))]; !strings.ContainsFunc(string(start), unicode.IsControl) {
			return cut(strings.ToValidUTF8(string(start), "\uFFFD"))
		}
	}
	return cut(`\x` + hex.EncodeToString(value[:min(len(value), longestValue)]))
}

// cut shortens to longestValue characters, the last of which say so.
func cut(s string) string {
	if utf8.RuneCountInString(s) <= longestValue {
		return s
	}
	const more = "..."
	n := 0
	for i := range s {
		if n == longestValue-len(more) {
			return s[:i] + more
		}
		n++
	}
	return s
}
