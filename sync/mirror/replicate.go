package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// replicate applies changes until ctx ends: one stream for each shard of the
// source, and beside them what lets tables join.
func (j *copyData) replicate(ctx context.Context) error {
	if err := j.journal.inner(ctx, replicating); err != nil {
		return err
	}
	if err := j.drift.start(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range j.sources {
		group.Go(func() error { return s.follow(ctx) })
	}
	group.Go(func() error { return j.drift.run(ctx) })
	group.Go(func() error { return j.drift.runLater(ctx) })
	group.Go(func() error { return j.drift.serve(ctx) })
	group.Go(func() error { return j.watch(ctx) })
	return group.Wait()
}

// follow keeps the shard's stream going. It returns when ctx ends, or when
// something cannot be helped by trying again.
func (s *sourceShard) follow(ctx context.Context) error {
	general := s.job.config.General
	for attempt := 1; ; attempt++ {
		p := &pipeline{source: s, mirror: s.job.pair.mirror, slot: s.row().Slot, gates: s.mainGate, before: s.done(), follows: true}
		before := s.applied()
		err := s.once(ctx, p)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case errors.Is(err, stream.ErrInProgress):
			// Only at the transaction's end can the server decode it.
			s.wholeOnly.Store(true)
		case !retryable(err) && !errors.Is(err, apply.ErrRedeliver) && !errors.Is(err, errAsText):
			return s.final(err)
		}
		if s.applied() > before {
			attempt = 1
		}
		if limit := general.ReshardingReplicationRetryMaxAttempts; limit > 0 && attempt >= limit {
			e := *pgerror.From(err)
			e.Hint = "the stream was taken up " + times(attempt) + " in vain. When the servers are well again, run the same command: it goes on from where it is"
			return &e
		}
		s.interrupted(ctx, err, attempt)
		s.job.manager.metrics.StreamReconnect(s.job.pair.mirror, s.number)
		s.job.manager.log.Warn("stream ended; it is taken up again", "task", s.job.journal.task, "shard", s.number, "attempt", attempt, "error", err)
		if err := wait(ctx, min(general.ReshardingReplicationRetryMinDelay<<min(attempt-1, 5), maxStreamDelay)); err != nil {
			return err
		}
	}
}

// interrupted shows what the stream waits for. The log of the mirror has it once
// as long as it is the same.
func (s *sourceShard) interrupted(ctx context.Context, err error, attempt int) {
	s.waits(err)
	e := pgerror.From(err)
	s.mu.Lock()
	known := attempt > 1 && s.told == e.Code
	s.told = e.Code
	s.mu.Unlock()
	if known {
		return
	}
	event := state.Event{Level: "warning", Kind: "stream", TaskID: s.job.journal.task, Shard: s.number, LSN: s.applied(), Message: "the stream was interrupted and is taken up again", Error: e}
	write := s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, s.job.journal.mirrorID, event)
	})
	if write != nil {
		s.job.manager.log.Warn("an event could not be recorded", "task", s.job.journal.task, "error", write)
	}
}

// final gives an error that ends the stream the way out that a mirror has.
func (s *sourceShard) final(err error) error {
	e := *pgerror.From(err)
	e.Cause = err
	switch {
	case errors.Is(err, stream.ErrPublicationMissing):
		e.Hint = fmt.Sprintf("on the source: CREATE PUBLICATION %s FOR ALL TABLES; or as it was. What was written without it is in no stream: %s",
			dump.QuoteIdent(s.job.req.Publication), s.job.copyAgain())
	case errors.Is(err, stream.ErrSlotMissing), errors.Is(err, stream.ErrSlotLost):
		e.Hint = s.job.copyAgain()
	default:
		return err
	}
	return &e
}

// maxStreamDelay is the longest pause between two attempts at a stream: the
// source's WAL piles up meanwhile.
const maxStreamDelay = 15 * time.Second

