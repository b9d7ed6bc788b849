package stream

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgcluster"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestParseHistory(t *testing.T) {
	t.Parallel()
	for content, want := range map[string][]Left{
		"": nil, "# a comment\n\n": nil,
		"1\t0/3000148\tno recovery target specified\n":                 {{1, 0x3000148}},
		"1\t0/3000148\tbefore 2026-01-01 00:00:00+00\n\n3\tA/2\tx y\n": {{1, 0x3000148}, {3, 0xA00000002}},
		"x\t0/1\t": nil, "1": nil, "1\t0\t": nil, "2\t0/1\ta\n2\t0/2\ta": nil, "0\t0/1\t": nil, "5000000000\t0/1": nil,
	} {
		got, err := parseHistory([]byte(content))
		if (err != nil) != (want == nil && content != "" && content[0] != '#') || err != nil && pgerror.Code(err) != pgerror.ProtocolViolation {
			t.Errorf("%q: %v", content, err)
		}
		if !cmp.Equal(got, want) {
			t.Errorf("%q: %v", content, got)
		}
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add([]byte("1\t0/3000148\tno recovery target specified\n2\t1/2\tx\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := parseHistory(content)
		if err != nil && pgerror.Code(err) != pgerror.ProtocolViolation {
			t.Errorf("code %s", pgerror.Code(err))
		}
		for i := 1; i < len(got); i++ {
			if got[i].ID <= got[i-1].ID {
				t.Errorf("%v", got)
			}
		}
	})
}

func TestTimelineHolds(t *testing.T) {
	t.Parallel()
	here := Timeline{ID: 4, Before: []Left{{1, 100}, {3, 200}}}
	for _, c := range []struct {
		id   int32
		at   LSN
		left LSN
		ok   bool
	}{{4, 1000, 0, true}, {1, 100, 100, true}, {1, 101, 100, false}, {3, 200, 200, true}, {3, 201, 200, false}, {2, 1, 0, false}, {5, 1, 0, false}} {
		if left, ok := here.Holds(c.id, c.at); left != c.left || ok != c.ok {
			t.Errorf("%+v: %s %t", c, left, ok)
		}
	}
}

// TestReadTimeline asks a server before and after it was promoted.
func TestReadTimeline(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{})
	standby := primary.Standby(t, pgcluster.StandbyOptions{})
	d := primary.CreateDatabase(t)
	standby.Replayed(t, primary)
	promoted := standby.Database(d.Name)
	before, err := ReadTimeline(t.Context(), server(promoted))
	if err != nil || before.ID != 1 || before.Before != nil {
		t.Errorf("%+v %v", before, err)
	}
	standby.Promote(t)
	after, err := ReadTimeline(t.Context(), server(promoted))
	if err != nil || after.ID != 2 || len(after.Before) != 1 || after.Before[0].ID != 1 || after.Before[0].Until == 0 {
		t.Errorf("%+v %v", after, err)
	}
}
