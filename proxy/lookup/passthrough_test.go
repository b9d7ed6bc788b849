package lookup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/dial"
	"github.com/pgdrover/pgdrover/proxy/lookup"
)

var errLeft = errors.New("the client left")

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	return ctx
}

func testCheck(t *testing.T, f *fixture) {
	for _, test := range []struct {
		user, password string
		want           error
	}{
		{"app", secret, nil},
		{"app", secret, nil},
		{weird, secret, nil},
		{"hashed", secret, nil},
		{"app", secret + "x", lookup.ErrChanged},
		{"nobody", secret, auth.ErrWrongPassword},
		{"passwordless", secret, auth.ErrWrongPassword},
		{"expired", secret, auth.ErrWrongPassword},
		{"outside", secret, auth.ErrWrongPassword},
		{"trusted", secret, lookup.ErrTrusted},
		{"trusted", "anything", lookup.ErrTrusted},
		{"finder", "wrong", auth.ErrWrongPassword},
		{"app", "", auth.ErrWrongPassword},
	} {
		credentials, err := f.check(t, test.user, test.password)
		if !errors.Is(err, test.want) || test.want == nil && err != nil {
			t.Errorf("%s with %q: %v, want %v", test.user, test.password, err, test.want)
			continue
		}
		if test.want == nil && !credentials.Equal(auth.NewCredentials(test.password)) || test.want != nil && !credentials.IsZero() {
			t.Errorf("%s with %q: other credentials", test.user, test.password)
		}
	}
	if n := f.logins("app"); n != 1 {
		t.Errorf("the server was asked %d times about app", n)
	}
	f.config.Databases[0].User = "postgres" // whoever the client is: the server trusts that user
	f.Forget()
	if _, err := f.check(t, "app", secret); err == nil {
		t.Error("another user's login counts")
	}
}

// testCredentialsLogIn: what Check gives is what servers want.
func testCredentialsLogIn(t *testing.T, f *fixture) {
	credentials, err := f.check(t, weird, secret)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dial.Dial(t.Context(), dial.Options{Server: f.config.Server(f.config.Databases[0], config.User{Name: f.role(weird)}), Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	conn.Conn.Close()
	if !conn.PasswordChecked {
		t.Error("the server has not asked")
	}
}

func testChangedPasswords(t *testing.T, f *fixture) {
	check := func(password string, want error) {
		t.Helper()
		if _, err := f.check(t, "app", password); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%q: %v, want %v", password, err, want)
		}
	}
	check("guess", auth.ErrWrongPassword) // nothing is remembered yet
	check(secret, nil)
	f.database.Exec(t, "ALTER ROLE "+pgtest.Quote(f.role("app"))+" PASSWORD 'new'")
	check(secret, nil) // until its time is over
	check("new", lookup.ErrChanged)
	f.clock.pass(time.Minute)
	check("new", lookup.ErrChanged)
	check(secret, auth.ErrWrongPassword) // now the server is asked, and it is forgotten
	check("new", nil)

	f.database.Exec(t, "ALTER ROLE "+pgtest.Quote(f.role("app"))+" PASSWORD 'newer'")
	check("newer", lookup.ErrChanged)
	f.Forget() // RELOAD
	check("newer", nil)

	f.config.General.PassthroughAuth = config.PassthroughAllowChange
	f.database.Exec(t, "ALTER ROLE "+pgtest.Quote(f.role("app"))+" PASSWORD 'newest'")
	check("guess", auth.ErrWrongPassword)
	check("newer", nil)
	check("newest", nil)
	check("newer", auth.ErrWrongPassword)
	check("newest", nil)
}

func testManyClients(t *testing.T, f *fixture) {
	var checking sync.WaitGroup
	for range 50 {
		checking.Go(func() {
			if _, err := f.check(t, "app", secret); err != nil {
				t.Error(err)
			}
		})
	}
	checking.Wait()
	if n := f.logins("app"); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}
