package mirror

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// tolerance lets a phase of the schema go on although something of other tables
// differs or fails: tables that join need their own definitions, and a table that
// is stopped because its definition differs is no reason to keep new ones out. A
// nil tolerance is strict about everything.
type tolerance struct {
	tables []catalog.Name // about these it is strict

	mu     sync.Mutex
	failed map[int]*pgerror.Error // first failure of their statements, by shard
	blamed []blamed               // each of their failures
	left   int                    // statements of others that differ or failed
}

// blamed is a statement that keeps a table from being made.
type blamed struct {
	shard int
	table catalog.Name
	why   *pgerror.Error
}

// blame gives the tables that cannot be made, each with what it has met first.
func (t *tolerance) blame() map[catalog.Name]*pgerror.Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[catalog.Name]*pgerror.Error{}
	for _, b := range t.blamed {
		if out[b.table] == nil {
			out[b.table] = b.why
		}
	}
	return out
}

// strict tells whether a statement must not differ, nor fail.
func (t *tolerance) strict(s *schema.Statement) bool {
	return t == nil || slices.Contains(t.tables, catalog.Name{Schema: s.Schema, Name: s.Table})
}

// begin forgets what an earlier attempt of a shard has met.
func (t *tolerance) begin(shard int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failed, shard)
	t.blamed = slices.DeleteFunc(t.blamed, func(b blamed) bool { return b.shard == shard })
}

// event takes a statement's change of state.
func (t *tolerance) event(e schema.Event) {
	if t == nil || e.State != schema.StateFailed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.strict(e.Statement) {
		t.left++
		return
	}
	t.blamed = append(t.blamed, blamed{e.Statement.Shard, catalog.Name{Schema: e.Statement.Schema, Name: e.Statement.Table}, e.Err})
	if t.failed[e.Statement.Shard] == nil {
		if t.failed == nil {
			t.failed = map[int]*pgerror.Error{}
		}
		t.failed[e.Statement.Shard] = e.Err
	}
}

// drifted leaves out of what differs what does not matter.
func (t *tolerance) drifted(all []*schema.Statement) []*schema.Statement {
	if t == nil {
		return all
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(s *schema.Statement) bool { return !t.strict(s) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blamed = nil
	for _, s := range kept {
		t.blamed = append(t.blamed, blamed{s.Shard, catalog.Name{Schema: s.Schema, Name: s.Table}, s.Err})
	}
	t.left += len(all) - len(kept)
	return kept
}

// failure is what a shard's statements met that it is strict about.
func (t *tolerance) failure(shard int) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.failed[shard]; e != nil {
		return fmt.Errorf("make the tables that join: %w", e)
	}
	return nil
}

// undefined gives those of the tables that a shard of the destination lacks, and
// with them those whose keys and indexes are not known to be there: tables that
// have never joined, for an earlier attempt may have ended behind their CREATE
// TABLE. A mirror that does not make tables has none.
func (j *copyData) undefined(ctx context.Context, parts []*part) (absent, unfinished []catalog.Name, err error) {
	if j.req.SkipSchema {
		return nil, nil, nil
	}
	for _, p := range parts {
		p.unfinished = map[catalog.Name]bool{}
		names := tableNames(p.keys)
		lacks, err := j.lacking(ctx, names)
		if err != nil {
			return nil, nil, err
		}
		for _, key := range p.keys {
			row, _ := j.tables.get(key)
			if !lacks[key.table] && TableState(row.State) != TablePending && row.SyncLSN != 0 {
				continue
			}
			p.unfinished[key.table] = true
			j.tables.note(key, neverJoined)
			if lacks[key.table] {
				absent = append(absent, key.table)
			}
			unfinished = append(unfinished, key.table)
		}
	}
	return absent, unfinished, nil
}

// neverJoined is what undefined knows a table by whose definition may be a half one.
func neverJoined(t *state.Table) { t.SyncLSN = 0 }

// lacking gives those of the source's tables that a shard of the destination
// does not have.
func (j *copyData) lacking(ctx context.Context, names []catalog.Name) (map[catalog.Name]bool, error) {
	out := map[catalog.Name]bool{}
	mapped := j.destinationNames(names)
	for _, server := range j.pair.destination {
		there, err := relationsOn(ctx, server, mapped)
		if err != nil {
			return nil, err
		}
		for i, name := range mapped {
			if there[name] == nil {
				out[names[i]] = true
			}
		}
	}
	return out, nil
}

func relationsOn(ctx context.Context, server config.Server, names []catalog.Name) (map[catalog.Name]*catalog.Relation, error) {
	conn, err := connect.Open(ctx, server, "tables")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	relations, err := catalog.ReadRelations(ctx, conn, names)
	if err != nil {
		return nil, fmt.Errorf("read the tables of %s: %w", connect.Place(server), err)
	}
	return relations, nil
}

// noDestination says that a table is not there, and what makes it.
func (j *copyData) noDestination(source, destination catalog.Name) *pgerror.Error {
	e := pgerror.New(pgerror.UndefinedTable, "table %s does not exist on the destination", destination)
	command := resyncCommand(j.pair.mirror, source)
	if j.req.SkipSchema {
		return e.WithHint("create it there; then %s copies it", command)
	}
	return e.WithHint("%s makes it there and copies it", command)
}

// define runs a phase of the schema for tables that join a stream and are not
// there yet, and gives those that are there then. Those that cannot be made are
// stopped and leave their parts; the others do not wait for them.
func (j *copyData) define(ctx context.Context, phase dump.Phase, parts []*part, tables []catalog.Name) ([]catalog.Name, error) {
	for len(tables) > 0 {
		t := &tolerance{tables: tables}
		err := j.joinPhase(ctx, phase, t)
		if err == nil {
			break
		}
		bad := t.blame()
		if len(bad) == 0 || ctx.Err() != nil || givenBack(err) || slices.ContainsFunc(slices.Collect(maps.Values(bad)), func(e *pgerror.Error) bool { return givenBack(e) }) {
			return tables, err
		}
		for _, p := range parts {
			for _, key := range p.keys {
				if why := bad[key.table]; why != nil {
					if err := p.giveUpTable(ctx, key, why); err != nil {
						return tables, err
					}
				}
			}
			p.keys = slices.DeleteFunc(p.keys, func(key tableKey) bool { return bad[key.table] != nil })
		}
		tables = slices.DeleteFunc(slices.Clone(tables), func(n catalog.Name) bool { return bad[n] != nil })
	}
	return tables, nil
}

// joinPhase runs a phase once.
func (j *copyData) joinPhase(ctx context.Context, phase dump.Phase, t *tolerance) error {
	err := j.runSchemaPhase(ctx, phase, nil, t)
	if err == nil && t.left > 0 {
		j.manager.log.Warn("tables join; statements of other objects differ or failed, and are left as they are: SHOW SCHEMA_DIFF tells them",
			"task", j.journal.task, "phase", phase.String(), "statements", t.left)
	}
	return err
}
