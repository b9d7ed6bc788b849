package apply_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/stream"
)

const crashDDL = `
CREATE TABLE log (n int);
CREATE TABLE acct (id int PRIMARY KEY, n bigint NOT NULL, filler text);
INSERT INTO acct SELECT i, 0, '' FROM generate_series(1, 20) i;
`

// ledger is n transactions of which one lost, doubled or halved would show: log
// has no key, and the sum over acct is 0 after each.
func ledger(o *one, n int) []*stream.Transaction {
	logR, acct := o.rel["log"], o.rel["acct"]
	if o.amounts == nil {
		o.amounts = map[int]int{}
	}
	amounts := o.amounts
	r := rand.New(rand.NewPCG(7, uint64(o.made)))
	var txs []*stream.Transaction
	for i := o.made; i < o.made+n; i++ {
		from, to := 1+r.IntN(20), 1+r.IntN(20)
		for to == from {
			to = 1 + r.IntN(20)
		}
		amounts[from]--
		amounts[to]++
		txs = append(txs, o.clock.tx(
			ins(logR, num(i)),
			upd(acct, num(from), num(amounts[from]), same),
			upd(acct, num(to), num(amounts[to]), same),
		))
		if i%50 == 49 { // a large one among them
			txs = append(txs, o.clock.spool(60, func(j int) stream.Change { return ins(logR, num(1000*(i+1)+j)) }))
		}
	}
	o.made += n
	return txs
}

func (o *one) wantLedger(n int) {
	o.t.Helper()
	o.wantNoStop()
	o.wantRows("SELECT count(*), count(DISTINCT n) FROM log", fmt.Sprintf("%d|%d", n+n/50*60, n+n/50*60))
	var want []string
	for id := 1; id <= 20; id++ {
		want = append(want, fmt.Sprintf("%d|%d", id, o.amounts[id]))
	}
	o.wantRows("SELECT id, n FROM acct ORDER BY id", want...)
}

// TestCommitWithoutAnswer: whether a COMMIT happened whose answer is lost is
// looked up, not guessed.
func TestCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	for name, arm := range map[string]func(p *pgtest.Proxy) <-chan struct{}{
		"answer lost":    func(p *pgtest.Proxy) <-chan struct{} { return p.CutReply("pgdrover_commit", "COMMIT") },
		"never received": func(p *pgtest.Proxy) <-chan struct{} { return p.CutBefore("pgdrover_commit\x00\x00\x00\x00\x00") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := setup(t, crashDDL, "log", "acct")
			txs := ledger(o, 100)
			p := o.db.Cluster.Proxy(t)
			o.opts.Destinations[0] = through(o.db, 0, p)
			o.opts.GroupRows = 30
			a := apply.New(o.opts)
			r := start(t, a, o.source)
			o.source.add(txs[0])
			r.reaches(txs[0].EndLSN)
			for i := 1; i < len(txs); i += 20 {
				fired := arm(p)
				o.source.add(txs[i:min(i+20, len(txs))]...)
				<-fired
				r.reaches(txs[min(i+20, len(txs))-1].EndLSN)
			}
			r.stop()
			o.wantLedger(100)
			if w := a.Stats()[0].Waiting; w != nil {
				t.Errorf("it still waits: %v", w)
			}
		})
	}
}

// TestCutAnywhere resets the connection after random numbers of bytes.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			o := setup(t, crashDDL, "log", "acct")
			txs := ledger(o, 300)
			p := o.db.Cluster.Proxy(t)
			o.opts.Destinations[0] = through(o.db, 0, p)
			o.opts.GroupRows = 20
			r := rand.New(rand.NewPCG(seed, 0))
			a := apply.New(o.opts)
			run := start(t, a, o.source)
			for i := 0; i < len(txs); i += 10 {
				direction := pgtest.Direction(r.IntN(2))
				most := int64(12000)
				if direction == pgtest.ToClient {
					most = 3000
				}
				p.CutAfter(direction, 1+r.Int64N(most))
				o.source.add(txs[i:min(i+10, len(txs))]...)
				run.reaches(txs[min(i+10, len(txs))-1].EndLSN)
			}
			run.stop()
			o.wantLedger(300)
		})
	}
}

// TestDestinationKilled: what a killed server had committed but not flushed is
// applied again, and nothing was confirmed that it lost.
func TestDestinationKilled(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"wal_writer_delay": "10s", "wal_writer_flush_after": "100MB"}})
	o := &one{t: t, db: destination(t, c, crashDDL), rel: map[string]*stream.Relation{}, source: newSource()}
	relations, types := shapes(t, o.db, "log", "acct")
	for name, r := range relations {
		o.rel[name] = published(r, r.Identity)
	}
	o.tables = &tables{find: finder(t, o.db, o.db, types, nil)}
	o.opts = options(o.tables, server(o.db, 0))
	o.opts.GroupRows = 50
	redelivered := 0
	// applied runs until all is applied, again if the destination wants that.
	applied := func(loses func() bool) {
		t.Helper()
		for {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			a := apply.New(o.opts)
			go func() { done <- a.Run(ctx, o.source) }()
			var err error
			ended := false
			pgtest.Eventually(t, "all is applied", func(context.Context) (bool, error) {
				select {
				case err = <-done:
					ended = true
				default:
				}
				return ended || a.Stats()[0].AppliedLSN >= behind(o.clock.lsn), nil
			})
			if !ended {
				if loses == nil || !loses() {
					cancel()
				} // else it finds out by itself
				loses = nil
				err = <-done
			}
			cancel()
			o.source = o.source.again()
			if !errors.Is(err, apply.ErrRedeliver) {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			redelivered++
		}
	}
	for range 5 {
		o.source.add(ledger(o, 40)...)
		applied(func() bool {
			confirmed := o.source.lastConfirmed()
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			lsn, ok, err := apply.ReadProgress(t.Context(), o.db.Connect(t), mirror, 0)
			if err != nil || !ok && confirmed > 0 || lsn < confirmed {
				t.Fatalf("after the crash the position is %s (%t, %v), but %s was confirmed", lsn, ok, err, confirmed)
			}
			return lsn < behind(o.clock.lsn)
		})
		applied(nil)
	}
	if redelivered == 0 {
		t.Error("the server never lost anything: the test proves nothing")
	}
	o.wantLedger(200)
}

