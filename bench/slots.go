package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// poll is how often a state is asked for that the server does not announce.
	poll = 5 * time.Millisecond
	// arrivalLimit is how long a backlog may take: who applies it may have met an
	// error and try again for ever.
	arrivalLimit = 30 * time.Minute
)

// createSlot makes a slot for pgoutput from here on.
func (s *servers) createSlot(ctx context.Context, name string) error {
	return with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
		return err
	})
}

// copySlot makes a slot that begins exactly where another does.
func (s *servers) copySlot(ctx context.Context, from, name string) error {
	return with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_copy_logical_replication_slot($1, $2)", from, name)
		return err
	})
}

// dropSlots drops all slots of the source but those to keep, as soon as nobody
// uses them any more.
func (s *servers) dropSlots(ctx context.Context, keep ...string) error {
	if keep == nil {
		keep = []string{} // NULL would keep all
	}
	return with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		err := until(ctx, stopTimeout, nil, func(ctx context.Context) (bool, error) {
			var active int
			err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name <> ALL ($1)", keep).Scan(&active)
			return active == 0, err
		})
		if err == nil {
			_, err = conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name <> ALL ($1)", keep)
		}
		if err != nil {
			return fmt.Errorf("drop the slots: %w", err)
		}
		return nil
	})
}

// mark writes a row to the source's table marker, the last one of a stream, and
// gives the end of WAL after it.
func (s *servers) mark(ctx context.Context, id int64) (lsn string, err error) {
	err = with(ctx, s.source, "source", func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "INSERT INTO marker (id) VALUES ($1)", id); err != nil {
			return err
		}
		return conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&lsn)
	})
	return lsn, err
}

// arrived waits until the marker is visible on the destination: all that was
// committed before it is there. Where a program brings it, that must not end.
func (s *servers) arrived(ctx context.Context, id int64, by *program) error {
	return with(ctx, s.destination, "copy", func(conn *pgx.Conn) error {
		err := until(ctx, arrivalLimit, by, func(ctx context.Context) (there bool, err error) {
			err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM marker WHERE id = $1)", id).Scan(&there)
			return there, err
		})
		if err != nil {
			return fmt.Errorf("wait for the last change to arrive: %w", err)
		}
		return nil
	})
}

var errTooLong = errors.New("it takes too long")

// until asks again and again until the answer is yes, for so long at most, and
// as long as the program runs, if there is one.
func until(ctx context.Context, limit time.Duration, by *program, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTooLong)
	defer cancel()
	var ended chan struct{} // never, without a program
	if by != nil {
		ended = by.ended
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		yes, err := ask(ctx)
		if yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ended:
			return by.untimely()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
