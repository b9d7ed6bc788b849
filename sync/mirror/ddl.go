package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/apply"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/ddl"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// schemaFollower brings the schema changes of one source shard to the
// destination, each at its place in the stream. What is known of the source's
// tables is recorded with the position from which on it holds, before anything
// is done about it: whoever goes on after a kill finds what holds at the
// position of the destination, meets the change again, and does what is missing.
//
// Its methods are called by the dispatcher of the pipeline, one at a time, but
// for those of polls.
type schemaFollower struct {
	source   *sourceShard
	mirror   string
	registry *ddl.Registry
	memory   ddl.Memory            // of the poll whose changes are in registry
	from     stream.LSN            // what was recorded up to here is in the registry
	through  map[uint32]stream.LSN // transactions before it are in what is known of a table already; 0: of everything
	altered  map[uint32]stream.LSN // FinalLSN of the last change of a table
	exact    atomic.Bool           // event triggers tell what happens
	polls    *schemaPolls          // nil where nothing can be polled: on a standby
}

// The kinds of what is recorded of a source's schema.
const (
	schemaTable       = "table"       // catalog.TableDescription
	schemaVersion     = "version"     // ddl.Version
	schemaType        = "type"        // catalog.TypeDescription
	schemaPublication = "publication" // ddl.Publication
	schemaMemory      = "memory"      // digest of ddl.Memory; there is one as soon as anything is known
	schemaThrough     = "through"     // LSN
)

// beginSchema records what the source's schema is before a slot is made, and
// which tables are published then.
func (s *sourceShard) beginSchema(ctx context.Context) error {
	err := s.recordSchema(ctx)
	if err != nil {
		return fmt.Errorf("find out what the source's schema is: %w", err)
	}
	s.recorded.Store(false)
	if err := s.readPublication(ctx); err != nil {
		return err
	}
	return s.findRecorded(ctx)
}

// recordSchema reads and records what the source's schema is, before the slot
// is made: whatever is changed later is in the stream, or found by a poll.
func (s *sourceShard) recordSchema(ctx context.Context) error {
	conn, err := connect.Open(ctx, s.server, "schema")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	reading, memory, err := s.readSchema(ctx, conn)
	if err != nil || reading == nil {
		return err
	}
	registry := ddl.NewRegistry([]string{s.job.req.Publication})
	recordReading(registry, reading)
	objects, err := schemaObjects(ddl.NewRegistry(nil), registry, ddl.Memory{}, memory, reading.Fence)
	if err != nil {
		return err
	}
	return s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if err := state.ForgetSourceObjects(ctx, conn, s.job.journal.mirrorID, s.number); err != nil {
			return err
		}
		return state.PutSourceObjects(ctx, conn, s.job.journal.mirrorID, s.number, objects)
	})
}

