package schema

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// createIndex plans an index. On an empty table pg_dump's text is run as it
// is. On a table with rows the build is a statement of its own, so that it can
// run beside others, CONCURRENTLY where the table is written to; what pg_dump
// appends (CLUSTER ON, SET STATISTICS, REPLICA IDENTITY) follows it.
func (b *builder) createIndex(e *dump.Entry) {
	index := b.source.Indexes[e.OID]
	build, ok := b.source.IndexSQL[e.OID]
	weight := b.bytes(index.Table)
	if !ok || weight == 0 || index.Relkind == 'p' || !strings.HasPrefix(e.Definition, build+";") {
		s := b.statement(e, b.text(e))
		s.Weight = weight
		b.add(e, s)
		return
	}
	first := b.build(e, index, build, weight)
	rest := strings.TrimSpace(strings.TrimPrefix(e.Definition, build+";"))
	if rest != "" {
		b.follow(e, first, rest)
	}
}

// build plans one CREATE INDEX on a table with rows. sql is pg_get_indexdef's
// text: one statement without a semicolon.
func (b *builder) build(e *dump.Entry, index catalog.Index, sql string, weight int64) *Statement {
	invalid := b.dropInvalid(e, index.Index)
	var s *Statement
	if b.concurrently(index) {
		s = b.statement(e, insertConcurrently(sql)+";")
		s.NoTransaction, s.Tablespace = true, e.Tablespace
		s.Lock = ShareUpdateExclusive
		s.Locks = []RelationLock{{Relation: index.Table, Mode: ShareUpdateExclusive}}
	} else {
		var text strings.Builder
		after := b.settings(e, &text)
		s = b.statement(e, text.String()+sql+";"+after)
		s.Lock = Share
		s.Locks = []RelationLock{{Relation: index.Table, Mode: Share}}
	}
	s.Kind, s.Weight = string(dump.KindIndex), weight*max(1, index.Effort)
	s.Table = index.Table.Name
	b.add(e, s)
	if invalid != nil {
		s.Requires = append(s.Requires, invalid.Ordinal)
	}
	return s
}

// dropInvalid plans the removal of what an interrupted CONCURRENTLY build left
// under this name. pg_dump does not show such an index, so that it looks absent.
func (b *builder) dropInvalid(e *dump.Entry, name catalog.Name) *Statement {
	for _, there := range b.destination.Indexes {
		if there.Index != name || there.Valid || there.Relkind == 'p' {
			continue
		}
		s := b.statement(e, "DROP INDEX CONCURRENTLY IF EXISTS "+qualified(name.Schema, name.Name)+";")
		s.Kind, s.NoTransaction = KindDropIndex, true
		s.Lock = ShareUpdateExclusive
		s.Locks = []RelationLock{{Relation: there.Table, Mode: ShareUpdateExclusive}}
		return b.add(nil, s)
	}
	return nil
}

// follow plans a statement of e that must come after first.
func (b *builder) follow(e *dump.Entry, first *Statement, sql string) {
	s := b.statement(e, sql)
	s.Lock = AccessExclusive
	s.Locks = []RelationLock{{Relation: b.tableOf(e), Mode: AccessExclusive}}
	b.add(e, s)
	if first != nil {
		s.Requires = append(s.Requires, first.Ordinal)
	}
}

// concurrently tells whether an index is built without blocking writers. It
// cannot be on a partitioned table, whose index holds no rows anyway.
func (b *builder) concurrently(index catalog.Index) bool {
	switch {
	case index.Relkind != 'r':
		return false
	case b.opts.Concurrently == "always":
		return true
	case b.opts.Concurrently == "never":
		return false
	}
	return b.destination.Live[index.Table] && b.opts.Gate.weight(index.Table) == 0
}

// insertConcurrently turns "CREATE [UNIQUE] INDEX name ON …", as
// pg_get_indexdef begins it, into a CONCURRENTLY build.
func insertConcurrently(sql string) string {
	for _, prefix := range []string{"CREATE UNIQUE INDEX ", "CREATE INDEX "} {
		if rest, found := strings.CutPrefix(sql, prefix); found {
			return prefix + "CONCURRENTLY " + rest
		}
	}
	return sql
}

// createConstraint plans a primary key, unique or exclusion constraint. On a
// table with rows the index of a primary key or unique constraint is built
// first, beside others and without the ACCESS EXCLUSIVE lock, then promoted.
func (b *builder) createConstraint(e *dump.Entry) {
	k := b.source.Constraints[e.OID]
	index := b.source.Indexes[k.Index]
	build, ok := b.source.IndexSQL[k.Index]
	weight := b.bytes(k.Table)
	if !ok || weight == 0 || k.Relkind != 'r' || (k.Type != 'p' && k.Type != 'u') {
		s := b.statement(e, b.text(e))
		s.Weight = weight
		b.add(e, s)
		return
	}
	var first *Statement
	if !b.builtBefore(index) {
		first = b.build(e, index, build, weight)
	}
	b.follow(e, first, promote(k, index))
}

// builtBefore tells whether an earlier, interrupted run has built the index
// that a constraint is made from.
func (b *builder) builtBefore(index catalog.Index) bool {
	for _, there := range b.destination.Indexes {
		if there.Index == index.Index && there.Table == index.Table && there.Valid && there.Unique {
			return true
		}
	}
	return false
}

// promote makes a constraint from its finished index.
func promote(k catalog.Constraint, index catalog.Index) string {
	table := qualified(k.Table.Schema, k.Table.Name)
	word := map[byte]string{'p': "PRIMARY KEY", 'u': "UNIQUE"}[k.Type]
	sql := fmt.Sprintf("ALTER TABLE ONLY %s\n    ADD CONSTRAINT %s %s USING INDEX %s",
		table, dump.QuoteIdent(k.Name), word, dump.QuoteIdent(index.Index.Name))
	if k.Deferrable {
		sql += " DEFERRABLE"
	}
	if k.Deferred {
		sql += " INITIALLY DEFERRED"
	}
	sql += ";"
	if index.Clustered {
		sql += fmt.Sprintf("\n\nALTER TABLE %s CLUSTER ON %s;", table, dump.QuoteIdent(index.Index.Name))
	}
	if index.ReplicaIdentity {
		sql += fmt.Sprintf("\n\nALTER TABLE ONLY %s REPLICA IDENTITY USING INDEX %s;", table, dump.QuoteIdent(index.Index.Name))
	}
	return sql
}

// unfinished handles an index or constraint whose build was finished by a run
// that was killed before the ALTERs behind it: the shard's text is the
// beginning of the source's.
func (b *builder) unfinished(e, other *dump.Entry) bool {
	if e.Kind != dump.KindIndex && e.Kind != dump.KindConstraint {
		return false
	}
	rest, found := strings.CutPrefix(e.Definition, strings.TrimRight(other.Definition, "\n"))
	if !found || !strings.HasSuffix(strings.TrimRight(other.Definition, "\n"), ";") {
		return false
	}
	b.follow(e, nil, strings.TrimSpace(rest))
	return true
}
