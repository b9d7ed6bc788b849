package ddl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// ReadTypes describes the enum, domain, composite and range types that users
// have made, by OID.
func ReadTypes(ctx context.Context, conn *pgx.Conn) (map[uint32]*catalog.TypeDescription, error) {
	rows, err := conn.Query(ctx, `
SELECT w.oid, (`+typeSQL("w.oid")+`)
FROM (SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
      LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
      WHERE t.typtype IN ('e', 'd', 'r', 'c') AND (t.typtype <> 'c' OR c.relkind = 'c')
        AND `+catalog.UserSchemas+` OFFSET 0) AS w`)
	out := map[uint32]*catalog.TypeDescription{}
	var oid uint32
	var text []byte
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&oid, &text}, func() error {
			if text == nil {
				return nil // dropped meanwhile
			}
			t := &catalog.TypeDescription{}
			out[oid] = t
			return json.Unmarshal(text, t)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read types: %w", err)
	}
	return out, nil
}

// ReadPublication gives the definition of a publication, nil if there is none.
func ReadPublication(ctx context.Context, conn *pgx.Conn, name string) (*Publication, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_setting('server_version_num')::int4`).Scan(&version); err != nil {
		return nil, fmt.Errorf("read publication %q: %w", name, err)
	}
	var text []byte
	err := conn.QueryRow(ctx, publicationSQL(version, "(SELECT w.oid FROM pg_catalog.pg_publication w WHERE w.pubname = $1::text)"), name).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	p := &Publication{}
	if err == nil {
		err = json.Unmarshal(text, p)
	}
	if err != nil {
		return nil, fmt.Errorf("read publication %q: %w", name, err)
	}
	return p, nil
}
