package daemon

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/proxy/pool"
)

func TestPoolHealth(t *testing.T) {
	t.Parallel()
	of := func(database string, healthy bool, gate pool.GateState) pool.Status {
		return pool.Status{Place: pool.Place{Database: database, User: "app", Host: "db", Port: 5432}, Healthy: healthy, Gate: gate}
	}
	for name, c := range map[string]struct {
		pools   []pool.Status
		ready   bool
		reasons string
	}{
		"nobody has come yet": {nil, true, ""},
		"all is well":         {[]pool.Status{of("a", true, pool.GateOpen)}, true, ""},
		"one is down":         {[]pool.Status{of("a", true, pool.GateOpen), of("b", false, pool.GateOpen)}, true, `database "b", user "app": db:5432 does not answer`},
		"all are down": {[]pool.Status{of("a", false, pool.GateOpen), of("b", false, pool.GateOpen)}, false,
			`database "a", user "app": db:5432 does not answer; database "b", user "app": db:5432 does not answer`},
		"one is paused": {[]pool.Status{of("a", true, pool.GateClosed)}, true, `database "a", user "app": transactions wait: SHOW STATE tells why`},
	} {
		if got := poolHealth(c.pools); got.Ready != c.ready || strings.Join(got.Reasons, "; ") != c.reasons {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
