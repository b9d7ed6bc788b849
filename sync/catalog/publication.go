package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Publication is a publication and the tables it lists.
type Publication struct {
	Name      string
	AllTables bool
	ViaRoot   bool
	Insert    bool // the kinds of changes it publishes
	Update    bool
	Delete    bool
	Truncate  bool
	Tables    []PublishedTable
}

// PublishedTable is one table of a publication: with publish_via_partition_root
// a partitioned root, else each leaf.
type PublishedTable struct {
	OID      uint32
	Table    Name
	Relkind  byte   // 'r', 'p'
	Identity byte   // pg_class.relreplident: d(efault), n(othing), f(ull), i(ndex)
	Key      string // the index that identifies rows, "" if there is none
	RowCount float64
	Columns  []string // the published columns; every column that is not generated before version 15
	Filter   string   // the row filter, an SQL expression over the table's columns; "" for none
	Members  []string // what publishes it: see Membership
}

// Membership is which relation is published, and by what.
func (t PublishedTable) Membership() Membership { return Membership{OID: t.OID, Members: t.Members} }

// HasIdentity tells whether an UPDATE or DELETE can say which row it met.
func (t PublishedTable) HasIdentity() bool { return t.Identity == 'f' || t.Key != "" }

// ReadPublication finds a publication by name; ok is false if there is none.
func ReadPublication(ctx context.Context, conn *pgx.Conn, name string) (p Publication, ok bool, err error) {
	p.Name = name
	err = conn.QueryRow(ctx, `SELECT puballtables, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = $1`, name).
		Scan(&p.AllTables, &p.ViaRoot, &p.Insert, &p.Update, &p.Delete, &p.Truncate)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("read publication %q: %w", name, err)
	}
	what, err := publishedParts(ctx, conn)
	if err != nil {
		return p, false, fmt.Errorf("read publication %q: %w", name, err)
	}
	rows, err := conn.Query(ctx, `
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text,
       coalesce((SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid
                   AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END
                 LIMIT 1), ''),
       c.reltuples::float8, `+what+`
FROM pg_publication_tables t
JOIN pg_namespace n ON n.nspname = t.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE t.pubname = $1 AND n.nspname <> 'pgdrover' AND n.nspname !~ '`+resyncSchemas+`'
ORDER BY 2, 3`, name)
	if err != nil {
		return p, false, fmt.Errorf("read tables of publication %q: %w", name, err)
	}
	p.Tables, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t PublishedTable, err error) {
		var relkind, identity string
		err = row.Scan(&t.OID, &t.Table.Schema, &t.Table.Name, &relkind, &identity, &t.Key, &t.RowCount, &t.Columns, &t.Filter)
		if err == nil {
			t.Relkind, t.Identity = relkind[0], identity[0]
		}
		return t, err
	})
	if err != nil {
		return p, false, fmt.Errorf("read tables of publication %q: %w", name, err)
	}
	return p, true, p.readMembers(ctx, conn)
}

func (p *Publication) readMembers(ctx context.Context, conn *pgx.Conn) error {
	tables := make([]Name, len(p.Tables))
	for i, t := range p.Tables {
		tables[i] = t.Table
	}
	members, err := readMemberships(ctx, conn, p.Name, tables)
	for i := range p.Tables {
		if m := members[p.Tables[i].Table]; m.OID == p.Tables[i].OID {
			p.Tables[i].Members = m.Members
		}
	}
	return err
}

// publishedParts gives the SQL for the columns and the row filter of a row of
// pg_publication_tables: before version 15 there are neither lists nor filters.
func publishedParts(ctx context.Context, conn *pgx.Conn) (string, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return "", err
	}
	if version >= 150000 {
		return `t.attnames::text[], coalesce(t.rowfilter, '')`, nil
	}
	return `ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), ''`, nil
}

// Publications lists the names of all publications, for hints.
func Publications(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return names(ctx, conn, "publications", `SELECT pubname::text FROM pg_publication ORDER BY 1`)
}

// names runs a query whose rows are one text column each.
func names(ctx context.Context, conn *pgx.Conn, what, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	return out, nil
}
