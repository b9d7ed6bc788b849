package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// The contestants, as -without names them.
const (
	ours        = "pgdrover"
	copydb      = "pgcopydb"
	pipes       = "psql"
	native      = "native"
	receiveOnly = "pg_recvlogical"
)

var contestantNames = []string{ours, copydb, pipes, native, receiveOnly}

// contestant is one side of a benchmark.
type contestant struct {
	series
	key string // one of contestantNames
	run func(ctx context.Context) (measure, error)
}

// warmUp lets the last contestant do its work once without being counted, where whoever
// touches the servers' memory and the source's rows first would pay for all. What its
// run keeps beside its measure is the caller's to forget.
func warmUp(ctx context.Context, out io.Writer, field []*contestant) error {
	warm := field[len(field)-1]
	m, err := warm.run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", warm.name, err)
	}
	fmt.Fprintf(out, "  not counted: %s %.2f s\n", warm.key, m.elapsed.Seconds())
	return nil
}

// contest lets every contestant do its work so many times. They take turns in
// being first.
func contest(ctx context.Context, out io.Writer, runs int, field []*contestant) error {
	for i := range runs {
		for side := range field {
			c := field[(side+i)%len(field)]
			m, err := c.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.runs = append(c.runs, m)
			fmt.Fprintf(out, "  run %d of %d: %s %.2f s\n", i+1, runs, c.key, m.elapsed.Seconds())
		}
	}
	return nil
}

// choose leaves out whom the flags leave out, and whoever is not there.
func (f flags) choose(out io.Writer, field ...*contestant) ([]*contestant, error) {
	left := strings.Split(f.without, ",")
	field = slices.DeleteFunc(field, func(c *contestant) bool { return slices.Contains(left, c.key) })
	field = slices.DeleteFunc(field, func(c *contestant) bool {
		if c.key != copydb || f.pgcopydbPath() != "" {
			return false
		}
		fmt.Fprintln(out, "pgcopydb is left out: it is not there; scripts/bench-peers.sh unpacks it")
		return true
	})
	if len(field) == 0 {
		return nil, pgerror.New(pgerror.InvalidParameterValue, "nobody is left to measure").WithHint("-without %q leaves out everybody", f.without)
	}
	if field[0].key == ours {
		if _, err := os.Stat(f.pgdrover); err != nil {
			return nil, pgerror.New(pgerror.UndefinedFile, "there is no pgdrover to measure: %w", err).WithHint("make build, or -pgdrover PATH")
		}
	}
	return field, nil
}

// trial is one run of a contestant on the destination's database "copy".
type trial struct {
	prepare func(ctx context.Context) error              // makes the database
	work    func(ctx context.Context, done func()) error // what is measured, see timedPrograms
	then    func(ctx context.Context, m measure) error   // before the check, nil for nothing
	check   func(ctx context.Context) error              // beside the rows, nil for nothing
	keep    []string                                     // slots that stay
}

// try makes the database, measures work on it, checks that it then holds what
// the source does, and removes what the run has made.
func (s *servers) try(ctx context.Context, t trial) (m measure, err error) {
	if err := t.prepare(ctx); err != nil {
		return m, err
	}
	m, err = s.timedPrograms(func(done func()) error { return t.work(ctx, done) })
	if err == nil && t.then != nil {
		err = t.then(ctx, m)
	}
	if err == nil && t.check != nil {
		err = t.check(ctx)
	}
	if err == nil {
		err = s.sameContents(ctx, "copy")
	}
	return m, errors.Join(err, dropDatabase(ctx, s.destination, "copy"), s.dropSlots(ctx, t.keep...))
}

// ofTemplate makes the database "copy" of another.
func (s *servers) ofTemplate(template string) func(context.Context) error {
	return func(ctx context.Context) error {
		return createDatabase(ctx, s.destination, "copy", "TEMPLATE "+template)
	}
}

// printContest prints everyone's figures, and the first one's in terms of the others'.
func printContest(out io.Writer, field []*contestant) {
	for _, c := range field {
		c.print(out)
	}
	for _, c := range field[1:] {
		ratio(out, field[0].key+" / "+c.key, &field[0].series, &c.series)
	}
}
