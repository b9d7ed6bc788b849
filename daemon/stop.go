package daemon

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/pgerror"
)

// Why a stop was not orderly. Their tasks are found at the next start.
var (
	errGraceOver = pgerror.New(pgerror.AdminShutdown, "general.shutdown_timeout has passed").WithHint("%s", hintInterrupted)
	errCutShort  = pgerror.New(pgerror.AdminShutdown, "a second signal cut the stop short").WithHint("%s", hintInterrupted)
	errImmediate = pgerror.New(pgerror.AdminShutdown, "SHUTDOWN IMMEDIATE waits for nothing").WithHint("%s", hintInterrupted)
)

const hintInterrupted = "SHOW TASKS; tells after the next start which tasks were interrupted. The same commands go on from there."

// shutdown is SHUTDOWN. What is asked for once more than can matter is dropped.
func (d *Daemon) shutdown(mode admin.ShutdownMode) {
	select {
	case d.asked <- mode:
	default:
	}
}

// signalMode is what a signal asks for. Where another process can take over the port,
// SIGTERM lets applications go there by themselves.
func (d *Daemon) signalMode(s os.Signal) admin.ShutdownMode {
	if s == syscall.SIGTERM && d.options.Config.General.ReusePort {
		return admin.ShutdownClients
	}
	return admin.ShutdownServers
}

// end stops tasks and clients at the same time, and waits for both. It gives
// applications the time to leave first, if mode says so. Another signal, and a
// SHUTDOWN that is less patient, cut the waits short.
func (d *Daemon) end(mode admin.ShutdownMode) error {
	d.phase.Store(phaseStopping)
	d.options.Notify.Stopping()
	leaving, leave := context.WithCancel(context.Background())
	defer leave()
	all, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	if mode == admin.ShutdownImmediate {
		cut(errImmediate)
	}
	over := make(chan struct{})
	var hurrying sync.WaitGroup
	hurrying.Go(func() { d.hurry(leave, cut, over) })
	defer hurrying.Wait()
	defer close(over)

	var tasks sync.WaitGroup
	var tasksErr error
	tasks.Go(func() {
		ctx, cancel := context.WithTimeoutCause(all, d.graceTime(), errGraceOver)
		defer cancel()
		tasksErr = d.engine.Close(ctx)
	})
	if mode == admin.ShutdownClients {
		d.wait(leaving, all)
	}
	ctx, cancel := context.WithTimeoutCause(all, d.graceTime(), errGraceOver)
	defer cancel()
	err := d.server.Shutdown(ctx)
	tasks.Wait()
	if err = errors.Join(tasksErr, err); err == nil {
		d.options.Logger.Info("stopped")
	}
	return err
}

// wait waits until applications have left, until leaving or all ends.
func (d *Daemon) wait(leaving, all context.Context) {
	leaving, cancel := context.WithTimeout(leaving, d.graceTime())
	defer cancel()
	defer context.AfterFunc(all, cancel)()
	d.options.Notify.Status("waiting for applications to leave")
	d.server.Leave(leaving)
	if leaving.Err() != nil {
		d.options.Logger.Info("applications have not left by themselves", "sessions", len(d.server.Sessions()))
	}
}

// hurry makes end less patient when asked to. It ends with over.
func (d *Daemon) hurry(leave func(), cut func(error), over <-chan struct{}) {
	for {
		select {
		case s := <-d.options.Signals:
			if s != syscall.SIGHUP {
				cut(errCutShort)
			}
		case mode := <-d.asked:
			switch mode {
			case admin.ShutdownServers:
				leave()
			case admin.ShutdownImmediate:
				cut(errImmediate)
			}
		case <-over:
			return
		}
	}
}

func (d *Daemon) graceTime() time.Duration {
	return max(d.live.Config().General.ShutdownTimeout, time.Second)
}

// watch tells the service manager's watchdog that the process works, as often as it wants
// to hear that: a process that cannot list its sessions does not. What it gives ends
// that.
func (d *Daemon) watch(ctx context.Context) (stop func()) {
	every := d.options.Notify.Watchdog() / 2
	if every <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			d.server.Sessions()
			d.pools.Lists()
			d.options.Notify.Alive()
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}
