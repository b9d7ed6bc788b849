package resync

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// errRehearsed ends the transaction of a rehearsal.
var errRehearsed = errors.New("rehearsed")

// Rehearse makes an empty shadow table, swaps it, compares, and takes everything
// back, in one transaction: so it is known before the rows are copied whether the
// swap will be refused (ErrRefused). For the length of a swap of an empty table,
// some hundredths of a second, readers wait. It is called before Create.
func (s *Shadow) Rehearse(ctx context.Context, conn *pgx.Conn, patience Patience) error {
	patience = patience.withDefaults()
	err := patience.retry(ctx, func() error {
		w := &swapping{Shadow: s, result: &Swapped{}}
		err := transaction(ctx, conn, func(tx pgx.Tx) error {
			if err := s.create(ctx, tx, patience.begin(tx)); err != nil {
				return err
			}
			for _, st := range s.behind {
				if err := patience.begin(tx).exec(ctx, st.sql); err != nil {
					return fmt.Errorf("%s: %w", st.what, err)
				}
			}
			if err := w.run(ctx, tx, patience); err != nil {
				return err
			}
			return errRehearsed
		})
		return locked(ctx, conn, err, append(w.touched, s.table.oid))
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return fmt.Errorf("rehearse the swap of table %s: %w", s.table.name, refusal(ctx, err))
}
