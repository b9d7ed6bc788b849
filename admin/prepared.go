package admin

import (
	"github.com/pgdrover/pgdrover/pgerror"
)

func (e *extended) statement(name string) (*prepared, error) {
	if p := e.statements[name]; p != nil {
		return p, nil
	}
	if name == "" {
		return nil, pgerror.New(pgerror.InvalidSQLStatementName, "unnamed prepared statement does not exist")
	}
	return nil, pgerror.New(pgerror.InvalidSQLStatementName, "prepared statement \"%s\" does not exist", name)
}

func (e *extended) portal(name string) (*portal, error) {
	if p := e.portals[name]; p != nil {
		return p, nil
	}
	return nil, pgerror.New(pgerror.InvalidCursorName, "portal \"%s\" does not exist", name)
}

// hold counts what is about to be kept, or refuses it.
func (e *extended) hold(size int) error {
	if e.held+size+heldCost > mostHeld {
		return pgerror.New(pgerror.ConfigurationLimitExceeded, "too many prepared statements and portals").
			WithDetail("%d statements and %d portals hold %d bytes.", len(e.statements), len(e.portals), e.held).
			WithHint("DEALLOCATE ALL drops the prepared statements of this session.")
	}
	e.held += size + heldCost
	return nil
}

func (e *extended) dropStatement(name string) bool {
	p := e.statements[name]
	if p == nil {
		return false
	}
	e.held -= p.size + heldCost
	delete(e.statements, name)
	return true
}

func (e *extended) dropPortal(name string) {
	if p := e.portals[name]; p != nil {
		e.held -= p.size + heldCost
		delete(e.portals, name)
	}
}

func (e *extended) dropStatements() {
	for name := range e.statements {
		e.dropStatement(name)
	}
}

func (e *extended) closePortals() {
	for name := range e.portals {
		e.dropPortal(name)
	}
}

// forgetUnnamed drops what a simple Query overwrites.
func (e *extended) forgetUnnamed() {
	e.dropStatement("")
	e.dropPortal("")
}
