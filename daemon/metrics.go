package daemon

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pgdrover/pgdrover/metrics"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy"
	"github.com/pgdrover/pgdrover/sync/mirror"
)

// Looks at what no task tells: slots, those of nobody too, and the tables of
// mirrors that other processes work on.
const (
	lookInterval = 15 * time.Second
	lookTime     = 10 * time.Second
	scrapeTime   = 2 * time.Second // that a scrape has to end when the daemon does
)

// looker is the part of mirror.Manager that tells what a look sees.
type looker interface {
	Slots(ctx context.Context) ([]mirror.SlotRow, []*pgerror.Error, error)
	Mirrors(ctx context.Context) ([]mirror.MirrorRow, []*pgerror.Error, error)
	MirrorTables(ctx context.Context, name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error)
}

// serveMetrics opens the endpoint for scrapes and keeps looking, if the
// configuration asks for one. It gives what closes it.
func (d *Daemon) serveMetrics(ctx context.Context) (closeAll func(), err error) {
	if d.metrics == nil {
		return func() {}, nil
	}
	general, log := d.options.Config.General, d.options.Logger
	listen := &net.ListenConfig{}
	if general.ReusePort {
		listen.Control = proxy.ReusePort
	}
	endpoint, err := d.metrics.Listen(ctx, listen, general.OpenMetricsHost, *general.OpenMetricsPort, log)
	if err != nil {
		return nil, err
	}
	log.Info("metrics are served", "address", endpoint.Addr().String())
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() { (&observer{engine: d.engine, metrics: d.metrics}).run(looking) }) // ends with stop
	return func() {
		stop()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrapeTime)
		defer cancel()
		if err := endpoint.Shutdown(ending); err != nil {
			log.Warn("metrics", "error", err)
		}
		done.Wait()
	}, nil
}

// observer looks, again and again.
type observer struct {
	engine  looker
	metrics *metrics.Metrics
	known   map[string]bool // mirrors seen before
}

func (o *observer) run(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		o.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look tells what it finds now. A mirror whose tables cannot be told keeps what
// was last known of them; one that is gone is forgotten, if all was seen.
func (o *observer) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	slots, warnings, err := o.engine.Slots(ctx)
	whole := err == nil && len(warnings) == 0
	if err == nil {
		o.metrics.Slots(told(slots))
	}
	mirrors, warnings, err := o.engine.Mirrors(ctx)
	allMirrors := err == nil && len(warnings) == 0
	whole = whole && allMirrors
	if err == nil {
		o.metrics.Mirrors(toldMirrors(mirrors), mirrorStates(), allMirrors)
	}
	seen := map[string]bool{}
	for _, row := range mirrors {
		seen[row.Name] = true
		tables, _, err := o.engine.MirrorTables(ctx, row.Name)
		if err != nil {
			whole = false
			continue
		}
		for shard, states := range countStates(tables) {
			o.metrics.Tables(row.Name, shard, states)
		}
	}
	o.forget(seen, allMirrors)
	if !whole && !errors.Is(context.Cause(ctx), context.Canceled) {
		o.metrics.LookFailure()
	}
}

// forget drops the metrics of mirrors that were there and are not any more.
func (o *observer) forget(seen map[string]bool, all bool) {
	for name := range o.known {
		if seen[name] {
			continue
		}
		if all {
			o.metrics.DropMirror(name)
		} else {
			seen[name] = true // its database could not be asked
		}
	}
	o.known = seen
}

func toldMirrors(rows []mirror.MirrorRow) []metrics.Mirror {
	out := make([]metrics.Mirror, len(rows))
	for i, row := range rows {
		out[i] = metrics.Mirror{Name: row.Name, State: string(row.Wanted), Attended: row.Attended}
	}
	return out
}

func mirrorStates() []string {
	var out []string
	for _, state := range mirror.MirrorStates() {
		out = append(out, string(state))
	}
	return out
}

func told(slots []mirror.SlotRow) []metrics.Slot {
	out := make([]metrics.Slot, len(slots))
	for i, s := range slots {
		out[i] = metrics.Slot{
			Database: s.Database, Name: s.Name, Mirror: s.Mirror, Shard: s.Shard, RetainedBytes: s.RetainedBytes, SafeBytes: s.SafeWALSize,
			Active: s.Active, Lost: s.Invalidated != "" || s.WALStatus == "lost",
		}
	}
	return out
}

// countStates counts tables by shard and state; a state that no table is in is
// 0, so that an alert on stopped tables has something to look at.
func countStates(tables []mirror.MirrorTableRow) map[int]map[string]int {
	counts := map[int]map[string]int{}
	for _, t := range tables {
		if counts[t.Shard] == nil {
			counts[t.Shard] = map[string]int{}
			for _, state := range mirror.TableStates() {
				counts[t.Shard][string(state)] = 0
			}
		}
		counts[t.Shard][string(t.State)]++
	}
	return counts
}
