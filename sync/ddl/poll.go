package ddl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// FencePrefix is that of the message which a Poller writes.
const FencePrefix = "pgdrover.fence"

// attempts is how often a poll reads again because something was changed while
// it was reading.
const attempts = 5

// Reading is what one poll has found.
//
// At Fence the tables in it are as described: every transaction whose commit
// begins before Fence (stream.Transaction.FinalLSN) has been seen, and no later
// one. That is exact for what takes an ACCESS EXCLUSIVE lock, which is all that
// changes the form of rows. Publications, enum labels and the like may have been
// changed by a transaction that committed before Fence and was not visible yet,
// because it waits for a synchronous standby: the next poll finds them.
type Reading struct {
	Fence stream.LSN
	// Tables are those that are published or were before, and have changed since
	// the last poll, or all.
	Tables []TableReading
	// Gone are the OIDs of tables that are no more.
	Gone         []uint32
	Publications []*Publication
	// Types are the user's types, if any of them has changed.
	Types map[uint32]*catalog.TypeDescription
	// Busy are tables that somebody holds an ACCESS EXCLUSIVE lock on, or that
	// changed at every attempt: nothing is known of them this time.
	Busy []catalog.Name
}

// TableReading is a table that has changed, and what is known of how.
type TableReading struct {
	After *catalog.TableDescription
	Shape Shape
	Known Context
}

// Version is what a Poller remembers of a table: enough to see, without reading
// it, that it was changed.
type Version struct {
	Table    catalog.Name      `json:"table"`
	Filenode uint32            `json:"filenode"`
	Columns  map[string]string `json:"columns"` // xmin of pg_attribute's row by attnum
	Digest   string            `json:"digest"`  // of the xmin of everything that belongs to it
	Shape    Shape             `json:"shape"`
}

// Memory is what a Poller remembers. It may be kept and given to another one.
type Memory struct {
	Tables map[uint32]Version `json:"tables"`
	Types  string             `json:"types"` // digest of types, schemas, publications
}

// Poller reads what event triggers would tell. It is used by one goroutine.
type Poller struct {
	publications []string
	memory       Memory
}

// NewPoller makes one that remembers what an earlier one did; an empty Memory
// has its first poll read everything, with nothing known of how it came about.
func NewPoller(publications []string, m Memory) *Poller {
	return &Poller{publications: slices.Clone(publications), memory: m}
}

// Memory gives what p remembers, which the next call of Poll changes.
func (p *Poller) Memory() Memory { return Memory{maps.Clone(p.memory.Tables), p.memory.Types} }

