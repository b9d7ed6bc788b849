package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Membership is which table is published under a name, and by what. Two tables
// that bear one name after each other differ in it, and so does one table that
// was taken out of the publication and put in again: neither can be seen in what
// is published now.
type Membership struct {
	OID     uint32   // of the relation
	Members []string // "all 16384", "schema 16385", "table 16386", "table 16386 filtered", with the attachment of a partition behind it; sorted
}

// Equal tells whether two looks at a table saw the same.
func (m Membership) Equal(other Membership) bool {
	return m.OID == other.OID && slices.Equal(m.Members, other.Members)
}

// Unbroken tells whether every change between two looks at a table was
// published: the same relation, by a member that was there all the time and
// publishes all of it, or by the same members.
func (m Membership) Unbroken(later Membership) bool {
	if m.OID != later.OID {
		return false
	}
	return slices.Equal(m.Members, later.Members) || slices.ContainsFunc(m.Members, func(member string) bool {
		return !strings.Contains(member, "filtered") && slices.Contains(later.Members, member)
	})
}

// readMemberships reads what publishes tables. One that is not there, or not
// published, has none.
func readMemberships(ctx context.Context, conn *pgx.Conn, publication string, names []Name) (map[Name]Membership, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.Schema, n.Name
	}
	filtered, bySchema, err := membershipParts(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read what publication %q publishes: %w", publication, err)
	}
	// An ancestor's member publishes a partition as long as it is attached: the
	// transaction that made the attachment stands for it.
	rows, err := conn.Query(ctx, `
WITH RECURSIVE asked AS (
    SELECT c.oid, n.nspname::text AS schema_name, c.relname::text AS table_name
    FROM unnest($2::text[], $3::text[]) AS a (schema_name, table_name)
    JOIN pg_namespace n ON n.nspname = a.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = a.table_name
), line AS (
    SELECT a.oid AS leaf, a.oid AS relid, '' AS attached FROM asked a
    UNION ALL
    SELECT l.leaf, i.inhparent, l.attached || ' attached ' || i.xmin::text
    FROM line l JOIN pg_class c ON c.oid = l.relid AND c.relispartition JOIN pg_inherits i ON i.inhrelid = l.relid
), member AS (
    SELECT l.leaf, 'all ' || p.oid AS member FROM line l, pg_publication p WHERE p.pubname = $1 AND p.puballtables AND l.leaf = l.relid
    UNION ALL
    SELECT l.leaf, 'table ' || r.oid || `+filtered+` || l.attached
    FROM line l JOIN pg_publication_rel r ON r.prrelid = l.relid JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1
    `+bySchema+`
)
SELECT a.oid, a.schema_name, a.table_name, array_agg(m.member ORDER BY m.member COLLATE "C")
FROM asked a JOIN member m ON m.leaf = a.oid
GROUP BY a.oid, a.schema_name, a.table_name`, publication, schemas, tables)
	if err != nil {
		return nil, fmt.Errorf("read what publication %q publishes: %w", publication, err)
	}
	out := map[Name]Membership{}
	var name Name
	var m Membership
	_, err = pgx.ForEachRow(rows, []any{&m.OID, &name.Schema, &name.Name, &m.Members}, func() error {
		out[name] = Membership{OID: m.OID, Members: slices.Clone(m.Members)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read what publication %q publishes: %w", publication, err)
	}
	return out, nil
}

// membershipParts gives what servers before version 15 do not have: filters,
// column lists and whole schemas.
func membershipParts(ctx context.Context, conn *pgx.Conn) (filtered, bySchema string, err error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return "", "", err
	}
	if version < 150000 {
		return `''`, ``, nil
	}
	return `CASE WHEN r.prqual IS NULL AND r.prattrs IS NULL THEN '' ELSE ' filtered' END`, `UNION ALL
    SELECT l.leaf, 'schema ' || s.oid || l.attached
    FROM line l JOIN pg_class c ON c.oid = l.relid JOIN pg_publication_namespace s ON s.pnnspid = c.relnamespace
    JOIN pg_publication p ON p.oid = s.pnpubid WHERE p.pubname = $1`, nil
}