// TestRedelivery: a source that begins again is no reason to apply again.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	o := setup(t, crashDDL, "log", "acct")
	txs := ledger(o, 100)
	o.apply(txs[:60]...)
	o.source = newSource(txs...)
	o.apply()
	o.source = newSource(txs[30:]...)
	o.apply(o.clock.tx(ins(o.rel["log"], num(-1))))
	o.db.Exec(t, "DELETE FROM log WHERE n = -1")
	o.wantLedger(100)
}

// TestZombie: a lost session may still commit. The next one waits for it and
// takes what it did as done.
func TestZombie(t *testing.T) {
	t.Parallel()
	o := setup(t, crashDDL, "log", "acct")
	txs := ledger(o, 10)
	o.apply(txs[:5]...)
	conn := o.db.Connect(t)
	if _, err := conn.PgConn().Exec(t.Context(), "BEGIN; SELECT 1 FROM pgdrover.progress FOR UPDATE").ReadAll(); err != nil {
		t.Fatal(err)
	}
	o.source.add(txs[5:]...)
	a := apply.New(o.opts)
	r := start(t, a, o.source)
	o.db.WaitUntil(t, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	// The zombie had applied one more transaction.
	if _, err := conn.PgConn().Exec(t.Context(), fmt.Sprintf("INSERT INTO log VALUES (5); UPDATE pgdrover.progress SET lsn = '%s'; COMMIT", txs[5].EndLSN)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	r.reaches(behind(o.clock.lsn))
	r.stop()
	o.wantRows("SELECT count(*), count(DISTINCT n) FROM log", "10|10")
}

// TestServerErrorsAreWaitedFor: what is nobody's fault is tried again, and is seen.
func TestServerErrorsAreWaitedFor(t *testing.T) {
	t.Parallel()
	o := setup(t, crashDDL, "log", "acct")
	txs := ledger(o, 20)
	a := apply.New(o.opts)
	r := start(t, a, o.source)
	o.source.add(txs[:5]...)
	r.reaches(txs[4].EndLSN)
	lock := o.db.Connect(t)
	if _, err := lock.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE log").ReadAll(); err != nil {
		t.Fatal(err)
	}
	o.source.add(txs[5:]...)
	ended := "SELECT count(*) > 0 FROM (SELECT %s(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'pgdrover apply%%') AS x"
	for _, how := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		o.db.WaitUntil(t, fmt.Sprintf(ended, how))
		pgtest.Eventually(t, "the reason is seen", func(context.Context) (bool, error) { return a.Stats()[0].Waiting != nil, nil })
	}
	if _, err := lock.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll(); err != nil {
		t.Fatal(err)
	}
	r.reaches(behind(o.clock.lsn))
	r.stop()
	o.wantLedger(20)
}

// TestGivesUp: with a limit, attempts end.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	o := setup(t, crashDDL, "log", "acct")
	p := o.db.Cluster.Proxy(t)
	o.opts.Destinations[0] = through(o.db, 0, p)
	o.opts.RetryMaxAttempts = 3
	p.Refuse()
	if err := apply.New(o.opts).Run(t.Context(), o.source); err == nil {
		t.Error("it has not given up")
	}
}

// TestStopWhileAnswerIsAwaited: a destination that does not answer does not
// keep Run from ending.
func TestStopWhileAnswerIsAwaited(t *testing.T) {
	t.Parallel()
	o := setup(t, crashDDL, "log", "acct")
	o.opts.StopGrace = 50 * time.Millisecond
	txs := ledger(o, 20)
	r := start(t, apply.New(o.opts), o.source)
	o.source.add(txs[0])
	r.reaches(txs[0].EndLSN)
	lock := o.db.Connect(t)
	if _, err := lock.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE log").ReadAll(); err != nil {
		t.Fatal(err)
	}
	o.source.add(txs[1:]...)
	o.db.WaitUntil(t, "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	r.stop()
	if _, err := lock.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll(); err != nil {
		t.Fatal(err)
	}
	if got := o.source.released; got == 0 {
		t.Error("nothing was released")
	}
	o.db.WaitUntil(t, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgdrover apply%'")
	o.source = o.source.again()
	o.apply()
	o.wantLedger(20)
}
