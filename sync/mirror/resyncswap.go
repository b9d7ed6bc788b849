package mirror

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/resync"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// The shards of the destination swap together: each does all of it but COMMIT,
// under locks that are had or not within half a second, and waits for the others;
// if one cannot, all roll back. Then all commit. What can come in between is the
// loss of a server, or of this process, while they commit: then some have the new
// table and some the old one, each whole and of the same position, and each in the
// mirror's stream as before; and the table is copied again, as it is recorded that
// it has to be. So no shard ever has half a table, and no change is lost.

// errHalf means that only some shards have the new table, as far as is known.
var errHalf = errors.New("not every shard is known to have swapped the table")

// errBehind means that the mirror's stream is not yet where the rows were copied.
var errBehind = errors.New("the stream is behind the snapshot")

// swap finishes the shadow tables and puts them into the place of the old ones.
func (b *beside) swap(ctx context.Context) error {
	b.newStep(stepFinish)
	patience := b.job.patience()
	err := b.onShards(ctx, func(ctx context.Context, conn *pgx.Conn, s *besideShard) error {
		return s.shadow.Finish(ctx, conn, patience, func(p resync.Progress) {
			what := stepFinish
			if p.What != "" {
				what += ": " + p.What
			}
			b.shardStep(what, s.server.Shard, float64(p.Done)/float64(max(p.Total, 1)))
			_ = b.job.eased(ctx) // ctx ends the next statement too
		})
	})
	if err != nil {
		return err
	}
	b.newStep(stepCompare)
	if err := b.onShards(ctx, b.compare); err != nil {
		return err
	}
	b.newStep(stepCatchUp)
	return b.atLast(ctx, b.swapNow)
}

// compare refuses a shadow table that is not equal to the table.
func (b *beside) compare(ctx context.Context, conn *pgx.Conn, s *besideShard) error {
	archive, err := b.archive(ctx, s)
	if err != nil {
		return err
	}
	differences, err := s.shadow.Compare(ctx, conn, archive)
	if err != nil || len(differences) == 0 {
		return err
	}
	lines := make([]string, len(differences))
	for i, d := range differences {
		lines[i] = d.String()
	}
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState, "%w: the new table is not what the old one is", resync.ErrRefused).
		WithDetail("%s", strings.Join(lines, "\n")).
		WithHint("if the table was altered meanwhile, try again; the strategies reconcile and truncate leave the table itself where it is")
}

// atLast runs do while every stream of the mirror that brings rows of the table
// stands still, and what was copied is at the same position. It tries until that
// works; between two attempts the stream goes on. Locks are tried for as long as is
// configured, lost connections as often as is.
func (b *beside) atLast(ctx context.Context, do func(ctx context.Context, at []stream.LSN) error) error {
	given, general := b.job.config.DataSync.ResyncLockWait, b.job.config.General
	until, delay, lost := time.Now().Add(given), firstLockDelay, 0
	for {
		err := b.near(ctx)
		if err == nil {
			err = b.still(ctx, nil, do)
		}
		switch {
		case err == nil:
			return b.arrived()
		case errors.Is(err, errBehind):
			continue
		case errors.Is(err, resync.ErrLocked):
			if time.Now().After(until) {
				e := *pgerror.From(err)
				e.Detail = strings.TrimSpace(fmt.Sprintf("It was tried for %s, as data_sync.resync_lock_wait says.\n%s", given, e.Detail))
				e.Cause = err
				return &e
			}
			b.step(stepSwap+": waiting for locks", -1)
		case errors.Is(err, errHalf), !retryable(err) && !errors.Is(err, errNotStreaming):
			return err
		default:
			if lost++; lost >= general.ReshardingCopyRetryMaxAttempts {
				return err
			}
		}
		for _, key := range b.keys() {
			b.job.tables.waits(key, pgerror.From(err))
		}
		b.job.manager.log.Info("the copy of a table cannot take its place now, it is tried again", "task", b.job.journal.task, "table", b.table.String(), "error", err, "detail", pgerror.From(err).Detail)
		if err := wait(ctx, delay); err != nil {
			return err
		}
		delay = min(2*delay, longestLockDelay)
	}
}

// longestLockDelay is the longest pause between two attempts at a swap.
const longestLockDelay = 5 * time.Second

// near brings the shadow table near to where the mirror's streams are, without
// hindering them.
func (b *beside) near(ctx context.Context) error {
	for _, p := range b.parts {
		for told := false; ; {
			live := p.source.running()
			if live == nil {
				return errNotStreaming
			}
			now, err := live.at(ctx)
			if err != nil {
				return err
			}
			if now >= p.from && int64(now)-int64(p.at) <= joinBytes {
				break
			}
			if now > p.at {
				if err := p.applyUntil(ctx, now); err != nil {
					return err
				}
				continue
			}
			if !told {
				told = true
				p.source.nudge(ctx)
			}
			if err := wait(ctx, behindDelay); err != nil {
				return err
			}
		}
	}
	return b.copied()
}

// behindDelay is the pause between two looks at where the stream is.
const behindDelay = 250 * time.Millisecond

