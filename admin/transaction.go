package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// transaction is what BEGIN ... COMMIT leaves of itself in a database that has
// no transactions: the state that drivers rely on.
//
//	idle --BEGIN--> open --error--> failed
//	  ^---COMMIT, ROLLBACK---+--------+
//	                  ROLLBACK TO: failed --> open
type transaction struct {
	open       bool
	failed     bool     // only with open
	effects    bool     // a command ran that ROLLBACK cannot undo
	savepoints []string // oldest first
}

// mostSavepoints bounds what a session can make the server remember.
const mostSavepoints = 1000

// status is the letter of ReadyForQuery.
func (t *transaction) status() byte {
	switch {
	case t.failed:
		return 'E'
	case t.open:
		return 'T'
	}
	return 'I'
}

// fail is what an error does.
func (t *transaction) fail() { t.failed = t.open }

// allows refuses everything but the end of a failed transaction.
func (t *transaction) allows(command *command) error {
	if !t.failed || command != nil && command.endsTransaction() {
		return nil
	}
	return pgerror.New(inFailedTransaction, "current transaction is aborted, commands ignored until end of transaction block").
		WithHint("ROLLBACK ends it.")
}

func (c *command) endsTransaction() bool {
	return slices.Contains([]string{"COMMIT", "ROLLBACK", "ROLLBACK TO"}, c.name)
}

func runBegin(_ context.Context, c *console, _ call) (result, error) {
	if c.tx.open {
		c.warning(activeTransaction, "there is already a transaction in progress")
		return result{}, nil
	}
	c.tx = transaction{open: true}
	return result{}, nil
}

func runCommit(_ context.Context, c *console, _ call) (result, error) {
	failed := c.tx.failed
	if !c.tx.open {
		c.warning(pgerror.NoActiveTransaction, "there is no transaction in progress")
	}
	c.endTransaction()
	if failed {
		return result{tag: "ROLLBACK"}, nil
	}
	return result{}, nil
}

func runRollback(_ context.Context, c *console, _ call) (result, error) {
	switch {
	case !c.tx.open:
		c.warning(pgerror.NoActiveTransaction, "there is no transaction in progress")
	case c.tx.effects:
		c.warning(warning, "commands of the admin database are not rolled back")
	}
	c.endTransaction()
	return result{}, nil
}

// endTransaction takes SET LOCAL back and closes the portals.
func (c *console) endTransaction() {
	c.tx = transaction{}
	for _, name := range c.parameters.endLocal() {
		c.reportParameter(name)
	}
	c.extended.closePortals()
}

func runSavepoint(_ context.Context, c *console, call call) (result, error) {
	name, err := call.text("savepoint")
	if err != nil {
		return result{}, err
	}
	if !c.tx.open {
		return result{}, pgerror.New(pgerror.NoActiveTransaction, "SAVEPOINT can only be used in transaction blocks")
	}
	if len(c.tx.savepoints) >= mostSavepoints {
		return result{}, pgerror.New(pgerror.ConfigurationLimitExceeded, "too many savepoints")
	}
	c.tx.savepoints = append(c.tx.savepoints, savepointName(call, name))
	return result{}, nil
}

// runRelease forgets a savepoint and those after it.
func runRelease(_ context.Context, c *console, call call) (result, error) {
	i, err := c.savepoint(call)
	if err != nil {
		return result{}, err
	}
	c.tx.savepoints = c.tx.savepoints[:i]
	return result{}, nil
}

// runRollbackTo forgets the savepoints after one, and the error.
func runRollbackTo(_ context.Context, c *console, call call) (result, error) {
	i, err := c.savepoint(call)
	if err != nil {
		return result{}, err
	}
	c.tx.savepoints = c.tx.savepoints[:i+1]
	c.tx.failed = false
	return result{}, nil
}

// savepoint finds the newest savepoint of the name.
func (c *console) savepoint(call call) (int, error) {
	name, err := call.text("savepoint")
	if err != nil {
		return 0, err
	}
	if !c.tx.open {
		return 0, pgerror.New(pgerror.NoActiveTransaction, "%s can only be used in transaction blocks", call.command.name)
	}
	name = savepointName(call, name)
	for i := len(c.tx.savepoints) - 1; i >= 0; i-- {
		if c.tx.savepoints[i] == name {
			return i, nil
		}
	}
	return 0, pgerror.New(invalidSavepoint, "savepoint \"%s\" does not exist", name)
}

// savepointName folds an unquoted name to lower case: savepoints are SQL's, not
// ours.
func savepointName(call call, name string) string {
	if last := call.tokens[len(call.tokens)-1]; last.kind == wordToken {
		return strings.ToLower(name)
	}
	return name
}