// once runs the shard's own pipeline until it ends.
func (s *sourceShard) once(ctx context.Context, p *pipeline) error {
	defer p.close()
	if err := p.start(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.live = p
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.live = nil
		s.mu.Unlock()
		s.job.manager.metrics.StreamEnd(s.job.pair.mirror, s.number)
	}()
	s.waits(nil)
	return p.run(ctx, p.reader)
}

// mainGate tells from where on the shard's own stream applies a table's changes.
func (s *sourceShard) mainGate(key tableKey) (stream.LSN, bool) {
	row, ok := s.job.tables.get(key)
	switch {
	case ok && row.LiveLSN != 0: // what stands there goes on while another copy is made
		return row.LiveLSN, true
	case ok && isHold(row.Part) && TableState(row.State) == TableStopped:
		return row.SyncLSN, true // up to where it is stopped: see heldFrom
	case !ok || row.Part != "":
		return 0, false
	}
	switch TableState(row.State) {
	case TableStreaming, TableCatchingUp:
		return row.SyncLSN, true
	}
	return 0, false
}

// waits notes what keeps the stream from going on, nil if nothing does.
func (s *sourceShard) waits(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream.Error = pgerror.From(err)
}

// done is what the task's pipelines have applied so far.
func (s *sourceShard) done() sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sample{transactions: s.stream.Transactions, rows: s.stream.Rows}
}

func (s *sourceShard) applied() stream.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.AppliedLSN
}

// confirmed is what the slot was told that every shard of the destination has: none
// of them goes on from before it.
func (s *sourceShard) confirmed() stream.LSN {
	if live := s.running(); live != nil {
		return live.reader.Stats().ConfirmedLSN
	}
	return 0
}

// watchInterval is how often the publication is read for tables that have come
// or gone without a change in the stream, and how often RESYNC is looked for.
const watchInterval = 2 * time.Second

// watch lets tables join the stream: those added to the publication and those
// that RESYNC names.
func (j *copyData) watch(ctx context.Context) error {
	j.untidy = true
	return again(ctx, watchInterval, j.wanted, j.lookForTables, func(err error) {
		j.toldWaiting(err)
		j.manager.log.Warn("tables that are to join cannot be looked for or copied; it is tried again", "task", j.journal.task, "error", err)
	})
}

// again looks on an interval, and whenever something comes on poke, which may be nil,
// until ctx ends. Failures are told, and make the pauses longer.
func again(ctx context.Context, interval time.Duration, poke <-chan struct{}, look func(context.Context) error, failed func(error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		case <-poke:
		}
		err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			failures = 0
		default:
			failures++
			failed(err)
			if err := wait(ctx, min(time.Second<<min(failures, 5), maxStreamDelay)); err != nil {
				return err
			}
		}
	}
}

// toldWaiting lets SHOW tell what tables that are to join wait for. It goes away
// when they go on.
func (j *copyData) toldWaiting(err error) {
	for _, s := range j.sources {
		for _, key := range append(s.missing(), s.beside()...) {
			j.tables.note(key, func(t *state.Table) { t.Error = pgerror.From(err) })
		}
	}
}

func (j *copyData) lookForTables(ctx context.Context) error {
	tidy := !j.untidy
	if err := j.findTables(ctx); err != nil {
		return err
	}
	if err := j.join(ctx); err != nil {
		return err
	}
	if err := j.resyncs(ctx); err != nil {
		return err
	}
	if err := j.checkPostponed(ctx); err != nil {
		return err
	}
	if j.untidy && tidy { // there may be others that were asked for
		j.poke()
	}
	return j.tidy(ctx)
}

