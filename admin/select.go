package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// probe is what a SELECT asks for: rows of values that are found when it runs.
// There are no tables here; these are the questions that clients and drivers
// ask by themselves.
type probe struct {
	values []scalar // one row; nil if rows holds
	rows   [][]any  // what is known when the statement is parsed
}

// scalar gives one value of a SELECT without FROM.
type scalar func(c *console, parameters []*string) (any, error)

// describeSelect recognises a SELECT and finds its columns.
func describeSelect(c *console, s *statement) error {
	items, from, err := splitSelect(s)
	if err != nil {
		return err
	}
	if len(from) == 0 {
		return describeScalars(s, items)
	}
	for _, recognise := range []func(*console, *statement, [][]token, []token) bool{
		describeCompletion, describeTypeNames, describeCatalog,
	} {
		if recognise(c, s, items, from) {
			return nil
		}
	}
	return errSelect(s, from[0])
}

// runSelect gives the rows of a recognised SELECT.
func runSelect(_ context.Context, c *console, call call) (result, error) {
	if call.probe.values == nil {
		return result{rows: call.probe.rows}, nil
	}
	row := make([]any, len(call.probe.values))
	for i, value := range call.probe.values {
		var err error
		if row[i], err = value(c, call.parameters); err != nil {
			return result{}, err
		}
	}
	return result{rows: [][]any{row}}, nil
}

// errSelect is the error of a SELECT that is not one of a driver's.
func errSelect(s *statement, t token) error {
	return pgerror.New(pgerror.FeatureNotSupported, "this SELECT is not supported: the admin database has no tables").
		At(s.at(t.start)).WithHint("%s", helpHint)
}

// splitSelect cuts a SELECT into the items before FROM and what follows FROM,
// looking only outside of parentheses.
func splitSelect(s *statement) (items [][]token, from []token, err error) {
	tokens := s.tokens[1:]
	depth, start := 0, 0
	for i, t := range tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case depth == 0 && t.is(","):
			items = append(items, tokens[start:i])
			start = i + 1
		case depth == 0 && t.is("FROM"):
			from = tokens[i+1:]
			tokens = tokens[:i]
		}
		if from != nil {
			break
		}
	}
	if from != nil && len(from) == 0 {
		return nil, nil, errSelect(s, s.tokens[0])
	}
	items = append(items, tokens[start:])
	for _, item := range items {
		if len(item) == 0 {
			return nil, nil, errSelect(s, s.tokens[0])
		}
	}
	return items, from, nil
}

// describeScalars is for SELECT without FROM.
func describeScalars(s *statement, items [][]token) error {
	s.probe = &probe{}
	s.columns = nil
	for _, item := range items {
		p := &scalarParser{tokens: item}
		column, value, ok := p.item()
		if !ok {
			return errSelect(s, item[0])
		}
		s.columns = append(s.columns, column)
		s.probe.values = append(s.probe.values, value)
	}
	return nil
}

// baseName gives the last part of a name, in lower case: pg_catalog.version is
// version.
func baseName(t token) string {
	name := strings.ToLower(t.text)
	return name[strings.LastIndexByte(name, '.')+1:]
}

// containsWord tells whether a keyword or unquoted name occurs in tokens.
func containsWord(tokens []token, word string) bool {
	return slices.ContainsFunc(tokens, func(t token) bool { return t.kind == wordToken && baseName(t) == word })
}
