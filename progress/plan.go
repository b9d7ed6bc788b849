package progress

import (
	"fmt"
	"io"

	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// PrintPlan writes statements as a script, with what each is for.
func PrintPlan(out io.Writer, statements []schema.Statement) {
	for _, s := range statements {
		lock := s.Lock.String()
		if lock != "" {
			lock = ", takes " + lock
		}
		fmt.Fprintf(out, "-- shard %d, %d: %s %s%s\n%s\n\n", s.Shard, s.Ordinal, s.Kind, s.Name(), lock, s.Display)
	}
}

// PrintPlanJSON writes statements as JSON, an object a line.
func PrintPlanJSON(out io.Writer, statements []schema.Statement) error {
	encoder := newEncoder(out)
	for _, s := range statements {
		if err := encoder.Encode(map[string]any{
			"order": s.Ordinal, "shard": s.Shard, "phase": s.Phase.String(), "kind": s.Kind, "schema": s.Schema, "object": s.Object,
			"lock": s.Lock.String(), "sql": s.Display,
		}); err != nil {
			return err
		}
	}
	return nil
}

// PrintDifferences writes both sides of every difference.
func PrintDifferences(out io.Writer, differences []drift.Difference) {
	for _, d := range differences {
		object := d.Object
		if d.Schema != "" {
			object = d.Schema + "." + d.Object
		}
		fmt.Fprintf(out, "shard %d: %s %s: %s (%s)\n", d.Shard, d.Kind, object, d.What, d.Phase)
		if d.Source != "" {
			fmt.Fprintf(out, "  source: %s\n", d.Source)
		}
		if d.Destination != "" {
			fmt.Fprintf(out, "  destination: %s\n", d.Destination)
		}
		fmt.Fprintf(out, "  HINT: %s\n", d.Hint)
	}
}
