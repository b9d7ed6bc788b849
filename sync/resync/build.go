package resync

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// makeSteps makes the statements from the archive's entries.
func (s *Shadow) makeSteps() {
	for i, l := range s.levels {
		s.bare = append(s.bare, s.levelStep(l, i == 0))
	}
	for _, u := range s.units {
		if u.kind == 'm' {
			continue
		}
		if !u.partition {
			for _, parent := range u.parents {
				s.bare = append(s.bare, s.twin(parent))
			}
		}
		s.unitSteps(u)
		s.boundSteps(u)
	}
	for _, u := range s.units {
		if u.kind != 'm' {
			s.behind = append(s.behind, step{sql: "ANALYZE " + quote(s.moved(u.name)), what: "ANALYZE " + u.name.Name})
		}
	}
	for _, u := range s.units {
		if u.kind == 'm' {
			s.unitSteps(u)
		}
	}
	s.behind = append(s.behind, s.grants...)
	s.grants = nil
}

// moved is the name that something has beside the table.
func (s *Shadow) moved(name catalog.Name) catalog.Name {
	return catalog.Name{Schema: s.schema, Name: name.Name}
}

// levelStep makes a partitioned table of the same columns, for routing only.
func (s *Shadow) levelStep(l level, top bool) step {
	name := quote(s.moved(l.name))
	sql := fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED) PARTITION BY %s", name, quote(l.name), l.partition)
	if !top {
		sql += fmt.Sprintf("; ALTER TABLE %s ATTACH PARTITION %s %s", quote(s.moved(l.parent)), name, l.bound)
	}
	return step{sql: sql, what: "TABLE " + l.name.Name}
}

// twin makes an empty table like a parent, from which the shadow table inherits
// until it takes its place: as a child of the parent its rows would be seen there.
// What is inherited stays marked so, because there is no moment without a parent.
func (s *Shadow) twin(parent catalog.Name) step {
	return step{sql: fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE)",
		quote(s.moved(parent)), quote(parent)), what: "TABLE " + parent.Name}
}

// movesOf are the names that are moved in an entry's text. The definition of a table
// alone may name what it inherits from.
func (s *Shadow) movesOf(u *unit, e *ownEntry) moves {
	if e.Kind != dump.KindTable || u.partition || len(u.parents) == 0 {
		return s.moves
	}
	out := maps.Clone(s.moves)
	for _, parent := range u.parents {
		out[parent] = s.schema
	}
	return out
}

// unitSteps distributes a unit's entries.
func (s *Shadow) unitSteps(u *unit) {
	for _, e := range u.entries {
		now, later := e.statements()
		s.present = append(s.present, later...)
		switch e.stage {
		case bare, behind:
			s.entryStep(u, e, now)
		case present:
			s.present = append(s.present, now...)
		}
	}
}

func (s *Shadow) entryStep(u *unit, e *ownEntry, statements []string) {
	move := s.movesOf(u, e)
	for i, sql := range statements {
		statements[i] = move.apply(sql)
	}
	if len(statements) == 0 {
		return
	}
	sql := strings.Join(statements, ";\n")
	if e.Kind == dump.KindMaterializedView && u.populated {
		sql += ";\nREFRESH MATERIALIZED VIEW " + quote(s.moved(u.name))
	}
	switch e.Kind {
	case dump.KindTable, dump.KindMaterializedView, dump.KindSequence:
		// A role that may not create in a schema may not own tables in it.
		sql = "GRANT USAGE, CREATE ON SCHEMA " + dump.QuoteIdent(s.schema) + " TO " + dump.QuoteIdent(u.owner) + ";\n" + sql
	}
	if owner, ok := e.OwnerSQL(); ok {
		sql += ";\n" + s.moves.apply(owner)
	}
	switch e.Kind {
	case dump.KindTable, dump.KindMaterializedView:
		sql += ";\n" + withoutDefaultGrants(s.moved(u.name))
	case dump.KindSequence:
		sql += ";\n" + withoutDefaultGrants(s.moved(catalog.Name{Name: e.Tag}))
	}
	st := step{sql: e.settings() + sql, what: string(e.Kind) + " " + e.Tag}
	switch {
	case e.Kind == dump.KindACL:
		// Last, when policies are there. Grants are made by whoever made them.
		for _, role := range u.grantors {
			st.sql = "GRANT USAGE ON SCHEMA " + dump.QuoteIdent(s.schema) + " TO " + dump.QuoteIdent(role) + ";\n" + st.sql
		}
		s.grants = append(s.grants, st)
	case e.stage == bare:
		s.bare = append(s.bare, st)
	default:
		s.behind = append(s.behind, st)
	}
}

// withoutDefaultGrants takes back what ALTER DEFAULT PRIVILEGES gives to every new
// table: pg_dump's grants begin with those that PostgreSQL itself gives.
func withoutDefaultGrants(table catalog.Name) string {
	return `DO $pgdrover$ DECLARE g record; BEGIN
  FOR g IN SELECT DISTINCT c.oid::regclass AS name, c.relkind, a.grantee FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
           WHERE c.oid = ` + dump.QuoteLiteral(quote(table)) + `::regclass AND a.grantee <> c.relowner LOOP
    EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %s', CASE g.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, g.name,
                   CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END);
  END LOOP; END $pgdrover$`
}

