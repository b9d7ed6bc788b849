package admin

import (
	"context"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

const (
	// longestPrepared is how long the text of a prepared statement may be.
	longestPrepared = 64 << 10
	// mostHeld bounds what a session's prepared statements and portals hold:
	// bytes of text and parameters, each counted for at least heldCost.
	mostHeld = 8 << 20
	heldCost = 1 << 10
)

// extended is what the extended protocol keeps between messages.
type extended struct {
	statements map[string]*prepared
	portals    map[string]*portal
	held       int
	skipping   bool // an error was sent: everything up to Sync is ignored
}

// prepared is a parsed statement; statement is nil for an empty text.
type prepared struct {
	statement *statement
	size      int
}

// portal is a statement with its parameters, and the rows that are left once
// it has run.
type portal struct {
	call    call // its statement is nil for an empty text
	formats []int16
	size    int

	ran    bool
	done   bool // CommandComplete has been sent
	answer result
	sent   int // rows
}

func newExtended() extended {
	return extended{statements: map[string]*prepared{}, portals: map[string]*portal{}}
}

// extendedMessage answers a message of the extended protocol.
func (c *console) extendedMessage(ctx context.Context, message pgproto3.FrontendMessage) error {
	err := c.extendedAnswer(ctx, message)
	if err == nil || endsSession(err) {
		return err
	}
	c.fail(err)
	c.extended.skipping = true
	// The client may be waiting for the error before it sends Sync.
	return c.out.Flush()
}

func (c *console) extendedAnswer(ctx context.Context, message pgproto3.FrontendMessage) error {
	switch m := message.(type) {
	case *pgproto3.Parse:
		return c.parse(m)
	case *pgproto3.Bind:
		return c.bind(m)
	case *pgproto3.Describe:
		return c.describe(m)
	case *pgproto3.Execute:
		return c.executePortal(ctx, m)
	case *pgproto3.Close:
		return c.close(m)
	}
	return nil
}

// sync ends a series of messages. Outside of BEGIN that ends a transaction, and
// with it the portals.
func (c *console) sync() error {
	c.extended.skipping = false
	if !c.tx.open {
		c.extended.closePortals()
	}
	c.ready()
	return c.out.Flush()
}

func (c *console) parse(m *pgproto3.Parse) error {
	if m.Name != "" && c.extended.statements[m.Name] != nil {
		return pgerror.New(pgerror.DuplicatePreparedStatement, "prepared statement \"%s\" already exists", m.Name)
	}
	if len(m.Query) > longestPrepared {
		return pgerror.New(programLimitExceeded, "prepared statement is longer than %d bytes", longestPrepared)
	}
	c.extended.dropStatement(m.Name)
	tokens, err := lex(m.Query)
	if err != nil {
		return err
	}
	p := &prepared{size: len(m.Query)}
	switch statements := splitStatements(tokens); len(statements) {
	case 0:
	case 1:
		if p.statement, err = c.prepare(m.Query, statements[0]); err != nil {
			return err
		}
		p.statement.declareTypes(m.ParameterOIDs)
	default:
		return pgerror.New(pgerror.SyntaxError, "cannot insert multiple commands into a prepared statement").
			At(position(m.Query, statements[1][0].start))
	}
	if err := c.extended.hold(p.size); err != nil {
		return err
	}
	c.extended.statements[m.Name] = p
	c.out.Send(&pgproto3.ParseComplete{})
	return nil
}

func (c *console) bind(m *pgproto3.Bind) error {
	p, err := c.extended.statement(m.PreparedStatement)
	if err != nil {
		return err
	}
	if m.DestinationPortal != "" && c.extended.portals[m.DestinationPortal] != nil {
		return pgerror.New(duplicateCursor, "portal \"%s\" already exists", m.DestinationPortal)
	}
	bound := &portal{formats: m.ResultFormatCodes}
	if p.statement != nil {
		if err := c.tx.allows(p.statement.command); err != nil {
			return err
		}
		if err := checkFormats(m.ResultFormatCodes, len(p.statement.columns)); err != nil {
			return err
		}
	}
	if bound.call, err = bindParameters(p, m); err != nil {
		return err
	}
	for _, value := range m.Parameters {
		bound.size += len(value)
	}
	c.extended.dropPortal(m.DestinationPortal)
	if err := c.extended.hold(bound.size); err != nil {
		return err
	}
	c.extended.portals[m.DestinationPortal] = bound
	c.out.Send(&pgproto3.BindComplete{})
	return nil
}

// checkFormats refuses format codes that are not one for each column, one for
// all, or none.
func checkFormats(formats []int16, columns int) error {
	if n := len(formats); n > 1 && n != columns {
		return pgerror.New(pgerror.ProtocolViolation, "bind message has %d result formats but query has %d columns", n, columns)
	}
	for _, f := range formats {
		if f != pgproto3.TextFormat && f != pgproto3.BinaryFormat {
			return pgerror.New(pgerror.InvalidParameterValue, "unsupported format code: %d", f)
		}
	}
	return nil
}

func (c *console) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'P' {
		p, err := c.extended.portal(m.Name)
		if err != nil {
			return err
		}
		c.describeColumns(p.call.statement, p.formats)
		return nil
	}
	if m.ObjectType != 'S' {
		return pgerror.New(pgerror.ProtocolViolation, "invalid DESCRIBE message subtype %d", m.ObjectType)
	}
	p, err := c.extended.statement(m.Name)
	if err != nil {
		return err
	}
	description := &pgproto3.ParameterDescription{}
	if p.statement != nil {
		description.ParameterOIDs = p.statement.parameters
	}
	c.out.Send(description)
	c.describeColumns(p.statement, nil)
	return nil
}

func (c *console) describeColumns(s *statement, formats []int16) {
	if s == nil || len(s.columns) == 0 {
		c.out.Send(&pgproto3.NoData{})
		return
	}
	c.out.Send(rowDescription(s.columns, formats))
}

// executePortal runs a portal, or goes on with one that was suspended.
func (c *console) executePortal(ctx context.Context, m *pgproto3.Execute) error {
	p, err := c.extended.portal(m.Portal)
	if err != nil {
		return err
	}
	s := p.call.statement
	if s == nil {
		c.out.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	if p.done && len(s.columns) == 0 {
		return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "portal \"%s\" cannot be run anymore", m.Portal)
	}
	if !p.ran {
		p.ran = true
		if p.answer, err = c.execute(ctx, p.call); err != nil {
			return err
		}
	}
	rows := p.answer.rows[p.sent:]
	suspend := m.MaxRows > 0 && uint64(len(rows)) > uint64(m.MaxRows)
	if suspend {
		rows = rows[:m.MaxRows]
	}
	p.sent += len(rows)
	if err := c.sendRows(s.columns, rows, p.formats); err != nil {
		return err
	}
	if suspend {
		c.out.Send(&pgproto3.PortalSuspended{})
		return nil
	}
	p.done = true
	c.complete(s.command, p.answer, len(rows))
	return nil
}

// close drops a statement or a portal; one that does not exist is no error.
func (c *console) close(m *pgproto3.Close) error {
	switch m.ObjectType {
	case 'S':
		c.extended.dropStatement(m.Name)
	case 'P':
		c.extended.dropPortal(m.Name)
	default:
		return pgerror.New(pgerror.ProtocolViolation, "invalid CLOSE message subtype %d", m.ObjectType)
	}
	c.out.Send(&pgproto3.CloseComplete{})
	return nil
}
