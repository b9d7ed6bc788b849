package mirror

import (
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
)

// TestMirrorStates walks the table: every command in every state either leads
// to a state that is known or is refused with a command that is valid there.
func TestMirrorStates(t *testing.T) {
	t.Parallel()
	commands := map[string]MirrorCommand{"RESUME MIRROR": ResumeMirror, "RETRY MIRROR": RetryMirror, "PAUSE MIRROR": PauseMirror}
	for c := range mirrorTransitions {
		if len(c.From()) == 0 {
			t.Errorf("%s is valid in no state", c)
		}
		for _, s := range MirrorStates() {
			next, err := c.After(s, `a "b"`)
			want, allowed := mirrorTransitions[c][s]
			if allowed != (err == nil) || allowed && next != want || !allowed && next != s {
				t.Errorf("%s in %s gives %s, %v", c, s, next, err)
			}
			if err == nil {
				continue
			}
			e := pgerror.From(err)
			if e.Code != pgerror.ObjectNotInPrerequisiteState || !strings.Contains(e.Message, string(s)) || !strings.Contains(e.Message, string(c)) || !strings.Contains(e.Hint, `"a ""b"""`) {
				t.Errorf("%s in %s is refused with %s, HINT: %s", c, s, e.Message, e.Hint)
			}
			offered := false
			for text, other := range commands {
				_, ok := mirrorTransitions[other][s]
				offered = offered || ok && strings.Contains(e.Hint, text+" ")
			}
			if !offered {
				t.Errorf("in %s nothing that is valid is offered instead of %s: %s", s, c, e.Hint)
			}
		}
	}
	for s, c := range map[MirrorState]MirrorCommand{MirrorRunning: PauseMirror, MirrorPaused: ResumeMirror, MirrorFailed: RetryMirror, MirrorCreated: ResumeMirror} {
		if _, err := c.After(s, "m"); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
