package proxy

import (
	"net/netip"
	"testing"
)

func TestAdmission(t *testing.T) {
	t.Parallel()
	a := newAdmission(4)
	address := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	steps := []struct {
		address int
		leave   bool
		want    bool
	}{
		{0, false, true}, {0, false, true},
		{0, false, false}, // half of the places are one address's
		{1, false, true}, {1, false, true},
		{2, false, false}, // there is no place at all
		{1, true, false},
		{2, false, true},
		{1, false, false},
		{0, true, false}, {0, true, false},
		{1, false, true},
	}
	for i, step := range steps {
		if step.leave {
			a.leave(address[step.address])
		} else if got := a.enter(address[step.address]); got != step.want {
			t.Errorf("step %d: enter gives %v", i, got)
		}
	}
	for _, i := range []int{1, 1, 2} {
		a.leave(address[i])
	}
	if a.total != 0 || len(a.byAddress) != 0 {
		t.Errorf("%d places and %d addresses are left over", a.total, len(a.byAddress))
	}
}
