package daemon

import (
	"fmt"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/proxy/pool"
)

// health is what /ready answers. One server that is down is a reason, but does
// not make the process unready, which others may need: all being down does.
func (d *Daemon) health() metrics.Health {
	switch d.phase.Load() {
	case phaseStarting:
		return metrics.Health{Reasons: []string{"it starts"}}
	case phaseStopping:
		return metrics.Health{Reasons: []string{"it is being stopped"}}
	}
	return poolHealth(d.pools.Pools())
}

func poolHealth(pools []pool.Status) metrics.Health {
	var h metrics.Health
	up := 0
	for _, p := range pools {
		switch {
		case !p.Healthy:
			h.Reasons = append(h.Reasons, fmt.Sprintf("database %q, user %q: %s:%d does not answer", p.Database, p.User, p.Host, p.Port))
			continue
		case p.Gate != pool.GateOpen:
			h.Reasons = append(h.Reasons, fmt.Sprintf("database %q, user %q: transactions wait: SHOW STATE tells why", p.Database, p.User))
		}
		up++
	}
	h.Ready = up > 0 || len(pools) == 0
	return h
}
