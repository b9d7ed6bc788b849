package apply_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/shard"
	"github.com/pgdrover/pgdrover/sync/stream"
)

const mirror = `m "1"`

const stateDDL = `
CREATE SCHEMA pgdrover;
CREATE TABLE pgdrover.progress (mirror text NOT NULL, shard integer NOT NULL, lsn pg_lsn NOT NULL, updated_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (mirror, shard));
CREATE TABLE pgdrover.carried (mirror text NOT NULL, shard integer NOT NULL, lsn pg_lsn NOT NULL, change integer NOT NULL, tuple bytea NOT NULL, PRIMARY KEY (mirror, shard, lsn, change));
`

// destination makes a database with the state's tables and what ddl says.
func destination(t testing.TB, c *pgtest.Cluster, ddl string) *pgtest.Database {
	t.Helper()
	d := c.CreateDatabase(t)
	d.Exec(t, stateDDL)
	d.Exec(t, ddl)
	return d
}

func server(d *pgtest.Database, number int) config.Server {
	return config.Server{
		Cluster: "dst", Shard: number, Host: d.Cluster.Host(), Port: d.Cluster.Port(), Database: d.Name,
		User: d.Cluster.Superuser(), Password: config.Secret(d.Cluster.Password()), ConnectTimeout: 5 * time.Second, TLSVerify: config.TLSDisabled,
	}
}

// through is server behind a proxy that breaks connections.
func through(d *pgtest.Database, number int, p *pgtest.Proxy) config.Server {
	s := server(d, number)
	s.Host, s.Port = p.Host(), p.Port()
	return s
}

// source is a stream that a test writes. A new one on the same log delivers
// again what was not confirmed.
type source struct {
	mu        sync.Mutex
	log       []*stream.Transaction
	next      int
	confirmed stream.LSN
	changed   chan struct{}
	end       error // given when everything is delivered
	confirms  []stream.LSN
	onConfirm func(stream.LSN)
	released  int
}

func newSource(log ...*stream.Transaction) *source {
	return &source{log: log, changed: make(chan struct{}, 1)}
}