// readSchema reads everything; nil on a server that nothing can be written to.
func (s *sourceShard) readSchema(ctx context.Context, conn *pgx.Conn) (*ddl.Reading, ddl.Memory, error) {
	var standby bool
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_is_in_recovery()`).Scan(&standby); err != nil || standby {
		return nil, ddl.Memory{}, err
	}
	poller := ddl.NewPoller([]string{s.job.req.Publication}, ddl.Memory{})
	reading, err := poller.Poll(ctx, conn)
	if err != nil {
		return nil, ddl.Memory{}, err
	}
	return reading, poller.Memory(), nil
}

// recordReading notes a whole reading in an empty registry.
func recordReading(r *ddl.Registry, reading *ddl.Reading) {
	for _, t := range reading.Tables {
		r.Record(t.After)
	}
	for oid, t := range reading.Types {
		r.RecordType(oid, t)
	}
	for _, p := range reading.Publications {
		r.RecordPublication(p)
	}
}

// schemaObjects are the versions that bring what is recorded from one registry
// to another.
func schemaObjects(before, after *ddl.Registry, was, is ddl.Memory, at stream.LSN) ([]state.SourceObject, error) {
	w := schemaWriter{at: at}
	for _, d := range after.Tables() {
		if before.Table(d.OID) != d {
			w.put(schemaTable, d.OID, d)
		}
	}
	for _, d := range before.Tables() {
		if after.Table(d.OID) == nil {
			w.gone(schemaTable, d.OID)
		}
	}
	putAll(&w, schemaType, before.Types(), after.Types())
	putAll(&w, schemaPublication, before.Publications(), after.Publications())
	for oid, v := range is.Tables {
		if last, ok := was.Tables[oid]; !ok || last.Digest != v.Digest || last.Filenode != v.Filenode {
			w.put(schemaVersion, oid, v)
		}
	}
	for oid := range was.Tables {
		if _, ok := is.Tables[oid]; !ok {
			w.gone(schemaVersion, oid)
		}
	}
	w.put(schemaMemory, 0, is.Types)
	return w.objects, w.err
}

func putAll[T comparable](w *schemaWriter, kind string, before, after map[uint32]T) {
	for oid, v := range after {
		if last, ok := before[oid]; !ok || last != v {
			w.put(kind, oid, v)
		}
	}
	for oid := range before {
		if _, ok := after[oid]; !ok {
			w.gone(kind, oid)
		}
	}
}

// schemaWriter collects versions.
type schemaWriter struct {
	at      stream.LSN
	objects []state.SourceObject
	err     error
}

func (w *schemaWriter) put(kind string, oid uint32, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		w.err = err
		return
	}
	content := string(text)
	w.objects = append(w.objects, state.SourceObject{Kind: kind, OID: oid, LSN: w.at, Content: &content})
}

func (w *schemaWriter) gone(kind string, oid uint32) {
	w.objects = append(w.objects, state.SourceObject{Kind: kind, OID: oid, LSN: w.at})
}

// openFollower makes the follower of a pipeline that begins at a position. It is
// nil where the source's schema cannot be followed.
func (s *sourceShard) openFollower(ctx context.Context, at stream.LSN) (*schemaFollower, error) {
	f := &schemaFollower{source: s, mirror: s.job.pair.mirror, from: at, through: map[uint32]stream.LSN{}, altered: map[uint32]stream.LSN{}}
	known, err := f.load(ctx)
	if err == nil && !known {
		if err = s.recordSchema(ctx); err == nil {
			known, err = f.load(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find out what the source's schema is: %w", err)
	}
	if !known {
		return nil, nil
	}
	conn, err := connect.Open(ctx, s.server, "schema")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	installed, err := ddl.Installed(ctx, conn)
	if err != nil {
		return nil, err
	}
	f.exact.Store(installed.Installed && installed.Current)
	if err := f.settleNames(ctx); err != nil {
		return nil, err
	}
	f.polls = newSchemaPolls(f)
	s.recorded.Store(true)
	return f, f.addFollowed(ctx)
}

// load reads what is recorded; false if nothing is.
func (f *schemaFollower) load(ctx context.Context) (bool, error) {
	s := f.source
	var objects []state.SourceObject
	err := s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		objects, err = state.SourceObjects(ctx, conn, s.job.journal.mirrorID, s.number, f.from)
		return err
	})
	if err != nil || len(objects) == 0 {
		return false, err
	}
	f.registry = ddl.NewRegistry([]string{s.job.req.Publication})
	f.memory = ddl.Memory{Tables: map[uint32]ddl.Version{}}
	for _, o := range objects {
		if err := f.take(o); err != nil {
			return false, fmt.Errorf("%s %d: %w", o.Kind, o.OID, err)
		}
	}
	f.registry.RecordShapes(f.seen(objects))
	return true, nil
}

// seen is what polls have seen of tables that were not altered since.
func (f *schemaFollower) seen(objects []state.SourceObject) ddl.Memory {
	altered := map[uint32]stream.LSN{}
	for _, o := range objects {
		if o.Kind == schemaTable {
			altered[o.OID] = o.LSN
		}
	}
	out := ddl.Memory{Tables: map[uint32]ddl.Version{}}
	for _, o := range objects {
		if o.Kind == schemaVersion && o.LSN >= altered[o.OID] {
			out.Tables[o.OID] = f.memory.Tables[o.OID]
		}
	}
	return out
}

func (f *schemaFollower) take(o state.SourceObject) error {
	text := []byte(*o.Content)
	switch o.Kind {
	case schemaTable:
		d, err := catalog.ParseDescription(text)
		if err == nil {
			f.registry.Record(d)
		}
		return err
	case schemaType:
		t := &catalog.TypeDescription{}
		f.registry.RecordType(o.OID, t)
		return json.Unmarshal(text, t)
	case schemaPublication:
		p := &ddl.Publication{}
		if err := json.Unmarshal(text, p); err != nil {
			return err
		}
		f.registry.RecordPublication(p)
	case schemaVersion:
		var v ddl.Version
		err := json.Unmarshal(text, &v)
		f.memory.Tables[o.OID] = v
		return err
	case schemaMemory:
		if o.LSN > f.from { // it was read later than the slot begins
			f.through[0] = o.LSN
		}
		return json.Unmarshal(text, &f.memory.Types)
	case schemaThrough:
		var at stream.LSN
		err := json.Unmarshal(text, &at)
		f.through[o.OID] = max(f.through[o.OID], at)
		return err
	}
	return nil
}

// known tells whether what a transaction says of a table is in the registry
// already.
func (f *schemaFollower) known(oid uint32, final stream.LSN) bool {
	return final < f.through[0] || final < f.through[oid]
}

// startOf is where a stream has to begin that is to go on at a position: before
// a transaction that was applied in part. 0 is where the slot is.
func startOf(at stream.LSN) stream.LSN {
	if apply.Between(at) {
		return 0
	}
	return at
}
