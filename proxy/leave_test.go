package proxy_test

import (
	"context"
	"testing"
	"time"
)

// TestLeave: who is there goes on, is waited for, and nobody else gets in.
func TestLeave(t *testing.T) {
	t.Parallel()
	c := testConfig()
	s := start(t, c)
	login := s.raw(t) // not logged in yet: it may be an application
	admin := s.mustConnect(t, "sslmode=disable")
	left := make(chan struct{})
	go func() { defer close(left); s.Leave(t.Context()) }()
	eventually(t, "the end of accepting", func() bool { _, err := s.connect(t, "sslmode=disable"); return err != nil })
	session(t, admin)
	select {
	case <-left:
		t.Fatal("a client that is there is not waited for")
	default:
	}
	login.Close()
	wait(t, "the end of waiting: only the admin is left", left)
	session(t, admin)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	wantError(t, farewell(t, admin), "57P01", "")
}

// TestLeaveEnds with its context.
func TestLeaveEnds(t *testing.T) {
	t.Parallel()
	s := start(t, testConfig())
	s.mustConnect(t, "sslmode=disable") // it accepts
	s.raw(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	s.Leave(ctx)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