func (s *source) add(txs ...*stream.Transaction) {
	s.mu.Lock()
	s.log = append(s.log, txs...)
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// again begins at the confirmed position.
func (s *source) again() *source {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := newSource()
	out.confirmed = s.confirmed
	for _, tx := range s.log {
		if tx.EndLSN > s.confirmed {
			out.log = append(out.log, tx)
		}
	}
	return out
}

func (s *source) TryNext() (*stream.Transaction, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == len(s.log) {
		return nil, false
	}
	tx := *s.log[s.next]
	s.next++
	return stream.NewTransaction(tx, func() {
		s.mu.Lock()
		s.released++
		s.mu.Unlock()
	}), true
}

func (s *source) Next(ctx context.Context) (*stream.Transaction, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if tx, ok := s.TryNext(); ok {
			return tx, nil
		}
		s.mu.Lock()
		end := s.end
		s.mu.Unlock()
		if end != nil {
			return nil, end
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *source) Confirm(lsn stream.LSN) {
	s.mu.Lock()
	s.confirmed = lsn
	s.confirms = append(s.confirms, lsn)
	hook := s.onConfirm
	s.mu.Unlock()
	if hook != nil {
		hook(lsn)
	}
}

func (s *source) lastConfirmed() stream.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// tables is a Tables for tests: targets by relation name, stops remembered.
type tables struct {
	mu      sync.Mutex
	find    func(*stream.Relation) (*apply.Target, error)
	finds   int
	found   []stream.LSN // that it was asked for at
	stopped map[catalog.Name]stop
	onStop  func(catalog.Name)
}

type stop struct {
	err *pgerror.Error
	at  stream.LSN
	xid uint32
}

func (x *tables) Find(_ context.Context, r *stream.Relation, at stream.LSN) (*apply.Target, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finds++
	x.found = append(x.found, at)
	if _, ok := x.stopped[catalog.Name{Schema: r.Schema, Name: r.Name}]; ok {
		return nil, nil
	}
	return x.find(r)
}

func (x *tables) Stop(_ context.Context, name catalog.Name, err *pgerror.Error, at stream.LSN, xid uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopped == nil {
		x.stopped = map[catalog.Name]stop{}
	}
	x.stopped[name] = stop{err: err, at: at, xid: xid}
	if x.onStop != nil {
		x.onStop(name)
	}
	return nil
}

func (x *tables) stop(name string) (stop, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.stopped[catalog.Name{Schema: "public", Name: name}]
	return s, ok
}

// shapes reads what a database's tables look like.
func shapes(t testing.TB, d *pgtest.Database, names ...string) (map[string]*catalog.Relation, catalog.Types) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var list []catalog.Name
	for _, n := range names {
		list = append(list, catalog.Name{Schema: "public", Name: n})
	}
	relations, err := catalog.ReadRelations(t.Context(), conn, list)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*catalog.Relation{}
	var oids []uint32
	for name, r := range relations {
		out[name.Name] = r
		for _, c := range r.Columns {
			oids = append(oids, c.Type)
		}
	}
	types, err := catalog.ReadTypes(t.Context(), conn, oids)
	if err != nil {
		t.Fatal(err)
	}
	return out, types
}

// published is a relation as the stream of a database would describe it.
func published(r *catalog.Relation, identity byte) *stream.Relation {
	out := &stream.Relation{OID: r.OID, Schema: r.Table.Schema, Name: r.Table.Name, Identity: identity}
	for i, c := range r.Columns {
		if c.Generated != 0 {
			continue
		}
		key := identity == 'f'
		if identity == 'd' && len(r.Keys) > 0 {
			for _, k := range r.Keys[0].Columns {
				key = key || k == i
			}
		}
		out.Columns = append(out.Columns, stream.RelationColumn{Name: c.Name, Key: key, Type: c.Type, Modifier: c.Modifier})
	}
	return out
}

// finder is a find that reads the destination's shape; keys by table.
func finder(t testing.TB, source, d *pgtest.Database, sourceTypes catalog.Types, keys map[string]*shard.Key) func(*stream.Relation) (*apply.Target, error) {
	return func(r *stream.Relation) (*apply.Target, error) {
		relations, types := shapes(t, d, r.Name)
		if relations[r.Name] == nil {
			return nil, fmt.Errorf("there is no table %s", r.Name)
		}
		st := sourceTypes
		if st == nil {
			_, st = shapes(t, source, r.Name)
		}
		target, err := apply.NewTarget(r, st, relations[r.Name], types, apply.TargetOptions{Key: keys[r.Name], SameTypes: keys == nil})
		if err != nil {
			return nil, err
		}
		return target, nil
	}
}

// val is one value of a tuple.
type val struct {
	format stream.Format
	bytes  []byte
}

var (
	null = val{format: stream.Null}
	same = val{format: stream.Unchanged}
)

func text(s string) val    { return val{stream.Text, []byte(s)} }
func raw(b []byte) val     { return val{stream.Binary, b} }
func bin4(n int32) val     { return raw(binary.BigEndian.AppendUint32(nil, uint32(n))) }
func bin8(n int64) val     { return raw(binary.BigEndian.AppendUint64(nil, uint64(n))) }
func num(n int) val        { return text(fmt.Sprint(n)) }
func binText(s string) val { return raw([]byte(s)) }

func tuple(values ...val) stream.Tuple {
	t := stream.Tuple{}
	for _, v := range values {
		t = stream.AppendValue(t, v.format, v.bytes)
	}
	return t
}

func ins(r *stream.Relation, values ...val) stream.Change {
	return stream.Change{Kind: stream.Insert, Relation: r, New: tuple(values...)}
}

func upd(r *stream.Relation, values ...val) stream.Change {
	return stream.Change{Kind: stream.Update, Relation: r, New: tuple(values...)}
}

func updOld(r *stream.Relation, old []val, values ...val) stream.Change {
	return stream.Change{Kind: stream.Update, Relation: r, Old: tuple(old...), OldFull: r.Identity == 'f', New: tuple(values...)}
}

func del(r *stream.Relation, old ...val) stream.Change {
	return stream.Change{Kind: stream.Delete, Relation: r, Old: tuple(old...), OldFull: r.Identity == 'f'}
}

func trunc(restart bool, rs ...*stream.Relation) stream.Change {
	return stream.Change{Kind: stream.Truncate, Truncated: &stream.Truncated{Relations: rs, RestartIdentity: restart}}
}

// clock numbers transactions.
type clock struct{ lsn stream.LSN }

func (c *clock) tx(changes ...stream.Change) *stream.Transaction {
	c.lsn += 100
	tx := &stream.Transaction{XID: uint32(c.lsn), FinalLSN: c.lsn, EndLSN: behind(c.lsn), CommitTime: time.Now(), Changes: changes, Rows: int64(len(changes))}
	for _, ch := range changes {
		tx.Bytes += int64(len(ch.Old) + len(ch.New))
	}
	return tx
}

func (c *clock) mark() *stream.Transaction {
	c.lsn += 100
	return &stream.Transaction{EndLSN: (c.lsn + 7) &^ 7}
}

// spooled is a transaction that is not in memory: its changes are made anew for
// each call and spoiled afterwards.
type spooled struct {
	n    int
	make func(i int) stream.Change
}

func (s *spooled) Each(yield func(*stream.Change) error) error {
	for i := range s.n {
		c := s.make(i)
		c.Old, c.New = append(stream.Tuple(nil), c.Old...), append(stream.Tuple(nil), c.New...)
		if len(c.Old) == 0 {
			c.Old = nil
		}
		err := yield(&c)
		if len(c.New) < 1<<20 {
			for j := range c.New {
				c.New[j] = 0xee
			}
		}
		for j := range c.Old {
			c.Old[j] = 0xee
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *spooled) Close() error { return nil }

func (c *clock) spool(n int, make func(i int) stream.Change) *stream.Transaction {
	tx := c.tx()
	tx.Spool, tx.Rows = &spooled{n: n, make: make}, int64(n)
	return tx
}

// onDisk makes a transaction as the reader leaves a large one.
func onDisk(tx *stream.Transaction) *stream.Transaction {
	changes := tx.Changes
	for _, c := range changes {
		tx.Lacking = tx.Lacking || c.Kind == stream.Update && c.Old != nil && c.New.Lacks()
	}
	tx.Changes, tx.Spool = nil, &spooled{n: len(changes), make: func(i int) stream.Change { return changes[i] }}
	return tx
}

// running is an Applier at work.
type running struct {
	t      testing.TB
	a      *apply.Applier
	cancel context.CancelFunc
	done   chan error
}

func start(t testing.TB, a *apply.Applier, s apply.Source) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, a: a, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- a.Run(ctx, s) }()
	t.Cleanup(cancel)
	return r
}

// stop ends it cleanly.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Fatalf("a clean stop: %v", err)
	}
}

// reaches waits until every shard has applied lsn.
func (r *running) reaches(lsn stream.LSN) {
	r.t.Helper()
	pgtest.Eventually(r.t, fmt.Sprintf("every shard has applied %s (%+v)", lsn, r.a.Stats()), func(context.Context) (bool, error) {
		select {
		case err := <-r.done:
			r.done <- err
			return false, fmt.Errorf("Run has ended: %w", err)
		default:
		}
		for _, s := range r.a.Stats() {
			if s.AppliedLSN < lsn {
				return false, nil
			}
		}
		return true, nil
	})
}

func options(x apply.Tables, servers ...config.Server) apply.Options {
	return apply.Options{
		Mirror: mirror, Destinations: servers, Tables: x, RetryMinDelay: time.Millisecond, RetryMaxDelay: 50 * time.Millisecond,
		MarkInterval: 50 * time.Millisecond,
	}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// behind is where a transaction of the clock ends: records end at multiples of 8.
func behind(final stream.LSN) stream.LSN { return (final + 57) &^ 7 }
