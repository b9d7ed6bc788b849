package apply

import (
	"context"
	"errors"

	"github.com/pgdrover/pgdrover/sync/stream"
)

// dispatch takes what source gives and puts it into the workers' queues until
// stop ends, run ends (a worker has failed), or the source fails: that is the
// only error it returns besides those of Tables.
func (a *Applier) dispatch(stop, run context.Context, source Source) error {
	ctx, cancel := context.WithCancel(stop)
	defer cancel()
	defer context.AfterFunc(run, cancel)()
	a.resolver.begin(ctx)
	var at stream.LSN // everything before has been dispatched
	for ctx.Err() == nil {
		tx, err := a.next(ctx, source, &at)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for ok := tx != nil; ok; tx, ok = source.TryNext() {
			end := tx.EndLSN
			if err := a.put(ctx, tx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			at = max(at, end)
			if a.asking.Load() > 0 || ctx.Err() != nil {
				break
			}
		}
	}
	return nil
}

// next waits for a transaction, and meets barriers meanwhile.
func (a *Applier) next(ctx context.Context, source Source, at *stream.LSN) (*stream.Transaction, error) {
	for {
		// A barrier interrupts the wait: Next loses nothing by that.
		waiting, interrupt := context.WithCancel(ctx)
		met := make(chan *barrier, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			select {
			case b := <-a.barriers:
				met <- b
				interrupt()
			case <-waiting.Done():
			}
		}()
		tx, err := source.Next(waiting)
		interrupt()
		<-done
		select {
		case b := <-met:
			if tx != nil { // it came at the same time
				if err := a.put(ctx, tx); err != nil {
					b.fail(err)
					return nil, err
				}
				*at = max(*at, tx.EndLSN)
				tx, err = nil, nil
			}
			if berr := a.meet(b, *at); berr != nil {
				return nil, berr
			}
			if err != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
				continue
			}
			return tx, err
		default:
			return tx, err
		}
	}
}

// put brings one transaction to the workers, with what is to be done between its
// changes.
func (a *Applier) put(ctx context.Context, tx *stream.Transaction) error {
	parts, err := a.divide(ctx, tx)
	if err != nil {
		tx.Release()
		return err
	}
	if parts == nil {
		return a.putWhole(ctx, tx)
	}
	return a.putParts(ctx, tx, parts)
}

// putWhole routes one transaction and waits while a queue is full.
func (a *Applier) putWhole(ctx context.Context, tx *stream.Transaction) error {
	it := &item{tx: tx}
	it.holders.Store(int32(len(a.workers)))
	it.targets = &resolution{resolver: a.resolver, shards: len(a.workers), finalLSN: tx.FinalLSN}
	var err error
	switch {
	case tx.Mark():
	case tx.Spool == nil:
		err = a.routeAll(ctx, it)
	case tx.Lacking && len(a.workers) > 1:
		err = a.completeSpooled(ctx, it)
	}
	if err != nil {
		tx.Release()
		return err
	}
	full := false
	for _, w := range a.workers {
		full = !w.queue.push(it, it.rows(w.shard), tx.Bytes) || full
	}
	if !full {
		return nil
	}
	for _, w := range a.workers {
		for !w.queue.hasRoom() {
			select {
			case <-w.queue.space:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// routeAll resolves every relation of a transaction in memory and, if there are
// several shards, finds the rows of each.
func (a *Applier) routeAll(ctx context.Context, it *item) error {
	for {
		single := len(a.workers) == 1
		var parts [][]*stream.Change
		if !single {
			parts = make([][]*stream.Change, len(a.workers))
		}
		stopped := a.stops.snapshot()
		number := -1
		err := it.tx.Each(func(c *stream.Change) error {
			number++
			return it.targets.route(number, c, stopped, func(to int, c *stream.Change) error {
				switch {
				case single:
				case to == everyShard:
					for i := range parts {
						parts[i] = append(parts[i], c)
					}
				default:
					parts[to] = append(parts[to], c)
				}
				return nil
			})
		})
		u, ok := asUnroutable(err)
		if !ok {
			it.parts = parts
			return err
		}
		if u.incomplete {
			if err = a.carry(ctx, it); err == nil {
				continue
			}
			if u, ok = asUnroutable(err); !ok {
				return err
			}
		}
		// The table goes without this transaction, and the rest is routed again.
		if err := a.stopUnroutable(ctx, u, it); err != nil {
			return err
		}
	}
}

// completeSpooled completes the rows that move in a transaction on disk, whose
// changes find their shards only when they are read there.
func (a *Applier) completeSpooled(ctx context.Context, it *item) error {
	for {
		err := a.carry(ctx, it)
		u, ok := asUnroutable(err)
		if !ok {
			return err
		}
		if err := a.stopUnroutable(ctx, u, it); err != nil {
			return err
		}
	}
}

func (a *Applier) stopUnroutable(ctx context.Context, u *unroutable, it *item) error {
	f := &failure{err: u.err, op: op{entry: entry{change: u.change, item: it}}}
	return a.stops.stop(ctx, u.target, a.explain(f, u.target), it.tx)
}