// Poll reads what has changed, on a connection of package connect that is in no
// transaction. It takes no lock that anybody waits for, and waits for none.
func (p *Poller) Poll(ctx context.Context, conn *pgx.Conn) (*Reading, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int4`).Scan(&version); err != nil {
		return nil, fmt.Errorf("poll the schema: %w", err)
	}
	q := pollQueries{conn: conn, versionNum: version, publications: p.publications, known: slices.Sorted(maps.Keys(p.memory.Tables))}
	var err error
	for attempt := 1; attempt <= attempts; attempt++ {
		var reading *Reading
		reading, err = p.attempt(ctx, &q, attempt == attempts)
		if reading != nil {
			return reading, nil
		}
		if err != nil && pgerror.Code(err) != pgerror.LockNotAvailable {
			break
		}
	}
	return nil, fmt.Errorf("poll the schema: %w", err)
}

// attempt reads once. It is nil if something was changed meanwhile, unless it is
// the last one: then that is left out.
func (p *Poller) attempt(ctx context.Context, q *pollQueries, last bool) (*Reading, error) {
	before, err := q.versions(ctx)
	if err != nil {
		return nil, err
	}
	avoided, err := q.locked(ctx)
	if err != nil {
		return nil, err
	}
	reading, err := p.read(ctx, q, before, avoided)
	if err != nil {
		return nil, err
	}
	if reading.Fence, err = fence(ctx, q.conn); err != nil {
		return nil, err
	}
	// The order counts: a transaction that has committed before the fence holds
	// its locks still, or is visible to what is read after them.
	locked, err := q.locked(ctx)
	if err != nil {
		return nil, err
	}
	after, err := q.versions(ctx)
	if err != nil {
		return nil, err
	}
	unsettled := differing(before, after)
	if before.Types != after.Types {
		after.Types = "" // the next poll reads everything
	}
	if (len(unsettled) > 0 || after.Types == "") && !last {
		return nil, nil
	}
	p.settle(reading, after, slices.Concat(unsettled, avoided, locked))
	return reading, nil
}

// read describes what has changed since the last poll, but for tables that
// reading would wait for.
func (p *Poller) read(ctx context.Context, q *pollQueries, now Memory, avoided []uint32) (r *Reading, err error) {
	if _, err := q.conn.Exec(ctx, `SET lock_timeout = '1s'`); err != nil {
		return nil, err
	}
	defer func() {
		_, reset := q.conn.Exec(context.WithoutCancel(ctx), `SET lock_timeout = 0`)
		err = errors.Join(err, reset)
	}()
	r = &Reading{}
	everything := now.Types != p.memory.Types
	if r.Publications, err = q.readPublications(ctx); err != nil {
		return nil, err
	}
	if everything {
		if r.Types, err = ReadTypes(ctx, q.conn); err != nil {
			return nil, err
		}
	}
	var wanted []catalog.Name
	moved := false
	for _, oid := range slices.Sorted(maps.Keys(now.Tables)) {
		last, ok := p.memory.Tables[oid]
		moved = moved || ok && last.Filenode != now.Tables[oid].Filenode
		if (everything || !ok || last.Digest != now.Tables[oid].Digest) && !slices.Contains(avoided, oid) {
			wanted = append(wanted, now.Tables[oid].Table)
		}
	}
	found, err := catalog.DescribeTables(ctx, q.conn, wanted)
	if err != nil {
		return nil, err
	}
	for _, name := range wanted {
		d := found[name]
		if d == nil {
			continue // the versions that are read next differ
		}
		t := TableReading{After: d, Shape: now.Tables[d.OID].Shape}
		if last, ok := p.memory.Tables[d.OID]; ok {
			t.Known = contextOf(last, now.Tables[d.OID])
		}
		if d.Relkind == "p" {
			t.Known.Moved = moved // it has no file; one of its partitions may have been
			if t.Known.LeafMissing, err = q.leafMissing(ctx, d.OID); err != nil {
				return nil, err
			}
		}
		r.Tables = append(r.Tables, t)
	}
	for oid := range p.memory.Tables {
		if _, ok := now.Tables[oid]; !ok {
			r.Gone = append(r.Gone, oid)
		}
	}
	slices.Sort(r.Gone)
	return r, nil
}

// contextOf tells what two versions of a table say of how it was changed: its rows
// are in another file, and with them a column was altered that is still there.
// TRUNCATE and VACUUM FULL do the former alone.
func contextOf(last, now Version) Context {
	known := Context{Moved: last.Filenode != now.Filenode}
	if !known.Moved {
		return known
	}
	for number, version := range last.Columns {
		if v, ok := now.Columns[number]; ok && v != version {
			known.Reason = RewriteColumn
		}
	}
	return known
}

// differing are the tables that two looks do not see alike.
func differing(a, b Memory) []uint32 {
	var out []uint32
	for oid, v := range a.Tables {
		if w, ok := b.Tables[oid]; !ok || w.Digest != v.Digest || w.Filenode != v.Filenode || w.Table != v.Table {
			out = append(out, oid)
		}
	}
	for oid := range b.Tables {
		if _, ok := a.Tables[oid]; !ok {
			out = append(out, oid)
		}
	}
	return out
}

// settle leaves out what is not certain, and remembers the rest.
func (p *Poller) settle(r *Reading, now Memory, uncertain []uint32) {
	for _, oid := range uncertain {
		r.Tables = slices.DeleteFunc(r.Tables, func(t TableReading) bool { return t.After.OID == oid })
		r.Gone = slices.DeleteFunc(r.Gone, func(gone uint32) bool { return gone == oid })
		if v, ok := now.Tables[oid]; ok && !slices.Contains(r.Busy, v.Table) {
			r.Busy = append(r.Busy, v.Table)
		}
		if last, ok := p.memory.Tables[oid]; ok {
			last.Digest = "" // whatever the next poll sees is new
			now.Tables[oid] = last
		} else {
			delete(now.Tables, oid)
		}
	}
	p.memory = now
}

// fence writes the message, and makes sure that it is sent: without a commit
// behind it, it could stay in the server's buffers for long. What it waits for
// is the local disk alone.
func fence(ctx context.Context, conn *pgx.Conn) (stream.LSN, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("write the fence: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after Commit it does nothing
	var at uint64
	var xid string
	_, err = tx.Exec(ctx, `SET LOCAL synchronous_commit = local`)
	if err == nil {
		err = tx.QueryRow(ctx, `
SELECT (pg_catalog.pg_logical_emit_message(false, $1::text, ''::text) - '0/0'::pg_catalog.pg_lsn)::int8, pg_catalog.pg_current_xact_id()::text`, FencePrefix).Scan(&at, &xid)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err == nil {
		return stream.LSN(at), nil
	}
	wrapped := fmt.Errorf("write the fence: %w", err)
	if pgerror.Code(err) != pgerror.InsufficientPrivilege {
		return 0, wrapped
	}
	return 0, pgerror.From(wrapped).WithHint("on the source: GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) TO <the role of this database>;")
}