// nudge writes a little into the log of an idle source, so that the stream's
// position moves. Where it cannot, the heartbeat does, or the next change.
func (s *sourceShard) nudge(ctx context.Context) {
	conn, err := connect.Open(ctx, s.server, "resync")
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_logical_emit_message(false, 'pgdrover', 'resync') WHERE NOT pg_catalog.pg_is_in_recovery()")
	if err != nil {
		s.job.manager.log.Debug("the source could not be written to", "shard", s.number, "error", err)
	}
}

// still lets the streams of the mirror that bring rows of the table stand still one
// after another, and what was copied come to where they are.
func (b *beside) still(ctx context.Context, at []stream.LSN, do func(ctx context.Context, at []stream.LSN) error) error {
	if len(at) == len(b.parts) {
		if err := b.copied(); err != nil {
			return err
		}
		return do(ctx, at)
	}
	p := b.parts[len(at)]
	live := p.source.running()
	if live == nil {
		return errNotStreaming
	}
	return live.still(ctx, func(now stream.LSN) error {
		if now < p.from {
			return errBehind
		}
		if err := p.applyUntil(ctx, now); err != nil {
			return err
		}
		return b.still(ctx, append(at, now), do)
	})
}

// swapNow swaps on all shards, and hands the table over.
func (b *beside) swapNow(ctx context.Context, at []stream.LSN) error {
	b.step(stepSwap, -1)
	results, err := b.swapShards(ctx)
	if err != nil {
		return err
	}
	if err := b.handOver(ctx, at); err != nil {
		return errors.Join(errHalf, err) // it is not recorded that they have swapped
	}
	for i, result := range results {
		if result == nil { // it has committed, but could not say so
			continue
		}
		b.job.happensAt(ctx, "info", b.table, at[0], fmt.Sprintf("swapped on shard %d: %d objects and %d foreign keys follow it; readers waited %s at most",
			b.shards[i].server.Shard, len(result.Carried), len(result.Keys), result.Locked.Round(time.Millisecond)), nil)
	}
	return nil
}

// handOver makes the table the streams' own.
func (b *beside) handOver(ctx context.Context, at []stream.LSN) error {
	for i, p := range b.parts {
		if err := p.handOver(ctx, max(at[i], p.at)); err != nil {
			return err
		}
	}
	return nil
}

// agreement is where the shards wait for one another before they commit.
type agreement struct {
	mu      sync.Mutex
	missing int
	broken  bool          // somebody has gone before all were there
	all     chan struct{} // closed when none is missing
}

func newAgreement(shards int) *agreement {
	return &agreement{missing: shards, all: make(chan struct{})}
}

// reach waits for the others. It gives nil to all of them, or to none.
func (a *agreement) reach(ctx context.Context) error {
	a.mu.Lock()
	if a.missing--; a.missing == 0 && !a.broken {
		close(a.all)
	}
	a.mu.Unlock()
	select {
	case <-a.all:
		return nil
	case <-ctx.Done():
		if a.give() {
			return nil
		}
		return context.Cause(ctx)
	}
}

// give tells whether all have agreed. If not, they cannot any more.
func (a *agreement) give() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = a.broken || a.missing > 0
	return !a.broken
}

// swapShards swaps on all shards or on none, see above.
func (b *beside) swapShards(ctx context.Context) ([]*resync.Swapped, error) {
	together := newAgreement(len(b.shards))
	swapping, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })() // who has agreed commits all the same
	results, failures := make([]*resync.Swapped, len(b.shards)), make([]error, len(b.shards))
	var all sync.WaitGroup
	for i, s := range b.shards {
		all.Go(func() {
			results[i], failures[i] = b.swapShard(swapping, s, together)
			if failures[i] != nil && !together.give() {
				cancel(failures[i])
			}
		})
	}
	all.Wait()
	if !together.give() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		return nil, context.Cause(swapping) // the first failure
	}
	return results, b.committed(ctx, failures)
}

func (b *beside) swapShard(ctx context.Context, s *besideShard, together *agreement) (*resync.Swapped, error) {
	conn, err := b.job.resyncConn(ctx, s.server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.shadow.SwapWith(ctx, conn, b.job.patience(), together.reach)
}

// committed finds out what has become of commits that have failed, or whose answer
// was lost.
func (b *beside) committed(ctx context.Context, failures []error) error {
	var done, not []string
	var first error
	for i, s := range b.shards {
		swapped := failures[i] == nil
		if !swapped {
			first = errors.Join(first, failures[i])
			err := b.onShard(ctx, s, func(ctx context.Context, conn *pgx.Conn, s *besideShard) (err error) {
				swapped, err = s.shadow.Replaced(ctx, conn)
				return err
			})
			if err != nil {
				return errors.Join(errHalf, first, err)
			}
		}
		if swapped {
			done = append(done, connect.Place(s.server))
		} else {
			not = append(not, connect.Place(s.server))
		}
	}
	if len(not) == 0 {
		return nil
	}
	if len(done) > 0 {
		b.job.happens(ctx, "warning", b.table, fmt.Sprintf("%s swapped the table and %s did not commit; both go on in the stream, and the table is copied again", strings.Join(done, ", "), strings.Join(not, ", ")), pgerror.From(first))
	}
	return errors.Join(errHalf, first)
}
