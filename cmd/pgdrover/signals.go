package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// oneSignal is how long signals behind the first are taken for the same one:
// timeout(1) and others send it to the process and then to its group.
const oneSignal = 300 * time.Millisecond

// twoSignals gives a context that ends with the first SIGINT or SIGTERM and one
// that ends with the second. release ends both, and what waits for signals.
func twoSignals(parent context.Context) (first, second context.Context, release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	first, second, end := onSignals(parent, signals, oneSignal)
	return first, second, func() {
		signal.Stop(signals)
		end()
	}
}

// onSignals ends the first context with the first signal, and the second with
// one that comes later than within behind it.
func onSignals(parent context.Context, signals <-chan os.Signal, within time.Duration) (first, second context.Context, end func()) {
	second, cut := context.WithCancel(parent)
	first, stop := context.WithCancel(second)
	go func() { // ends with end
		var same <-chan time.Time
		for stopping := false; ; {
			select {
			case <-signals:
				switch {
				case !stopping:
					stop()
					stopping = true
					if within > 0 {
						same = time.After(within)
					}
				case same == nil:
					cut()
					return
				}
			case <-same:
				same = nil
			case <-second.Done():
				return
			}
		}
	}()
	return first, second, func() {
		stop()
		cut()
	}
}