// boundSteps makes sure that a partition can be attached without being read.
func (s *Shadow) boundSteps(u *unit) {
	if !u.partition {
		return
	}
	name := quote(s.moved(u.name))
	if u.implied != "" {
		s.bare = append(s.bare, step{sql: fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s)", name, boundCheck, u.implied), what: "CHECK CONSTRAINT " + boundCheck})
	}
	for _, l := range s.levels {
		if len(u.parents) > 0 && l.name == u.parents[0] {
			s.bare = append(s.bare, step{sql: fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s %s", quote(s.moved(l.name)), name, u.bound), what: "TABLE ATTACH " + u.name.Name})
		}
	}
}

// Create makes the shadow table without keys and indexes. What a killed process has
// left of one is removed first.
func (s *Shadow) Create(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	patience = patience.withDefaults()
	err := patience.retry(ctx, func() error {
		err := transaction(ctx, conn, func(tx pgx.Tx) error { return s.create(ctx, tx, patience.begin(tx)) })
		return locked(ctx, conn, err, []uint32{s.table.oid})
	})
	if err != nil {
		return fmt.Errorf("create the shadow table of %s: %w", s.table.name, err)
	}
	return nil
}

func (s *Shadow) create(ctx context.Context, q querier, wait *budget) error {
	n := note{Mirror: s.mirror, Schema: s.table.name.Schema, Table: s.table.name.Name}
	if err := makeSchema(ctx, q, wait, s.schema, n); err != nil {
		return err
	}
	if err := wait.exec(ctx, "CREATE TABLE "+quote(s.moved(catalog.Name{Name: stepsTable}))+" (step integer NOT NULL)"); err != nil {
		return err
	}
	for _, st := range s.bare {
		if err := wait.exec(ctx, st.sql); err != nil {
			return fmt.Errorf("%s: %w", st.what, err)
		}
	}
	return nil
}

// Finish makes keys, indexes and the rest over the rows, one after another, and
// gathers statistics. Called again after an interruption it goes on where it was.
// Memory and parallel workers are those of the session: maintenance_work_mem,
// max_parallel_maintenance_workers.
func (s *Shadow) Finish(ctx context.Context, conn *pgx.Conn, patience Patience, progress func(Progress)) error {
	patience = patience.withDefaults()
	steps := quote(s.moved(catalog.Name{Name: stepsTable}))
	var done int
	if err := conn.QueryRow(ctx, "SELECT coalesce(max(step) + 1, 0) FROM "+steps).Scan(&done); err != nil {
		return fmt.Errorf("finish the shadow table of %s: %w", s.table.name, err)
	}
	all := s.behind
	for i := done; i < len(all); i++ {
		if progress != nil {
			progress(Progress{Done: i, Total: len(all), What: all[i].what})
		}
		err := patience.retry(ctx, func() error { return s.step(ctx, conn, patience, i) })
		if err != nil {
			return fmt.Errorf("finish the shadow table of %s: %s: %w", s.table.name, all[i].what, err)
		}
	}
	if progress != nil {
		progress(Progress{Done: len(all), Total: len(all)})
	}
	var err error
	if s.older, err = readSnapshots(ctx, conn); err != nil {
		return fmt.Errorf("finish the shadow table of %s: %w", s.table.name, err)
	}
	return nil
}

// step runs one step of Finish, and records it. Others than those that need a lock
// on a table in use wait without end: only autovacuum has an interest in the shadow.
func (s *Shadow) step(ctx context.Context, conn *pgx.Conn, patience Patience, i int) error {
	st := s.behind[i]
	err := transaction(ctx, conn, func(tx pgx.Tx) (err error) {
		if st.locks {
			err = patience.begin(tx).exec(ctx, st.sql)
		} else {
			_, err = tx.Exec(ctx, st.sql, pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s VALUES (%d)", quote(s.moved(catalog.Name{Name: stepsTable})), i))
		return err
	})
	return locked(ctx, conn, err, []uint32{s.table.oid})
}

// levelKeys gives the partitioned table above the shadow partitions the keys of the
// real one: changes are applied by them. They take in those of the partitions.
func (s *Shadow) levelKeys(ctx context.Context, q querier) error {
	if len(s.levels) == 0 {
		return nil
	}
	rows, err := q.Query(ctx, `SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u') ORDER BY contype, oid`, s.table.oid)
	if err != nil {
		return err
	}
	var name, definition string
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		s.behind = append(s.behind, step{sql: addKey(s.Target(), name, definition, false), what: "CONSTRAINT " + name})
		return nil
	})
	return err
}

// inheritedKeys makes the foreign keys that a partition has from its parent: ATTACH
// PARTITION takes in those that are there and valid, and reads all rows for others.
// Rows that violate one now may be right when the streams are together: then it is
// left to ATTACH. One that references the partition's own root is set aside and put
// back with those of other tables.
func (s *Shadow) inheritedKeys(ctx context.Context, q querier, u *unit) error {
	if !u.partition {
		return nil
	}
	rows, err := q.Query(ctx, `
SELECT k.conname::text, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') FROM pg_constraint k JOIN pg_constraint p ON p.oid = k.conparentid
WHERE k.contype = 'f' AND k.conrelid = $1 AND p.conrelid <> k.conrelid AND pg_partition_root(k.confrelid) IS DISTINCT FROM pg_partition_root(k.conrelid) ORDER BY k.oid`, u.oid)
	if err != nil {
		return err
	}
	table := s.moved(u.name)
	var name, definition string
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		what := "FK CONSTRAINT " + u.name.Name + " " + name
		s.behind = append(s.behind,
			step{sql: addKey(table, name, definition, true), what: what, locks: true},
			step{sql: "DO $pgdrover$ BEGIN " + doQuoted("ALTER TABLE "+quote(table)+" VALIDATE CONSTRAINT "+dump.QuoteIdent(name)) +
				" EXCEPTION WHEN foreign_key_violation THEN " + doQuoted(dropKey(table, name)) + " END $pgdrover$", what: "VALIDATE " + what, locks: true})
		return nil
	})
	return err
}

// doQuoted is a statement inside a DO block.
func doQuoted(sql string) string { return "EXECUTE " + dump.QuoteLiteral(sql) + ";" }