// findTables finds the tables that are to join. None of them goes on meanwhile
// that was stopped.
func (j *copyData) findTables(ctx context.Context) error {
	j.drift.turn.Lock()
	defer j.drift.turn.Unlock()
	if err := j.takeResyncs(ctx); err != nil {
		return err
	}
	for _, s := range j.sources {
		if err := s.readPublication(ctx); err != nil {
			return err
		}
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return time.Duration(n).String()[:len(time.Duration(n).String())-2] + " times"
}

// reportInterval is how often the state of tables and streams is recorded.
const reportInterval = time.Second

// report records how far tables and streams are, until the function it gives is
// called, which records it for the last time.
func (j *copyData) report(ctx context.Context) (stop func()) {
	ctx = context.WithoutCancel(ctx)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // ended by stop
		defer close(ended)
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				j.tell(ctx)
			case <-end:
				j.tell(ctx)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// tell records what has changed. What cannot be recorded now is recorded next
// time.
func (j *copyData) tell(ctx context.Context) {
	if err := j.tables.flush(ctx); err != nil {
		j.manager.log.Warn("the state of tables could not be recorded", "task", j.journal.task, "error", err)
	}
	for _, s := range j.sources {
		row, ok := s.measure()
		if !ok {
			continue
		}
		s.lookAtSlot(ctx, &row)
		err := j.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error { return state.PutStream(ctx, conn, row) })
		if err != nil {
			j.manager.log.Warn("the state of a stream could not be recorded", "task", j.journal.task, "shard", s.number, "error", err)
		}
		j.publish(s, row)
		if err := s.arrived(ctx); err != nil {
			j.manager.log.Warn("tables that have caught up could not be recorded", "task", j.journal.task, "shard", s.number, "error", err)
		}
	}
}

// lookAtSlot tells at once when the reading has ended for good while the applier
// is held up: nobody would know before it goes on.
func (s *sourceShard) lookAtSlot(ctx context.Context, row *state.Stream) {
	live := s.running()
	if live == nil || live.reader.Stats().Ended == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*reportInterval)
	defer cancel()
	if _, err := s.slotState(ctx, row.Slot); err != nil {
		row.Error = pgerror.From(s.final(err))
	}
}

// publish tells the metrics where a stream is.
func (j *copyData) publish(s *sourceShard, row state.Stream) {
	sink := j.manager.metrics
	states := map[string]int{}
	for _, known := range TableStates() {
		states[string(known)] = len(j.tables.in(s.number, known))
	}
	sink.Tables(j.pair.mirror, s.number, states)
	if live := s.running(); live != nil {
		read := live.reader.Stats()
		sink.StreamQueue(j.pair.mirror, s.number, read.QueuedBytes)
		sink.StreamBytes(j.pair.mirror, s.number, read.Bytes-live.told.Bytes)
		sink.StreamTransactions(j.pair.mirror, s.number, read.Transactions-live.told.Transactions)
		sink.StreamSpilled(j.pair.mirror, s.number, read.SpilledBytes-live.told.SpilledBytes)
		live.told = read
		told := tellStream(row)
		sink.Lag(j.pair.mirror, s.number, told.LagBytes, told.Lag)
	}
}

// arrived brings tables that were copied into the state streaming, once the
// stream has passed everything that was committed when it was opened.
func (s *sourceShard) arrived(ctx context.Context) error {
	s.mu.Lock()
	live, applied := s.live, s.stream.AppliedLSN
	s.mu.Unlock()
	if live == nil || live.goal == 0 || applied < live.goal {
		return nil
	}
	var keys []tableKey
	for _, key := range s.job.tables.in(s.number, TableCatchingUp) {
		if row, ok := s.job.tables.get(key); ok && row.Part == "" && row.SyncLSN <= applied {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return s.job.tables.set(ctx, TableStreaming, nil, keys...)
}

var errNotStreaming = errors.New("the stream is not running")

// names gives the tables of keys.
func namesOf(keys []tableKey) map[catalog.Name]bool {
	out := make(map[catalog.Name]bool, len(keys))
	for _, k := range keys {
		out[k.table] = true
	}
	return out
}
