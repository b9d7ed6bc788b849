package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ReadStamps tells cheaply which tables may have to be described again: while a
// table has the same stamp, its description is the same but for sizes, the
// names of roles and comments on indexes and constraints. It costs about a tenth
// of describing them. A stamp is made of the transactions that wrote the table's
// rows in the catalogs (xmin), which no VACUUM changes; stamps of two databases
// cannot be compared. Tables that do not exist are left out of the result.
func ReadStamps(ctx context.Context, conn *pgx.Conn, names []Name) (map[Name]string, error) {
	version, err := versionNum(ctx, conn)
	if err != nil {
		return nil, err
	}
	schemas, relations := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], relations[i] = n.Schema, n.Name
	}
	rows, err := conn.Query(ctx, stampSQL(version), schemas, relations)
	if err != nil {
		return nil, fmt.Errorf("read stamps of tables: %w", err)
	}
	out := make(map[Name]string, len(names))
	var name Name
	var stamp string
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &stamp}, func() error {
		out[name] = stamp
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read stamps of tables: %w", err)
	}
	return out, nil
}

// stampParts are the catalogs that rows of a table are in: the column that has
// the table's OID, and where they are.
var stampParts = []struct{ table, from string }{
	{"x.attrelid", "pg_attribute x"},
	{"x.adrelid", "pg_attrdef x"},
	{"x.conrelid", "pg_constraint x"},
	{"x.confrelid", "pg_constraint x"},
	{"x.indrelid", "pg_index x"},
	{"i.indrelid", "pg_index i JOIN pg_class x ON x.oid = i.indexrelid"},
	{"x.tgrelid", "pg_trigger x"},
	{"x.ev_class", "pg_rewrite x"},
	{"x.polrelid", "pg_policy x"},
	{"x.stxrelid", "pg_statistic_ext x"},
	{"x.partrelid", "pg_partitioned_table x"},
	{"x.inhrelid", "pg_inherits x"},
	{"x.inhparent", "pg_inherits x"},
	{"h.inhparent", "pg_inherits h JOIN pg_class x ON x.oid = h.inhrelid"},
	{"h.inhrelid", "pg_inherits h JOIN pg_class x ON x.oid = h.inhparent"},
	{"d.refobjid", "pg_depend d JOIN pg_sequence x ON x.seqrelid = d.objid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')"},
	{"d.refobjid", "pg_depend d JOIN pg_class x ON x.oid = d.objid AND x.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')"},
	{"x.objoid", "pg_description x WHERE x.classoid = 'pg_class'::regclass"},
}

// sharedParts are what a change of may concern any table.
var sharedParts = []string{
	"pg_type x LEFT JOIN pg_class c ON c.oid = x.typrelid WHERE x.oid >= 16384 AND x.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'",
	"pg_attribute x JOIN pg_class c ON c.oid = x.attrelid WHERE c.relkind = 'c'",
	"pg_constraint x WHERE x.contypid <> 0",
	"pg_enum x", "pg_range x", "pg_publication x", "pg_publication_rel x", "pg_extension x", "pg_namespace x",
	"pg_collation x WHERE x.oid >= 16384",
	"pg_database x WHERE x.datname = current_database()",
}

// stampOf is SQL of an aggregate over rows of x that is another one whenever a
// row was added, changed or removed: a change brings a transaction that was not
// among them, a removal takes a row away.
const stampOf = "concat(count(*), ':', sum(hashint8extended(x.xmin::text::int8, 0)))"

func stampSQL(versionNum int) string {
	shared := sharedParts
	if versionNum >= 150000 {
		shared = append(shared[:len(shared):len(shared)], "pg_publication_namespace x")
	}
	var columns, joins, all []string
	for i, part := range stampParts {
		columns = append(columns, fmt.Sprintf("p%d.stamp", i))
		joins = append(joins, fmt.Sprintf("LEFT JOIN (SELECT %s AS oid, %s AS stamp FROM %s GROUP BY 1) p%d ON p%d.oid = w.oid", part.table, stampOf, part.from, i, i))
	}
	for _, from := range shared {
		all = append(all, fmt.Sprintf("(SELECT %s FROM %s)", stampOf, from))
	}
	return `
WITH wanted AS MATERIALIZED (
    SELECT c.oid, n.nspname, c.relname, concat(c.oid, '.', c.xmin) AS own
    FROM unnest($1::text[], $2::text[]) AS t (schema_name, table_name)
    JOIN pg_namespace n ON n.nspname = t.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name
), shared AS MATERIALIZED (SELECT concat_ws('/', ` + strings.Join(all, ",\n    ") + `) AS stamp)
SELECT w.nspname::text, w.relname::text, md5(concat(w.own, '|', ` + strings.Join(columns, ", '|', ") + `, '|', s.stamp))
FROM wanted w CROSS JOIN shared s
` + strings.Join(joins, "\n")
}
