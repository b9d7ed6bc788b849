package resync

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
)

// stage is when an entry of the archive is run for a shadow table.
type stage int

const (
	never   stage = iota // carried by other means: see swap.go
	bare                 // before there are rows
	behind               // when the rows are in
	present              // when it stands in the table's place
)

// stageOf says when an entry of a table's own runs. Comments, grants and labels
// follow what they belong to.
func stageOf(e *dump.Entry) stage {
	switch e.Kind {
	case dump.KindTable, dump.KindDefault, dump.KindSequence:
		return bare
	case dump.KindConstraint, dump.KindCheckConstraint, dump.KindIndex, dump.KindStatistics,
		dump.KindTrigger, dump.KindRule, dump.KindPolicy, dump.KindRowSecurity, dump.KindMaterializedView:
		return behind
	case dump.KindPublicationTable:
		return present
	}
	return never
}

// unit is a table, or a materialized view that reads it, which gets a shadow.
type unit struct {
	relation
	partition bool
	parents   []catalog.Name // it inherits from, or is a partition of
	bound     string         // of a partition, as FOR VALUES …
	implied   string         // of a partition: the condition that its rows fulfil
	populated bool           // of a materialized view
	grantors  []string       // roles that have granted something and do not own it
	entries   []*ownEntry
	moved     []catalog.Name // what lies in the unit's schema under its own name and moves with its definition
	stats     []catalog.Name // extended statistics, which do not follow their table into another schema
}

// ownEntry is an entry of the archive that belongs to a unit.
type ownEntry struct {
	*dump.Entry
	stage stage
}

// belongs finds the entries of a unit in an archive of its database.
func (u *unit) belongs(ctx context.Context, q querier, archive *dump.Archive) error {
	own, err := ownObjects(ctx, q, u.oid)
	if err != nil {
		return err
	}
	u.entries = u.entries[:0]
	mine := map[int]*ownEntry{}
	for i := range archive.Entries {
		e := &archive.Entries[i]
		var entry *ownEntry
		switch e.Kind {
		case dump.KindComment, dump.KindACL, dump.KindSecurityLabel:
			for _, id := range e.Dependencies {
				if of := mine[id]; of != nil && entry == nil {
					entry = &ownEntry{e, of.stage}
				}
			}
		case dump.KindRowSecurity:
			if e.OID == u.oid {
				entry = &ownEntry{e, stageOf(e)}
			}
		default:
			if own[object{e.TableOID, e.OID}] {
				entry = &ownEntry{e, stageOf(e)}
			}
		}
		if entry != nil {
			mine[e.DumpID] = entry
			u.entries = append(u.entries, entry)
		}
	}
	if !slices.ContainsFunc(u.entries, func(e *ownEntry) bool { return e.Kind == dump.KindTable || e.Kind == dump.KindMaterializedView }) {
		return pgerror.New(pgerror.FeatureNotSupported, "%s cannot be rebuilt: pg_dump does not show it", u.name).
			WithDetail("It belongs to an extension, lies in a schema that was left out, or was made after the dump.").
			WithHint("use another strategy: truncate or reconcile")
	}
	return nil
}

// object is an object's address in the catalogs.
type object struct{ class, oid uint32 }

// ownObjects gives the objects that are part of a table. The sequence of an
// identity column is one; that of a serial column is a thing of its own, which the
// new table takes over.
func ownObjects(ctx context.Context, q querier, oid uint32) (map[object]bool, error) {
	rows, err := q.Query(ctx, `
SELECT 'pg_class'::regclass::oid, $1::oid
UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint WHERE conrelid = $1
UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index WHERE indrelid = $1
UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = $1
UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger WHERE tgrelid = $1
UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite WHERE ev_class = $1
UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = $1
UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = $1
UNION ALL SELECT 'pg_publication_rel'::regclass, oid FROM pg_publication_rel WHERE prrelid = $1
UNION ALL SELECT 'pg_class'::regclass, d.objid FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.deptype = 'i'`, oid)
	if err != nil {
		return nil, fmt.Errorf("read the parts of a table: %w", err)
	}
	out := map[object]bool{}
	var o object
	_, err = pgx.ForEachRow(rows, []any{&o.class, &o.oid}, func() error {
		out[o] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the parts of a table: %w", err)
	}
	return out, nil
}

// statements gives what runs for an entry in its stage, and what has to wait until
// the table stands in its place: whether a trigger or a rule fires for a replica.
// Before that it would fire for the changes of the shadow table.
func (e *ownEntry) statements() (now, later []string) {
	for i, sql := range e.Statements() {
		if i > 0 && (e.Kind == dump.KindTrigger || e.Kind == dump.KindRule) || e.Kind == dump.KindTrigger && strings.HasPrefix(sql, "ALTER TABLE ") {
			later = append(later, sql)
			continue
		}
		now = append(now, sql)
	}
	return now, later
}

// settings are the SET LOCALs that an entry's definition leaves to the session.
// Steps may share a transaction: each says what it needs.
func (e *ownEntry) settings() string {
	switch e.Kind {
	case dump.KindTable, dump.KindMaterializedView, dump.KindIndex, dump.KindConstraint:
	default:
		return ""
	}
	out := "SET LOCAL default_tablespace = " + dump.QuoteLiteral(e.Tablespace) + "; "
	if e.AccessMethod != "" {
		out += "SET LOCAL default_table_access_method = " + dump.QuoteLiteral(e.AccessMethod) + "; "
	}
	return out
}
