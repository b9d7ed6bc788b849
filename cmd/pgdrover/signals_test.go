package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		first, second, end := onSignals(t.Context(), signals, oneSignal)
		defer end()
		signals <- syscall.SIGTERM
		signals <- syscall.SIGTERM // to the process, and to its group
		synctest.Wait()
		if first.Err() == nil || second.Err() != nil {
			t.Fatalf("after one signal: %v, %v", first.Err(), second.Err())
		}
		<-time.After(2 * oneSignal) // of the bubble's clock
		if second.Err() != nil {
			t.Fatal("one signal was taken for two")
		}
		signals <- syscall.SIGINT
		<-second.Done()
	})
}
