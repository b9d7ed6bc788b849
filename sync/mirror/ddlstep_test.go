package mirror

import (
	"testing"

	"github.com/pgdrover/pgdrover/sync/mirror/state"
)

// TestHeldTableStaysHeld has the check on the interval stop a table and hold its
// changes before the stream comes to what altered it: the stream leaves it alone. It
// goes on from where it was stopped; a new copy is not needed.
func TestHeldTableStaysHeld(t *testing.T) {
	t.Parallel()
	held := &tableChange{known: true, row: state.Table{State: string(TableStopped), Part: holdPrefix + "1", SyncLSN: 5}}
	step := &schemaStep{f: &schemaFollower{}, final: 10}
	// Whatever is recorded would need servers, which it has none of.
	if err := step.markTable(t.Context(), nil, held); err != nil {
		t.Error(err)
	}
}
