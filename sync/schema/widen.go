package schema

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// widening is what turns the integer keys of a table or sequence into bigint,
// "" if it has none. It runs in the statement that creates the table, while
// nothing depends on the column's type yet.
func (b *builder) widening(e *dump.Entry) string {
	if !b.opts.WidenKeys {
		return ""
	}
	name := catalog.Name{Schema: e.Namespace, Name: e.Tag}
	var alters []string
	for _, key := range b.source.IntegerKeys {
		switch {
		case e.Kind == dump.KindTable && key.Table == name:
			alters = append(alters, fmt.Sprintf("ALTER COLUMN %s TYPE bigint", dump.QuoteIdent(key.Column)))
		case e.Kind == dump.KindSequence && key.Sequence == name && strings.HasPrefix(e.Definition, "CREATE SEQUENCE"):
			return fmt.Sprintf("ALTER SEQUENCE %s AS bigint;", qualified(name.Schema, name.Name))
		}
	}
	if len(alters) == 0 {
		return ""
	}
	return fmt.Sprintf("ALTER TABLE %s\n    %s;", qualified(name.Schema, name.Name), strings.Join(alters, ",\n    "))
}

var incrementLine = regexp.MustCompile(`(?m)^    INCREMENT BY (-?\d+)$`)

// expectation gives the text that a source entry has on a destination where it
// is meant to differ: widened keys, and sequences that step over the other
// shards' values. nil if nothing is meant to differ.
func expectation(source *Source, shards int, opts PlanOptions) func(*dump.Entry) string {
	if !opts.WidenKeys && shards < 2 {
		return nil
	}
	return func(e *dump.Entry) string {
		text := e.Definition
		if opts.WidenKeys {
			text = widened(e, text, source.IntegerKeys)
		}
		if shards > 1 && e.Kind == dump.KindSequence {
			text = incrementLine.ReplaceAllStringFunc(text, func(line string) string {
				step, err := strconv.ParseInt(incrementLine.FindStringSubmatch(line)[1], 10, 64)
				if err != nil {
					return line // not a bigint: then pg_dump did not write it
				}
				return fmt.Sprintf("    INCREMENT BY %d", step*int64(shards))
			})
		}
		return text
	}
}

// widened rewrites pg_dump's text of a table or sequence as it will be once its
// integer keys are bigint. Only the text that is compared is rewritten; what
// runs is the ALTER TABLE of widening.
func widened(e *dump.Entry, text string, keys []catalog.IntegerKey) string {
	name := catalog.Name{Schema: e.Namespace, Name: e.Tag}
	for _, key := range keys {
		switch {
		case e.Kind == dump.KindTable && key.Table == name:
			for _, column := range []string{key.Column, dump.QuoteIdent(key.Column)} {
				text = replaceLineStart(text, "    "+column+" "+key.Type, "    "+column+" bigint")
			}
		case e.Kind == dump.KindSequence && key.Sequence == name:
			text = strings.Replace(text, "    AS "+key.Type+"\n", "", 1)
		}
	}
	return text
}

// replaceLineStart replaces the beginning of a line, where it ends at a word's end.
func replaceLineStart(text, old, replacement string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		rest, found := strings.CutPrefix(line, old)
		if found && (rest == "" || rest[0] == ' ' || rest[0] == ',') {
			lines[i] = replacement + rest
		}
	}
	return strings.Join(lines, "\n")
}
