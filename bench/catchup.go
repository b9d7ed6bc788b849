package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// backlog is what happens on the source while nobody reads.
type backlog struct {
	transactions int // of pgbench, four rows each
	inserted     int // rows of events, in one transaction
	updated      int // rows of events, in one transaction
}

func backlogOf(scale float64) backlog {
	return backlog{transactions: backlogClients * scaled(100_000/backlogClients, scale), inserted: scaled(300_000, scale), updated: scaled(200_000, scale)}
}

func (b backlog) String() string {
	return fmt.Sprintf("%d pgbench transactions, %d rows inserted by one transaction, %d updated by one", b.transactions, b.inserted, b.updated)
}

func (b backlog) rows() int { return 4*b.transactions + b.inserted + b.updated }

// build lets it happen and ends with a marker.
func (b backlog) build(ctx context.Context, s *servers) (end string, err error) {
	if err := s.pgbench(ctx, b.transactions); err != nil {
		return "", err
	}
	err = runSQL(ctx, s.source, "source", fmt.Sprintf(`
INSERT INTO events (%s) SELECT %s FROM generate_series(1::bigint, %d) i;
UPDATE events SET kind = kind + 1, amount = amount + 1 WHERE id <= %d;`, eventColumns, eventValues, b.inserted, b.updated))
	if err != nil {
		return "", err
	}
	return s.mark(ctx, lastMarker)
}

// backlogClients are the clients of pgbench that make a backlog.
const backlogClients = 8

// pgbench runs so many transactions on the source. That its clients do not wait
// for the disk only makes the backlog sooner.
func (s *servers) pgbench(ctx context.Context, transactions int) error {
	return finish(ctx, []string{"PGOPTIONS=-c synchronous_commit=off"}, s.tool["pgbench"], "-n", "-M", "prepared",
		"-c", fmt.Sprint(backlogClients), "-j", "2", "-t", fmt.Sprint(transactions/backlogClients), s.source.DSN("source"))
}

// baseSlot stands where the backlog begins; contestants get copies of it.
// lastMarker is the marker at the backlog's end.
const (
	baseSlot   = "bench_base"
	lastMarker = 1
)

// withBacklog makes the database "copy" and a slot with the backlog to read.
func (s *servers) withBacklog(slot string) func(context.Context) error {
	return func(ctx context.Context) error {
		return errors.Join(s.copyFilled(ctx), s.copySlot(ctx, baseSlot, slot))
	}
}

// lastArrived waits for the backlog's last change, and calls done.
func (s *servers) lastArrived(ctx context.Context, by *program, done func()) error {
	err := s.arrived(ctx, lastMarker, by)
	done()
	return err
}

// catchup applies a backlog. Each contestant gets a slot that begins where the
// backlog does, and a copy of the destination as it was then.
//
// native is the apply worker of PostgreSQL's own logical replication;
// pg_recvlogical reads the changes and throws them away, which nobody who
// applies them can beat by much.
func catchup(ctx context.Context, f flags, out io.Writer) (err error) {
	s, err := start(ctx, out, forRows, "pg_dump", "pg_restore", "psql", "pgbench", "pg_recvlogical")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var end string
	const slot = "bench_stream"
	side := func(key, name string, work func(ctx context.Context, done func()) error) *contestant {
		return &contestant{key: key, series: series{name: name}, run: func(ctx context.Context) (measure, error) {
			return s.try(ctx, trial{prepare: s.withBacklog(slot), work: work, keep: []string{baseSlot}})
		}}
	}
	field, err := f.choose(out,
		side(ours, "pgdrover data-sync --replicate-only", func(ctx context.Context, done func()) error {
			_, err := s.stream(ctx, f, slot, func(by *program) error { return s.lastArrived(ctx, by, done) })
			return err
		}),
		side(native, "native apply worker, binary", func(ctx context.Context, done func()) error {
			return s.subscribe(ctx, slot, func() error { return s.lastArrived(ctx, nil, done) })
		}),
		&contestant{key: receiveOnly, series: series{name: "pg_recvlogical to /dev/null"}, run: func(ctx context.Context) (measure, error) {
			m, _, err := s.received(ctx, end)
			return m, err
		}},
	)
	if err != nil {
		return err
	}
	if err := s.prepareStandard(ctx, f, out, field); err != nil {
		return err
	}
	if err := s.fill(ctx); err != nil {
		return err
	}
	work := backlogOf(f.scale)
	fmt.Fprintf(out, "backlog: %s\n", work)
	if err := s.createSlot(ctx, baseSlot); err != nil {
		return err
	}
	if end, err = work.build(ctx, s); err != nil {
		return fmt.Errorf("make the backlog: %w", err)
	}
	if err := s.readSource(ctx); err != nil {
		return err
	}
	if err := contest(ctx, out, f.runs, field); err != nil {
		return err
	}
	printContest(out, field)
	for _, c := range field {
		fmt.Fprintf(out, "%-52s %.0f rows/s\n", c.name, float64(work.rows())/c.middle().elapsed.Seconds())
	}
	return nil
}

// fill makes the destination's database "filled", which holds what the source does.
func (s *servers) fill(ctx context.Context) error {
	if err := createDatabase(ctx, s.destination, "filled", "TEMPLATE template0"); err != nil {
		return err
	}
	if err := s.clonePiped(ctx, "filled"); err != nil {
		return fmt.Errorf("fill the destination: %w", err)
	}
	return runSQL(ctx, s.destination, "filled", "VACUUM ANALYZE")
}

// copyFilled makes the database "copy" of "filled", by copying files, so that
// little WAL is written and nobody finds it in the server's memory. Nobody
// starts with the other's checkpoint to make.
func (s *servers) copyFilled(ctx context.Context) error {
	clauses := "TEMPLATE filled"
	if s.destination.Installation().Major >= 15 { // before, there is no other way
		clauses += " STRATEGY file_copy"
	}
	return errors.Join(createDatabase(ctx, s.destination, "copy", clauses), runSQL(ctx, s.source, "postgres", "CHECKPOINT"))
}
