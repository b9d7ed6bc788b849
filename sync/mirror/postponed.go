package mirror

import (
	"context"
	"slices"
	"sync"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// postponed are the foreign keys that could not be checked over rows of different
// moments: those of tables that were copied by themselves, or on several
// replicas, fit together only when all of them stream. Until then they are NOT
// VALID, or absent where PostgreSQL has no such foreign key, and PostgreSQL
// checks what is written by others than the mirror.
type postponed struct {
	mu   sync.Mutex
	keys map[postponedKey]catalog.Name // with the table that has it
}

type postponedKey struct {
	shard          int
	schema, object string
}

// takes tells whether the failure of a statement is one that passes when all
// tables stream, and notes the foreign key.
func (p *postponed) takes(s *schema.Statement, e *pgerror.Error) bool {
	if p == nil || e == nil || e.Code != foreignKeyViolation || s.Phase != dump.PostData || s.Kind != schema.KindValidate && s.Kind != string(dump.KindForeignKey) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[postponedKey]catalog.Name{}
	}
	p.keys[postponedKey{s.Shard, s.Schema, s.Object}] = catalog.Name{Schema: s.Schema, Name: s.Table}
	return true
}

// foreignKeyViolation is PostgreSQL's foreign_key_violation.
const foreignKeyViolation = "23503"

// explains tells whether a difference is that of a foreign key that waits.
func (p *postponed) explains(d drift.Difference) bool {
	if p == nil || d.Kind != dump.KindForeignKey {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.keys[postponedKey{d.Shard, d.Schema, d.Object}]
	return ok
}

// tables are those with foreign keys that wait, and forgets them.
func (p *postponed) take() []catalog.Name {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []catalog.Name
	for _, t := range p.keys {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	p.keys = nil
	return out
}

func (p *postponed) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.keys) > 0
}

// checkPostponed checks the foreign keys that had to wait, once every table
// streams. What rows violate then is told, and left to SCHEMA_SYNC CUTOVER.
func (j *copyData) checkPostponed(ctx context.Context) error {
	if !j.postponed.any() {
		return nil
	}
	for _, s := range j.sources {
		if len(j.tables.in(s.number, TablePending, TableCopying, TableResyncing, TableCatchingUp, TableStopped)) > 0 {
			return nil
		}
	}
	tables := j.postponed.take()
	err := j.joinPhase(ctx, dump.PostData, &tolerance{tables: tables})
	if err != nil && (ctx.Err() != nil || retryable(err)) {
		j.postponed.again(tables)
		return err
	}
	for _, t := range j.postponed.take() {
		j.happens(ctx, "warning", t, "a foreign key of the table is not valid: rows violate it, at the source too or at the destination alone; SCHEMA_SYNC CUTOVER checks it again", nil)
	}
	if err != nil {
		e := pgerror.From(err)
		j.manager.log.Error("foreign keys that had to wait could not be made; SCHEMA_SYNC CUTOVER makes them", "task", j.journal.task, "sqlstate", e.Code, "error", e.Message)
	}
	return nil
}

// again has tables wait again.
func (p *postponed) again(tables []catalog.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[postponedKey]catalog.Name{}
	}
	for _, t := range tables {
		p.keys[postponedKey{schema: t.Schema, object: t.Name}] = t
	}
}
