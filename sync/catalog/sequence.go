package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Sequence is a sequence or the generator of an identity column, with its state.
type Sequence struct {
	Sequence  Name
	Type      string // smallint, integer, bigint
	Start     int64
	Min, Max  int64
	Increment int64
	Cycle     bool
	Last      int64 // last_value
	Called    bool  // is_called: whether last_value was handed out
}

// Next is the value that nextval would give, before MINVALUE and MAXVALUE are
// looked at; ok is false when it does not fit into a bigint.
func (s Sequence) Next() (next int64, ok bool) {
	if !s.Called {
		return s.Last, true
	}
	return Add(s.Last, s.Increment)
}

// Add adds two bigints; ok is false when the sum is none.
func Add(a, b int64) (sum int64, ok bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0)
}

// ReadSequences reads every user sequence and its state. The state is read
// from the sequences themselves: pg_sequences hides last_value until nextval
// was called, and cannot tell is_called.
func ReadSequences(ctx context.Context, conn *pgx.Conn) ([]Sequence, error) {
	rows, err := conn.Query(ctx, `
SELECT n.nspname::text, c.relname::text, format_type(s.seqtypid, NULL), s.seqstart, s.seqmin, s.seqmax, s.seqincrement, s.seqcycle
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE `+userSchemas+`
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	sequences, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Sequence, err error) {
		err = row.Scan(&s.Sequence.Schema, &s.Sequence.Name, &s.Type, &s.Start, &s.Min, &s.Max, &s.Increment, &s.Cycle)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read sequences: %w", err)
	}
	return sequences, readStates(ctx, conn, sequences)
}

// readStates fills in Last and Called, a few hundred sequences per query.
func readStates(ctx context.Context, conn *pgx.Conn, sequences []Sequence) error {
	const perQuery = 500
	for from := 0; from < len(sequences); from += perQuery {
		part := sequences[from:min(from+perQuery, len(sequences))]
		selects := make([]string, len(part))
		for i, s := range part {
			selects[i] = fmt.Sprintf("SELECT %d AS i, last_value, is_called FROM %s", i,
				pgx.Identifier{s.Sequence.Schema, s.Sequence.Name}.Sanitize())
		}
		rows, err := conn.Query(ctx, strings.Join(selects, " UNION ALL "))
		if err != nil {
			return fmt.Errorf("read values of sequences: %w", err)
		}
		var i int
		var last int64
		var called bool
		_, err = pgx.ForEachRow(rows, []any{&i, &last, &called}, func() error {
			part[i].Last, part[i].Called = last, called
			return nil
		})
		if err != nil {
			return fmt.Errorf("read values of sequences: %w", err)
		}
	}
	return nil
}
