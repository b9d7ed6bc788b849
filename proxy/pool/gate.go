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
	GateClosed:   {gateHeld: GateClosed, gateDrained: GateClosed, gateLoosened: GateClosed, gateReleased: GateOpen, gateMoved: GateClosed},
}

// gate stops the transactions of all databases, one, or one user's of one. It is
// closed while anybody holds it. Pools.mu guards it.
type gate struct {
	state   GateState
	holders map[string]*holder
}

// holder is one who keeps a gate closed.
type holder struct {
	token string
	kind  HoldKind
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

func newGate() *gate { return &gate{state: GateOpen, holders: map[string]*holder{}} }

// move is the one place where a gate's state changes; false: the event cannot be
// in this state.
func (g *gate) move(e gateEvent) bool {
	to, can := gateMoves[g.state][e]
	if can {
		g.state = to
	}
	return can
}

// hold closes the gate for an owner. One who holds it already goes on to, at the
// stricter of both levels.
func (g *gate) hold(token string, kind HoldKind, l level, now time.Time) *holder {
	h, already := g.holders[token]
	if !already {
		h = &holder{token: token, kind: kind, since: now, gone: make(chan struct{})}
		g.holders[token] = h
	}
	if l >= h.level {
		h.level, h.kind = l, kind
	}
	g.move(gateHeld)
	return h
}

// release opens the gate for an owner; false if it did not hold it.
func (g *gate) release(token string) bool {
	h, holds := g.holders[token]
	if !holds {
		return false
	}
	delete(g.holders, token)
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
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.token, b.token))
	})
}
