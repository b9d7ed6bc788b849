package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Constraint is a row of pg_constraint that belongs to a table.
type Constraint struct {
	OID        uint32
	Type       byte // contype: p, u, x, f, c, t, n
	Table      Name
	Relkind    byte // of the table
	Name       string
	Index      uint32 // conindid of p, u, x
	Deferrable bool
	Deferred   bool
	Validated  bool
	References Name // the referenced table of a foreign key
	Inherited  bool // made by a constraint of the parent
}

// ReadConstraints reads the constraints that a dump has entries for, by OID.
func ReadConstraints(ctx context.Context, conn *pgx.Conn) (map[uint32]Constraint, error) {
	rows, err := conn.Query(ctx, `
SELECT k.oid, k.contype::text, n.nspname::text, c.relname::text, c.relkind::text, k.conname::text, k.conindid,
       k.condeferrable, k.condeferred, k.convalidated,
       coalesce(fn.nspname::text, ''), coalesce(f.relname::text, ''), k.conparentid <> 0
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class f ON f.oid = k.confrelid
LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE `+userSchemas)
	if err != nil {
		return nil, fmt.Errorf("read constraints: %w", err)
	}
	out := map[uint32]Constraint{}
	var k Constraint
	var contype, relkind string
	_, err = pgx.ForEachRow(rows, []any{&k.OID, &contype, &k.Table.Schema, &k.Table.Name, &relkind, &k.Name, &k.Index,
		&k.Deferrable, &k.Deferred, &k.Validated, &k.References.Schema, &k.References.Name, &k.Inherited}, func() error {
		k.Type, k.Relkind = contype[0], relkind[0]
		out[k.OID] = k
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read constraints: %w", err)
	}
	return out, nil
}

// Index is a row of pg_index.
type Index struct {
	OID             uint32
	Index           Name
	Table           Name
	Relkind         byte // of the table
	Valid           bool
	Building        bool // a backend is building it now
	ReplicaIdentity bool
	Unique          bool
	Clustered       bool // CLUSTER ON
	// Effort is about how much longer building it takes than a B-tree of an integer
	// column, at least 1. Strings that are compared by a collation take three times as long.
	Effort int64
}

// ReadIndexes reads the indexes of user tables, by OID.
func ReadIndexes(ctx context.Context, conn *pgx.Conn) (map[uint32]Index, error) {
	rows, err := conn.Query(ctx, `
SELECT i.indexrelid, n.nspname::text, x.relname::text, tn.nspname::text, c.relname::text, c.relkind::text,
       i.indisvalid, i.indisreplident, i.indisunique, i.indisclustered,
       EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid),
       CASE WHEN a.amname NOT IN ('btree', 'hash', 'brin') THEN 4
            WHEN a.amname = 'btree' AND i.indcollation[0] NOT IN (0, 950, 951) THEN 3
            ELSE 1 END
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am a ON a.oid = x.relam
JOIN pg_namespace n ON n.oid = x.relnamespace
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace tn ON tn.oid = c.relnamespace
WHERE `+userSchemas)
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	out := map[uint32]Index{}
	var x Index
	var relkind string
	_, err = pgx.ForEachRow(rows, []any{&x.OID, &x.Index.Schema, &x.Index.Name, &x.Table.Schema, &x.Table.Name, &relkind,
		&x.Valid, &x.ReplicaIdentity, &x.Unique, &x.Clustered, &x.Building, &x.Effort}, func() error {
		x.Relkind = relkind[0]
		out[x.OID] = x
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	return out, nil
}

// IndexDefinitions gives pg_get_indexdef of the indexes with these OIDs.
func IndexDefinitions(ctx context.Context, conn *pgx.Conn, oids []uint32) (map[uint32]string, error) {
	out := make(map[uint32]string, len(oids))
	if len(oids) == 0 {
		return out, nil
	}
	rows, err := conn.Query(ctx, `SELECT o, pg_get_indexdef(o) FROM unnest($1::oid[]) o`, oids)
	if err != nil {
		return nil, fmt.Errorf("read index definitions: %w", err)
	}
	var oid uint32
	var definition *string
	_, err = pgx.ForEachRow(rows, []any{&oid, &definition}, func() error {
		if definition != nil {
			out[oid] = *definition
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read index definitions: %w", err)
	}
	return out, nil
}

// Fires says in which session_replication_role a trigger, rule or event
// trigger fires: pg_trigger.tgenabled and its relatives.
type Fires byte

// The values of tgenabled, ev_enabled and evtenabled.
const (
	FiresOrigin   Fires = 'O' // in sessions that are not replicas
	FiresReplica  Fires = 'R'
	FiresAlways   Fires = 'A'
	FiresDisabled Fires = 'D'
)

// OnReplica tells whether it fires in a session that applies changes.
func (f Fires) OnReplica() bool { return f == FiresReplica || f == FiresAlways }

// ReadFiring reads when the triggers and rules of user tables fire, by OID.
// Those that fire in ordinary sessions only are left out.
func ReadFiring(ctx context.Context, conn *pgx.Conn) (map[uint32]Fires, error) {
	rows, err := conn.Query(ctx, `
SELECT t.oid, t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'O'
UNION ALL
SELECT r.oid, r.ev_enabled::text FROM pg_rewrite r WHERE r.ev_enabled <> 'O'`)
	if err != nil {
		return nil, fmt.Errorf("read triggers and rules: %w", err)
	}
	out := map[uint32]Fires{}
	var oid uint32
	var enabled string
	_, err = pgx.ForEachRow(rows, []any{&oid, &enabled}, func() error {
		out[oid] = Fires(enabled[0])
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read triggers and rules: %w", err)
	}
	return out, nil
}
