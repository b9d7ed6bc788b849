package admin

import (
	"context"

	"github.com/jackc/pgx/v5/pgproto3"
)

// simpleQuery answers a Query: every statement of the text in turn, up to the
// first error.
func (c *console) simpleQuery(ctx context.Context, text string) error {
	c.extended.forgetUnnamed()
	if err := c.runText(ctx, text); endsSession(err) {
		return err
	} else if err != nil {
		c.fail(err)
	}
	c.ready()
	return c.out.Flush()
}

// runText runs the statements of text. As in PostgreSQL a later statement may
// depend on an earlier one, so each is parsed when its turn has come; but
// quotes are looked at for the whole text first.
func (c *console) runText(ctx context.Context, text string) error {
	tokens, err := lex(text)
	if err != nil {
		return err
	}
	statements := splitStatements(tokens)
	if len(statements) == 0 {
		c.out.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	for _, tokens := range statements {
		if err := c.runStatement(ctx, text, tokens); err != nil {
			return err
		}
	}
	return nil
}

func (c *console) runStatement(ctx context.Context, text string, tokens []token) error {
	s, err := c.prepare(text, tokens)
	if err != nil {
		return err
	}
	if len(s.parameters) > 0 {
		return s.errNoParameter()
	}
	answer, err := c.execute(ctx, call{statement: s})
	if err != nil {
		return err
	}
	if len(s.columns) > 0 {
		c.out.Send(rowDescription(s.columns, nil))
		if err := c.sendRows(s.columns, answer.rows, nil); err != nil {
			return err
		}
	}
	c.complete(s.command, answer, len(answer.rows))
	return nil
}

// prepare parses a statement and finds its columns.
func (c *console) prepare(text string, tokens []token) (*statement, error) {
	s, err := c.server.grammar.parse(text, tokens)
	if err != nil {
		// In a failed transaction that is the more useful thing to know.
		if failed := c.tx.allows(nil); failed != nil {
			return nil, failed
		}
		return nil, err
	}
	if err := c.tx.allows(s.command); err != nil {
		return nil, err
	}
	if s.command.describe != nil {
		if err := s.command.describe(c, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}
