package admin

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

// runNothing answers what has no meaning here and does no harm.
func runNothing(context.Context, *console, call) (result, error) { return result{}, nil }

// runSetParameter is SET of a session parameter.
func runSetParameter(_ context.Context, c *console, call call) (result, error) {
	name, err := call.text("parameter")
	if err != nil {
		return result{}, err
	}
	return result{}, c.setParameter(call, name)
}

func runSetTimeZone(_ context.Context, c *console, call call) (result, error) {
	return result{}, c.setParameter(call, "TimeZone")
}

func runSetNames(_ context.Context, c *console, call call) (result, error) {
	return result{}, c.setParameter(call, "client_encoding")
}

// setParameter gives a session parameter the value of the call and tells the
// client of it.
func (c *console) setParameter(call call, name string) error {
	value, err := call.text("value")
	if err != nil {
		return err
	}
	written := call.arguments["value"]
	switch isLocal := slices.Contains(call.choices, "LOCAL"); {
	case isLocal && !c.tx.open:
		c.warning(pgerror.NoActiveTransaction, "SET LOCAL can only be used in transaction blocks")
		return nil
	case isLocal:
		err = c.parameters.setLocal(name, value)
	case written.isDefault:
		err = c.parameters.reset(name)
	default:
		err = c.parameters.set(name, value)
	}
	if err != nil {
		return pgerror.From(err).At(call.at(written.start))
	}
	c.reportParameter(name)
	return nil
}

// reportParameter sends the ParameterStatus of a parameter that has one.
func (c *console) reportParameter(name string) {
	if described, known := parameterNamed(name); known && described.reported {
		c.out.Send(&pgproto3.ParameterStatus{Name: described.name, Value: c.parameters.get(described.name)})
	}
}

func runResetParameter(_ context.Context, c *console, call call) (result, error) {
	name, err := call.text("parameter")
	if err != nil {
		return result{}, err
	}
	if err := c.parameters.reset(name); err != nil {
		return result{}, err
	}
	c.reportParameter(name)
	return result{}, nil
}

func runResetAll(_ context.Context, c *console, _ call) (result, error) {
	c.resetAll()
	return result{}, nil
}

func (c *console) resetAll() {
	for _, described := range sessionParameters {
		before := c.parameters.get(described.name)
		_ = c.parameters.reset(described.name) // it exists
		if c.parameters.get(described.name) != before {
			c.reportParameter(described.name)
		}
	}
}

func runDiscardAll(_ context.Context, c *console, _ call) (result, error) {
	if c.tx.open {
		return result{}, pgerror.New(activeTransaction, "DISCARD ALL cannot run inside a transaction block")
	}
	c.resetAll()
	c.extended.dropStatements()
	return result{}, nil
}

func runDeallocateAll(_ context.Context, c *console, _ call) (result, error) {
	c.extended.dropStatements()
	return result{}, nil
}

func runDeallocate(_ context.Context, c *console, call call) (result, error) {
	name, err := call.text("statement")
	if err != nil {
		return result{}, err
	}
	if !c.extended.dropStatement(name) {
		return result{}, pgerror.New(pgerror.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", name)
	}
	return result{}, nil
}

var showAllColumns = []Column{{Name: "name", Type: Text}, {Name: "setting", Type: Text}, {Name: "description", Type: Text}}

// runShowAll is SHOW ALL: session parameters, then settings.
func runShowAll(_ context.Context, c *console, _ call) (result, error) {
	var rows [][]any
	for _, p := range sessionParameters {
		rows = append(rows, []any{p.name, c.parameters.get(p.name), p.description})
	}
	for _, s := range c.config().Settings() {
		rows = append(rows, []any{s.Name, s.Value, s.Description})
	}
	return result{rows: rows}, nil
}

func describeShowParameter(_ *console, s *statement) error {
	described, _ := parameterNamed(s.arguments["parameter"].text)
	s.columns = []Column{{Name: described.name, Type: Text}}
	return nil
}

// runShowParameter gives the parameter that the only column is named after.
func runShowParameter(_ context.Context, c *console, call call) (result, error) {
	return result{rows: [][]any{{c.parameters.get(call.columns[0].Name)}}}, nil
}
