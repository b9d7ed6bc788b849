package catalog_test

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

func TestScratch(t *testing.T) {
	d := pgtest.Shared(t, 0).CreateDatabase(t)
	for _, r := range d.Rows(t, `set statement_timeout='20s'; explain (analyze, timing off) WITH RECURSIVE needed (oid) AS (
    SELECT DISTINCT unnest('{16,17,23,600,3904}'::oid[])
  UNION
    SELECT u.oid FROM needed JOIN pg_type t ON t.oid = needed.oid
    LEFT JOIN pg_range r ON r.rngtypid = t.oid OR r.rngmultitypid = t.oid
    CROSS JOIN LATERAL (
        SELECT t.typelem UNION SELECT t.typbasetype UNION SELECT r.rngsubtype
        UNION SELECT CASE WHEN r.rngmultitypid = t.oid THEN r.rngtypid END
        UNION SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS u (oid) WHERE u.oid <> 0
) select * from needed`) {
		t.Log(r)
	}
}
