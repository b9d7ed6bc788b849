package pool

import (
	"math/rand/v2"
	"slices"

	"github.com/pgdrover/pgdrover/config"
)

// The values of general.read_write_split and general.load_balancing_strategy.
const (
	includePrimary         = "include_primary"
	excludePrimary         = "exclude_primary"
	includePrimaryIfBanned = "include_primary_if_replica_banned"
	preferPrimary          = "prefer_primary"

	random             = "random"
	leastActive        = "least_active_connections"
	weightedRoundRobin = "weighted_round_robin"
)

// reroute finds out which targets take writes and reads. It is called after
// whatever that depends on has changed: targets, roles, bans, settings.
func (p *pool) reroute(now int64) {
	p.primary = nil
	var replicas, banned []*target
	for _, t := range p.targets {
		if t.ban != nil && t.ban.over(now) {
			t.ban = nil
		}
		switch {
		case t.role == config.RolePrimary && p.primary == nil:
			p.primary = t
		case t.role != config.RoleReplica:
		case t.ban != nil:
			banned = append(banned, t)
		default:
			replicas = append(replicas, t)
		}
	}
	if len(replicas) == 0 && (p.settings.split == excludePrimary || p.primary == nil) {
		replicas = unban(banned)
	}
	p.readers = replicas
	switch {
	case p.primary == nil:
	case p.settings.split == excludePrimary && len(replicas)+len(banned) > 0:
		// Its replicas serve reads, or nobody does: an operator has banned them all.
	case len(replicas) == 0, p.settings.split == includePrimary,
		p.settings.split == includePrimaryIfBanned && len(banned) > 0:
		p.readers = append(replicas, p.primary)
	case p.settings.split == preferPrimary && p.primary.failures == 0:
		p.readers = []*target{p.primary}
	}
	p.feed(now)
}

// unban ends the bans that nobody has asked for: with all replicas banned, any
// is better than none.
func unban(banned []*target) []*target {
	var out []*target
	for _, t := range banned {
		if !t.ban.manual() {
			t.ban = nil
			out = append(out, t)
		}
	}
	return out
}

// reads_ tells whether a target takes reads.
func (p *pool) reads_(t *target) bool { return slices.Contains(p.readers, t) }

// idleFor takes an idle connection that serves want, nil if there is none. If a
// better target has room it is opened a connection, for the next time.
func (p *pool) idleFor(want Want) *Server {
	if !want.ReadOnly {
		if p.primary == nil {
			return nil
		}
		return p.primary.pop()
	}
	if len(p.readers) == 0 {
		return nil
	}
	if len(p.readers) == 1 {
		return p.readers[0].pop()
	}
	if p.settings.balancing == random {
		p.turn = rand.IntN(len(p.readers)) // from there on it is as round_robin
	}
	best, found := -1, -1
	for i := range p.readers {
		t := p.readers[i]
		if len(t.idle) == 0 && (!t.room() || t.failures > 0) {
			continue
		}
		if best < 0 || p.better(t, p.readers[best], i, best) {
			best = i
		}
		if len(t.idle) > 0 && (found < 0 || p.better(t, p.readers[found], i, found)) {
			found = i
		}
	}
	if found < 0 {
		return nil
	}
	chosen := p.readers[found]
	if best != found && p.readers[best].dialing == 0 {
		p.readers[best].open()
	}
	p.chosen(found)
	return chosen.pop()
}

// better tells whether target a, the i-th, is to be used before b, the j-th.
func (p *pool) better(a, b *target, i, j int) bool {
	n := len(p.readers)
	switch p.settings.balancing {
	case leastActive:
		return a.used < b.used
	case weightedRoundRobin:
		return a.current+a.settings.weight > b.current+b.settings.weight
	}
	return (i-p.turn+n)%n < (j-p.turn+n)%n
}

// chosen notes the target that a read goes to. Weighted round robin is that of
// nginx: everybody's credit grows by its weight, the chosen pays for all.
func (p *pool) chosen(i int) {
	p.turn = (i + 1) % len(p.readers)
	if p.settings.balancing != weightedRoundRobin {
		return
	}
	sum := 0
	for _, t := range p.readers {
		t.current += t.settings.weight
		sum += t.settings.weight
	}
	p.readers[i].current -= sum
}
