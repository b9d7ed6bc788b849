package pgerror_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdrover/pgdrover/pgerror"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	server := &pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "duplicate key", Detail: "Key (id)=(1) exists.", Hint: "h", Where: "COPY t"}
	own := pgerror.New("42704", "there is no %q", "x").WithDetail("d%d", 1).WithHint("100%% h").WithWhere("shard %d", 0).At(7)
	for _, test := range []struct {
		name string
		err  error
		want *pgerror.Error
	}{
		{"nil", nil, nil},
		{"own", own, own},
		{"wrapped", fmt.Errorf("read: %w", fmt.Errorf("again: %w", own)),
			&pgerror.Error{Code: "42704", Message: `read: again: there is no "x"`, Detail: "d1", Hint: "100% h", Where: "shard 0", Position: 7}},
		{"outermost of two", fmt.Errorf("a: %w", pgerror.New("55000", "b: %w", own)),
			&pgerror.Error{Code: "55000", Message: `a: b: there is no "x"`}},
		{"joined", errors.Join(errors.New("first"), own),
			&pgerror.Error{Code: "42704", Message: "first\nthere is no \"x\"", Detail: "d1", Hint: "100% h", Where: "shard 0", Position: 7}},
		{"server", server, &pgerror.Error{Code: "23505", Message: "duplicate key", Detail: "Key (id)=(1) exists.", Hint: "h", Where: "COPY t"}},
		{"wrapped server", fmt.Errorf("add the key: %w", server),
			&pgerror.Error{Code: "23505", Message: "add the key: duplicate key", Detail: "Key (id)=(1) exists.", Hint: "h", Where: "COPY t"}},
		{"cancelled", fmt.Errorf("wait: %w", context.Canceled), &pgerror.Error{Code: "57014", Message: "wait: context canceled"}},
		{"deadline", context.DeadlineExceeded, &pgerror.Error{Code: "57014", Message: "context deadline exceeded"}},
		{"end of file", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), &pgerror.Error{Code: "08006", Message: "read: unexpected EOF"}},
		{"closed", net.ErrClosed, &pgerror.Error{Code: "08006", Message: net.ErrClosed.Error()}},
		{"network", &net.OpError{Op: "read", Err: errors.New("reset")}, &pgerror.Error{Code: "08006", Message: "read: reset"}},
		{"anything", errors.New("odd"), &pgerror.Error{Code: "XX000", Message: "odd"}},
	} {
		got := pgerror.From(test.err)
		if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(pgerror.Error{}, "Cause")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		want := ""
		if test.want != nil {
			want = test.want.Code
			if !errors.Is(got, test.err) && !errors.Is(test.err, got) {
				t.Errorf("%s: the error it was made from is lost", test.name)
			}
		}
		if code := pgerror.Code(test.err); code != want {
			t.Errorf("%s: the code is %q, want %q", test.name, code, want)
		}
	}
	if own.Message != `there is no "x"` || own.Cause != nil {
		t.Errorf("From changed what it was given: %+v", own)
	}
}

func TestNewKeepsTheCause(t *testing.T) {
	t.Parallel()
	err := pgerror.New(pgerror.SystemError, "open %s: %w", "f", os.ErrNotExist)
	if !errors.Is(err, os.ErrNotExist) || err.Error() != "open f: file does not exist" {
		t.Errorf("%v is not made from os.ErrNotExist", err)
	}
	if errors.Unwrap(pgerror.New(pgerror.SystemError, "no cause")) != nil {
		t.Error("an error without a cause unwraps to something")
	}
}

func TestFromConnectError(t *testing.T) {
	t.Parallel()
	// Nobody listens at a port that was just given back.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = pgconn.Connect(t.Context(), "postgres://u:hidden@"+address+"/d?sslmode=disable")
	got := pgerror.From(fmt.Errorf("connect: %w", err))
	if got == nil || got.Code != pgerror.UnableToConnect || !pgerror.IsConnectionLost(got) {
		t.Fatalf("a refused connection is %v", got)
	}
	if strings.Contains(got.Message, "hidden") {
		t.Errorf("the password is in %q", got.Message)
	}
}

func TestIsConnectionLost(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"08000": true, "08001": true, "08006": true, "08P01": true,
		"57P01": true, "57P02": true, "57P03": true, "57P05": true,
		"57014": false, "57000": false, "53300": false, "55P03": false, "XX000": false, "": false, "08": false,
	} {
		if got := pgerror.IsConnectionLost(fmt.Errorf("w: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("IsConnectionLost of %q is %t", code, got)
		}
	}
	if pgerror.IsConnectionLost(nil) || pgerror.IsConnectionLost(context.Canceled) || !pgerror.IsConnectionLost(io.EOF) {
		t.Error("nil, a cancelled context or an end of file is taken for something else")
	}
}
