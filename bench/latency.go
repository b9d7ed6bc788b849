package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// latency measures how long a row takes from the source to the destination
// while pgbench writes at half the rate at which the first contestant caught up.
//
// A probe is a row with the time at which its INSERT, a transaction of its own,
// ran on the source; its time ends when a query on the destination returns it.
// So the commit and the time between two looks are included: what is printed is
// an upper bound. Both servers have the machine's one clock.
func latency(ctx context.Context, f flags, out io.Writer) (err error) {
	s, err := start(ctx, out, forRows, "pg_dump", "pg_restore", "psql", "pgbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	l := &steady{servers: s, length: max(2*time.Second, time.Duration(f.scale*float64(time.Minute)))}
	spreads, loads := map[string][]spread{}, map[string][]load{}
	during := func(key string, apply applier) *contestant {
		return &contestant{key: key, run: func(ctx context.Context) (m measure, err error) {
			m, err = s.timedPrograms(func(func()) error {
				found, pushed, err := l.run(ctx, apply)
				spreads[key], loads[key] = append(spreads[key], found), append(loads[key], pushed)
				return err
			})
			return m, err
		}}
	}
	appliers := map[string]applier{
		ours: func(ctx context.Context, slot string, work func(*program) error) error {
			_, err := s.stream(ctx, f, slot, work)
			return err
		},
		native: func(ctx context.Context, slot string, work func(*program) error) error {
			return s.subscribe(ctx, slot, func() error { return work(nil) })
		},
	}
	field, err := f.choose(out, during(ours, appliers[ours]), during(native, appliers[native]))
	if err != nil {
		return err
	}
	if err := s.prepareStandard(ctx, f, out, field); err != nil {
		return err
	}
	if err := l.prepare(ctx, out, backlogOf(f.scale).transactions, field[0].key, appliers[field[0].key]); err != nil {
		return err
	}
	if err := contest(ctx, out, f.runs, field); err != nil {
		return err
	}
	for _, c := range field {
		printSpread(out, c, spreads[c.key], loads[c.key])
	}
	for _, c := range field[1:] {
		fmt.Fprintf(out, "ratio %-46s %.2f\n", field[0].key+" / "+c.key+", p99", medianOf(spreads[field[0].key]).p99.Seconds()/medianOf(spreads[c.key]).p99.Seconds())
	}
	return nil
}

// applier applies a slot's changes to "copy" while work goes on. by is the
// program that does, nil if the server does.
type applier func(ctx context.Context, slot string, work func(by *program) error) error

// steady is a source and a destination that hold the same between two runs.
type steady struct {
	*servers
	rate   int           // transactions per second
	length time.Duration // of a run
	marker int64         // the last one used
	probe  int64         // the last one used
}

// prepare makes the destination and finds the rate. Where pgbench alone cannot
// write that much, half of what it can is the rate: what is to be measured is
// not a machine without time to spare.
func (l *steady) prepare(ctx context.Context, out io.Writer, transactions int, key string, apply applier) error {
	const table = "CREATE TABLE probe (id bigint PRIMARY KEY, made_at timestamptz NOT NULL)"
	if err := runSQL(ctx, l.source, "source", table); err != nil {
		return err
	}
	if err := l.fill(ctx); err != nil {
		return err
	}
	if err := l.copyFilled(ctx); err != nil {
		return err
	}
	var writing, applying time.Duration
	err := l.joined(ctx, apply, func() error {
		begin := time.Now()
		err := l.pgbench(ctx, transactions)
		writing = time.Since(begin)
		return err
	}, func(start func(func(*program) error) error) error {
		begin := time.Now()
		return start(func(by *program) error {
			err := l.arrived(ctx, l.marker, by)
			applying = time.Since(begin)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("find the rate: %w", err)
	}
	written, applied := float64(transactions)/writing.Seconds(), float64(transactions)/applying.Seconds()
	l.rate = max(1, int(min(written, applied)/2))
	half := "half of that"
	if written < applied {
		half = "half of what pgbench alone writes"
	}
	fmt.Fprintf(out, "%s catches up with %.0f pgbench transactions/s; the steady stream is %s, %d/s, for %s, with a probe each %s\n", key, applied, half, l.rate, l.length, probeInterval)
	return nil
}

// joined makes a slot, lets something happen and marks its end, then lets an
// applier run from the slot; at the end both sides must hold the same.
func (l *steady) joined(ctx context.Context, apply applier, before func() error, during func(start func(work func(*program) error) error) error) error {
	const slot = "bench_stream"
	// pgdrover's state is of the run before, with another slot.
	if err := runSQL(ctx, l.destination, "copy", "DROP SCHEMA IF EXISTS pgdrover CASCADE"); err != nil {
		return err
	}
	if err := l.createSlot(ctx, slot); err != nil {
		return err
	}
	if err := before(); err != nil {
		return err
	}
	l.marker++
	if _, err := l.mark(ctx, l.marker); err != nil {
		return err
	}
	if err := during(func(work func(*program) error) error { return apply(ctx, slot, work) }); err != nil {
		return err
	}
	if err := l.readSource(ctx); err != nil {
		return err
	}
	return errors.Join(l.sameContents(ctx, "copy"), l.dropSlots(ctx))
}

// run is one steady stream.
func (l *steady) run(ctx context.Context, apply applier) (found spread, pushed load, err error) {
	err = l.joined(ctx, apply, func() error { return nil }, func(start func(func(*program) error) error) error {
		return start(func(by *program) error {
			if err := l.arrived(ctx, l.marker, by); err != nil {
				return err
			}
			var took []time.Duration
			if took, pushed, err = l.measure(ctx, by); err != nil {
				return err
			}
			found = spreadOf(took)
			l.marker++
			if _, err := l.mark(ctx, l.marker); err != nil {
				return err
			}
			return l.arrived(ctx, l.marker, by)
		})
	})
	return found, pushed, err
}

const (
	probeInterval = 10 * time.Millisecond
	lookInterval  = time.Millisecond
)

// measure pushes and probes until pgbench has ended and the last probe arrived.
func (l *steady) measure(ctx context.Context, by *program) (took []time.Duration, pushed load, err error) {
	first := l.probe
	written := make(chan int64, 1) // the last probe, once it is known
	loaded := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer close(loaded)
		pushed, err = l.push(ctx)
		return err
	})
	group.Go(func() error {
		last, err := l.writeProbes(ctx, first, loaded)
		written <- last
		return err
	})
	group.Go(func() (err error) {
		took, err = l.readProbes(ctx, first, written, by)
		return err
	})
	err = group.Wait()
	l.probe = first + int64(len(took))
	return took, pushed, err
}

// writeProbes inserts probes until the load has ended.
func (l *steady) writeProbes(ctx context.Context, last int64, loaded <-chan struct{}) (int64, error) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	return last, with(ctx, l.source, "source", func(conn *pgx.Conn) error {
		for {
			if _, err := conn.Exec(ctx, "INSERT INTO probe VALUES ($1, clock_timestamp())", last+1); err != nil {
				return err
			}
			last++
			select {
			case <-tick.C:
			case <-loaded:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
}

// readProbes looks for probes after the one it is given, until the last of them.
func (l *steady) readProbes(ctx context.Context, seen int64, written <-chan int64, by *program) (took []time.Duration, err error) {
	last := int64(math.MaxInt64)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var ended chan struct{}
	if by != nil {
		ended = by.ended
	}
	err = with(ctx, l.destination, "copy", func(conn *pgx.Conn) error {
		for seen < last {
			rows, err := conn.Query(ctx, "SELECT id, extract(epoch FROM clock_timestamp() - made_at)::double precision FROM probe WHERE id > $1 ORDER BY id", seen)
			if err != nil {
				return err
			}
			var id int64
			var seconds float64
			_, err = pgx.ForEachRow(rows, []any{&id, &seconds}, func() error {
				if id != seen+1 {
					return fmt.Errorf("probe %d came after %d: the order of commits is not kept", id, seen)
				}
				seen, took = id, append(took, time.Duration(seconds*float64(time.Second)))
				return nil
			})
			if err != nil {
				return err
			}
			select {
			case last = <-written:
			case <-tick.C:
			case <-ended:
				return by.untimely()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return took, err
}

// load is what pgbench tells of itself.
type load struct {
	tps float64
	lag time.Duration // behind its schedule on average
}

// push lets pgbench write at the rate.
func (l *steady) push(ctx context.Context) (load, error) {
	p, err := launch(ctx, nil, l.tool["pgbench"], "-n", "-M", "prepared", "-c", "4", "-j", "1", "-R", fmt.Sprint(l.rate),
		"-T", fmt.Sprint(int(l.length.Seconds())), l.source.DSN("source"))
	if err != nil {
		return load{}, err
	}
	if err := p.wait(); err != nil {
		return load{}, err
	}
	return parsePgbench(p.said.String())
}

var (
	tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)`)
	lagLine = regexp.MustCompile(`(?m)^rate limit schedule lag: avg ([0-9.]+) `)
)

// parsePgbench reads pgbench's report of a run with -R; the lag is in ms.
func parsePgbench(report string) (load, error) {
	tps, lag := tpsLine.FindStringSubmatch(report), lagLine.FindStringSubmatch(report)
	if tps == nil || lag == nil {
		return load{}, fmt.Errorf("pgbench's report has no rate or no lag: %s", report)
	}
	rate, err := strconv.ParseFloat(tps[1], 64)
	behind, lagErr := strconv.ParseFloat(lag[1], 64)
	return load{rate, time.Duration(behind * float64(time.Millisecond))}, errors.Join(err, lagErr)
}

// spread is how long probes took.
type spread struct {
	probes             int
	p50, p95, p99, max time.Duration
}

func spreadOf(took []time.Duration) spread {
	sorted := slices.Sorted(slices.Values(took))
	return spread{len(sorted), percentile(sorted, 50), percentile(sorted, 95), percentile(sorted, 99), percentile(sorted, 100)}
}

// percentile is the smallest value that so many percent do not exceed (nearest
// rank), 0 of none.
func percentile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(rank, 1)-1]
}

// medianOf takes the median of each figure over the runs.
func medianOf(runs []spread) spread {
	of := func(figure func(spread) time.Duration) time.Duration {
		var all []time.Duration
		for _, r := range runs {
			all = append(all, figure(r))
		}
		return median(all)
	}
	return spread{
		probes: runs[0].probes,
		p50:    of(func(s spread) time.Duration { return s.p50 }), p95: of(func(s spread) time.Duration { return s.p95 }),
		p99: of(func(s spread) time.Duration { return s.p99 }), max: of(func(s spread) time.Duration { return s.max }),
	}
}

func printSpread(out io.Writer, c *contestant, runs []spread, loads []load) {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
	var each, rates []string
	for i, r := range runs {
		each = append(each, ms(r.p99))
		rates = append(rates, fmt.Sprintf("%.0f/s (%s ms behind)", loads[i].tps, ms(loads[i].lag)))
	}
	m, cpu := medianOf(runs), c.middle()
	fmt.Fprintf(out, "%-14s medians: p50 %s, p95 %s, p99 %s, max %s ms; p99 of each run %s; %d probes; pgbench %s; CPU: programs, pgbench among them, %.2f s, source %.2f s, destination %.2f s\n",
		c.key, ms(m.p50), ms(m.p95), ms(m.p99), ms(m.max), strings.Join(each, " "), m.probes, strings.Join(rates, " "), cpu.clientCPU.Seconds(), cpu.sourceCPU.Seconds(), cpu.destinationCPU.Seconds())
}
