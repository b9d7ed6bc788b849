package ddl

import (
	"testing"

	"github.com/pgdrover/pgdrover/integration/pgtest"
)

// BenchmarkCommand tells what the event triggers add to a command.
func BenchmarkCommand(b *testing.B) {
	for _, triggers := range []bool{false, true} {
		name := map[bool]string{false: "without", true: "with"}[triggers]
		b.Run(name, func(b *testing.B) {
			d := pgtest.Shared(b, 0).CreateDatabase(b)
			d.Exec(b, `CREATE TABLE t (id int PRIMARY KEY, a text, b text, c numeric(10,2), d timestamptz DEFAULT now(), e int REFERENCES t, CHECK (id > 0)); CREATE INDEX ON t (a); CREATE INDEX ON t (b)`)
			conn := d.Connect(b)
			if triggers {
				if err := Install(b.Context(), conn); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				for _, sql := range []string{"ALTER TABLE t ALTER a SET DEFAULT 1", "ALTER TABLE t ALTER a DROP DEFAULT"} {
					if _, err := conn.Exec(b.Context(), sql); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
