package admin

import "context"

var probeColumns = []Column{
	{"latency", Int8, "milliseconds from dialling to the answer of the first query"},
	{"latency_us", Int8, "the same in microseconds"},
}

// runProbe is PROBE.
func runProbe(ctx context.Context, c *console, call call) (result, error) {
	target, err := call.text("target")
	if err != nil {
		return result{}, err
	}
	latency, err := c.server.options.Engine.Probe(ctx, target)
	if err != nil {
		return result{}, err
	}
	return result{rows: [][]any{{latency.Milliseconds(), latency.Microseconds()}}}, nil
}
