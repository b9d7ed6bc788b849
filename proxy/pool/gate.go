package pool

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// level is how much a gate lets through.
type level uint8

const (
	open level = iota // everything
	held              // no new transactions; idle connections stay
	shut              // no new transactions, and connections are closed when they are released
)

// GateState is what a gate does.
type GateState string

// The states of a gate.
const (
	GateOpen     GateState = "open"     // transactions begin
	GateDraining GateState = "draining" // none begins, some are open
	GateClosed   GateState = "closed"   // none begins, none is open
)

// gateEvent is what moves a gate.
type gateEvent string

const (
	gateHeld     gateEvent = "held"     // somebody holds it
	gateDrained  gateEvent = "drained"  // the last open transaction has ended
	gateLoosened gateEvent = "loosened" // somebody has let go, and others hold it
	gateReleased gateEvent = "released" // the last one has let go
	gateMoved    gateEvent = "moved"    // the servers behind it were replaced
)

// gateMoves is what follows each event in each state; what is not in it cannot be.
var gateMoves = map[GateState]map[gateEvent]GateState{
	GateOpen:     {gateHeld: GateDraining},
	GateDraining: {gateHeld: GateDraining, gateDrained: GateClosed, gateLoosened: GateDraining, gateReleased: GateOpen},
	GateClosed:   {gateHeld: GateDraining, gateDrained: GateClosed, gateLoosened: GateClosed, gateReleased: GateOpen, gateMoved: GateClosed},
}

// gate stops the transactions of all databases, one, or one user's of one. It is
// closed while anybody holds it. Pools.mu guards it.
type gate struct {
	state   GateState
	holders map[holdKey]*holder
}

// holdKey tells holders apart: an owner's PAUSE is not undone by the end of its
// MAINTENANCE, nor anybody's by another owner.
type holdKey struct {
	owner string
	kind  HoldKind
}

// holder is one who keeps a gate closed.
type holder struct {
	holdKey
	level level
	since time.Time
	gone  chan struct{} // closed when it has let go
}

// HoldKind is why somebody keeps a gate closed.
type HoldKind string

// The kinds of holds.
const (
	Pause       HoldKind = "pause"       // PAUSE
	Maintenance HoldKind = "maintenance" // MAINTENANCE ON
	Killed      HoldKind = "kill"        // KILL
	Switch      HoldKind = "hold"        // Hold
)

// levels is what each kind closes.
var levels = map[HoldKind]level{Pause: shut, Maintenance: held, Killed: shut, Switch: held}

func newGate() *gate { return &gate{state: GateOpen, holders: map[holdKey]*holder{}} }

// move is the one place where a gate's state changes; false: the event cannot be
// in this state.
func (g *gate) move(e gateEvent) bool {
	to, can := gateMoves[g.state][e]
	if can {
		g.state = to
	}
	return can
}

// hold closes the gate for an owner; fresh is false if it held it already.
func (g *gate) hold(key holdKey, now time.Time) (h *holder, fresh bool) {
	h, already := g.holders[key]
	if !already {
		h = &holder{holdKey: key, level: levels[key.kind], since: now, gone: make(chan struct{})}
		g.holders[key] = h
		g.move(gateHeld)
	}
	return h, !already
}

// release opens the gate for an owner; false if it did not hold it.
func (g *gate) release(key holdKey) bool {
	h, holds := g.holders[key]
	if !holds {
		return false
	}
	delete(g.holders, key)
	close(h.gone)
	if len(g.holders) == 0 {
		g.move(gateReleased)
	} else {
		g.move(gateLoosened)
	}
	return true
}

// level is the strictest of its holders'.
func (g *gate) level() level {
	out := open
	for _, h := range g.holders {
		out = max(out, h.level)
	}
	return out
}

// owners gives who holds the gate, the first one first.
func (g *gate) owners() []*holder {
	return slices.SortedFunc(maps.Values(g.holders), func(a, b *holder) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.owner, b.owner), cmp.Compare(a.kind, b.kind))
	})
}
