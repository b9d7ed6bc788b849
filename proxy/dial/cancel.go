package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
)

// Cancel asks the server to cancel what the connection with this process id and
// key is running, and waits until the server has taken note: it then closes the
// connection. The request uses TLS as Dial would, and ends in the same time. That
// it succeeds does not mean that anything was cancelled.
func Cancel(ctx context.Context, o Options, processID uint32, key []byte) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	ctx, cancel := o.bound(ctx)
	defer cancel()
	err = o.cancel(ctx, processID, key, o.TLS.mode != config.TLSDisabled)
	if err != nil && o.TLS.mode == config.TLSPrefer && ctx.Err() == nil && plainMayDo(err) {
		err = o.cancel(ctx, processID, key, false)
	}
	if err != nil {
		return o.explain(ctx, fmt.Errorf("cancel: %w", err))
	}
	return nil
}

func (o Options) cancel(ctx context.Context, processID uint32, key []byte, encrypt bool) error {
	request, err := (&pgproto3.CancelRequest{ProcessID: processID, SecretKey: key}).Encode(nil)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	c, err := o.open(ctx, encrypt)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.within(ctx, func() error {
		if _, err := c.Write(request); err != nil {
			return err
		}
		// Nothing is answered. However the server ends the connection: the request
		// was taken.
		if _, err := io.CopyN(io.Discard, c, 1); errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil
	})
}
