package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// twoSignals gives a context that ends with the first SIGINT or SIGTERM and one
// that ends with the second. release ends both, and what waits for signals.
func twoSignals(parent context.Context) (first, second context.Context, release func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	first, second, end := onSignals(parent, signals)
	return first, second, func() {
		signal.Stop(signals)
		end()
	}
}

// onSignals ends the first context with the first signal, and the second with
// the second.
func onSignals(parent context.Context, signals <-chan os.Signal) (first, second context.Context, end func()) {
	second, cut := context.WithCancel(parent)
	first, stop := context.WithCancel(second)
	go func() { // ends with end
		for _, cancel := range []context.CancelFunc{stop, cut} {
			select {
			case <-signals:
				cancel()
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
