// Package auth is authentication in both directions. It logs clients in:
// SCRAM-SHA-256 with and without channel binding, md5, clear text and trust, from
// plain passwords or stored hashes, and limits failed logins (Authenticator,
// Limiter). And it answers servers that ask for the same (Responder,
// Credentials). It starts no goroutine.
//
// A client cannot tell an unknown user from a wrong password: both go through
// the same exchange and end in the same error.
package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Method is a value of general.auth_type.
type Method string

// The methods.
const (
	Scram Method = "scram" // SCRAM-SHA-256
	MD5   Method = "md5"   // md5, or SCRAM for accounts of which only a verifier is known
	Plain Method = "plain" // the password itself; only where nobody can listen
	Trust Method = "trust" // nothing is asked
)

// Why a login failed, for the log; the client is told the same for all.
var (
	ErrWrongPassword = errors.New("wrong password")
	ErrUnknownUser   = errors.New("no such user or database")
	ErrNoPassword    = errors.New("the user has no password that this method can check")
)

// Authenticator makes accounts and logs clients in. It is safe for concurrent
// use; a process has one, as it holds the key of the mock exchanges.
type Authenticator struct {
	mockKey [32]byte

	mu         sync.Mutex
	iterations []int // of verifiers seen, DefaultIterations among them; ascending
	verifiers  bool  // some were seen
}

// New makes an Authenticator with a new random key.
func New() *Authenticator {
	a := &Authenticator{iterations: []int{DefaultIterations}}
	rand.Read(a.mockKey[:]) // never fails
	return a
}

const (
	// maxIterationCounts is how many different iteration counts are imitated.
	maxIterationCounts = 16
	// maxMockIterations is the greatest count that is imitated: for passwords in
	// clear text it is work that strangers can ask for.
	maxMockIterations = 100_000
)

// Expect tells that there are users with verifiers like this one, so that those
// who do not exist look like it too. What is not a verifier tells nothing.
func (a *Authenticator) Expect(hash string) {
	if v, err := ParseVerifier(hash); err == nil {
		a.expect(v.Iterations)
	}
}

func (a *Authenticator) expect(iterations int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verifiers = true
	at, known := slices.BinarySearch(a.iterations, iterations)
	if !known && iterations <= maxMockIterations && len(a.iterations) < maxIterationCounts {
		a.iterations = slices.Insert(a.iterations, at, iterations)
	}
}

// mock gives the account of a user without a stored hash, whether there is one
// or not, the salt, iterations and method to be asked by: for a name always the
// same, as long as no verifier of another kind is seen, and unpredictable from
// outside.
func (a *Authenticator) mock(user string) *Account {
	mac := hmac.New(sha256.New, a.mockKey[:])
	mac.Write([]byte(user))
	sum := mac.Sum(nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	return &Account{
		user: user, salt: sum[:saltLength],
		iterations: a.iterations[int(sum[saltLength])%len(a.iterations)],
		looksLike:  a.verifiers && sum[saltLength+1]%2 == 1,
	}
}

// Request is one login.
type Request struct {
	Method  Method
	User    string
	Account *Account // nil if there is no such user
	// Confidential tells that nobody else can read the connection: TLS or the
	// same machine.
	Confidential bool
	// EndPoint is EndPoint of the certificate that the client was shown; nil
	// without TLS. With it channel binding is offered.
	EndPoint []byte
}

// Login runs the exchange over b. A nil error means that the client proved who
// it is; AuthenticationOk has not been sent, but may lie behind unflushed
// messages. The credentials are what it has shown, for servers: keys, a password
// or an md5 hash, or none with Trust.
//
// A *pgerror.Error is to be sent to the client; errors.Is with ErrWrongPassword,
// ErrUnknownUser or ErrNoPassword tells why a login failed. Other errors are
// those of the connection. The caller bounds the length of messages
// (SetMaxBodyLen) and the time.
func (a *Authenticator) Login(b *pgproto3.Backend, r Request) (Credentials, error) {
	account := r.Account
	if account == nil {
		// An account without secrets goes all the way and matches nothing.
		account = a.mock(r.User)
	}
	shown, err := a.exchange(b, r, account)
	if errors.Is(err, ErrWrongPassword) {
		err = Refusal(r.User, r.whyFailed())
	}
	if err != nil {
		return Credentials{}, err
	}
	return shown, nil
}

// Refusal is what a client is told whose login failed, whatever the reason,
// which is for the log: ErrWrongPassword, ErrUnknownUser or ErrNoPassword.
func Refusal(user string, reason error) *pgerror.Error {
	return &pgerror.Error{
		Code:    pgerror.InvalidPassword,
		Message: fmt.Sprintf("password authentication failed for user \"%s\"", user),
		Cause:   reason,
	}
}

// whyFailed is what is behind an ErrWrongPassword.
func (r Request) whyFailed() error {
	switch {
	case r.Account == nil:
		return ErrUnknownUser
	case !r.Account.canUse(r.Method):
		return ErrNoPassword
	}
	return ErrWrongPassword
}

func (a *Authenticator) exchange(b *pgproto3.Backend, r Request, account *Account) (Credentials, error) {
	switch r.Method {
	case Trust:
		if r.Account == nil {
			return Credentials{}, ErrWrongPassword
		}
		return Credentials{}, nil
	case Scram:
		return a.scram(b, r, account)
	case MD5:
		if !account.hasMD5() && (account.hasScram() || account.looksLike) {
			return a.scram(b, r, account)
		}
		return a.md5(b, account)
	case Plain:
		if !r.Confidential {
			return Credentials{}, pgerror.New(pgerror.InvalidAuthorization, "clear text passwords are refused on this connection").
				WithDetail("general.auth_type is \"plain\" and the connection is not encrypted.").
				WithHint("Connect with sslmode=require, or set general.auth_type = \"scram\".")
		}
		return a.plain(b, account)
	}
	return Credentials{}, pgerror.New(pgerror.InternalError, "unknown authentication method %q", r.Method)
}

func (a *Authenticator) scram(b *pgproto3.Backend, r Request, account *Account) (Credentials, error) {
	mechanisms := []string{ScramSHA256}
	if r.EndPoint != nil {
		mechanisms = []string{ScramSHA256Plus, ScramSHA256}
	}
	if err := ask(b, pgproto3.AuthTypeSASL, &pgproto3.AuthenticationSASL{AuthMechanisms: mechanisms}); err != nil {
		return Credentials{}, err
	}
	initial, err := receive[*pgproto3.SASLInitialResponse](b)
	if err != nil {
		return Credentials{}, err
	}
	if !slices.Contains(mechanisms, initial.AuthMechanism) {
		return Credentials{}, pgerror.New(pgerror.ProtocolViolation, "client selected an invalid SASL authentication mechanism")
	}
	binding := bindingOffer{endPoint: r.EndPoint, chosen: initial.AuthMechanism == ScramSHA256Plus}
	x := newScramExchange(account.salt, account.iterations, a.candidates(account), binding)
	serverFirst, err := x.First(initial.Data)
	if err != nil {
		return Credentials{}, err
	}
	if err := ask(b, pgproto3.AuthTypeSASLContinue, &pgproto3.AuthenticationSASLContinue{Data: serverFirst}); err != nil {
		return Credentials{}, err
	}
	response, err := receive[*pgproto3.SASLResponse](b)
	if err != nil {
		return Credentials{}, err
	}
	serverFinal, keys, err := x.Final(response.Data)
	if err != nil {
		return Credentials{}, err
	}
	b.Send(&pgproto3.AuthenticationSASLFinal{Data: serverFinal})
	return Credentials{}.WithClientKeys(keys), nil
}

// candidates are the keys of the account or, if it has none, keys that no
// password has, so that the same work is done.
func (a *Authenticator) candidates(account *Account) func() []Keys {
	if account.hasScram() {
		return account.keys
	}
	return func() []Keys {
		var keys Keys
		rand.Read(keys.Stored[:])
		return []Keys{keys}
	}
}

func (a *Authenticator) md5(b *pgproto3.Backend, account *Account) (Credentials, error) {
	var salt [4]byte
	rand.Read(salt[:])
	if err := ask(b, pgproto3.AuthTypeMD5Password, &pgproto3.AuthenticationMD5Password{Salt: salt}); err != nil {
		return Credentials{}, err
	}
	message, err := receive[*pgproto3.PasswordMessage](b)
	if err != nil {
		return Credentials{}, err
	}
	shown, err := Credentials{}, ErrWrongPassword
	for _, hash := range account.md5Hashes() {
		if hash.answers(salt, message.Password) {
			shown, err = Credentials{md5: hash}, nil // the others are tried too
		}
	}
	return shown, err
}

func (a *Authenticator) plain(b *pgproto3.Backend, account *Account) (Credentials, error) {
	password, err := AskPassword(b)
	if err != nil {
		return Credentials{}, err
	}
	if account.verifier == nil {
		// Users with a verifier cost a derivation: so do all others, or the
		// time would tell who exists.
		Verifier{Salt: account.salt, Iterations: account.iterations}.Matches(password)
	}
	if account.matches(password) {
		return NewCredentials(password), nil
	}
	return Credentials{}, ErrWrongPassword
}

// AskPassword asks a client for its password in clear text. Errors are as
// those of Login.
func AskPassword(b *pgproto3.Backend) (string, error) {
	if err := ask(b, pgproto3.AuthTypeCleartextPassword, &pgproto3.AuthenticationCleartextPassword{}); err != nil {
		return "", err
	}
	message, err := receive[*pgproto3.PasswordMessage](b)
	if err != nil {
		return "", err
	}
	return message.Password, nil
}

// ask sends an authentication request and tells b how to read the answer.
func ask(b *pgproto3.Backend, authType uint32, request pgproto3.BackendMessage) error {
	b.Send(request)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("ask for the password: %w", err)
	}
	return b.SetAuthType(authType)
}

// receive reads the client's answer, which must be an M.
func receive[M pgproto3.FrontendMessage](b *pgproto3.Backend) (M, error) {
	var none M
	message, err := b.Receive()
	if err != nil {
		return none, receiveError(err)
	}
	switch m := message.(type) {
	case M:
		return m, nil
	case *pgproto3.Terminate:
		return none, io.EOF
	}
	return none, pgerror.New(pgerror.ProtocolViolation, "expected a password response").
		WithDetail("The client sent a message of another type.")
}

// receiveError keeps errors of the connection and makes the others, which are
// about what was received, errors for the client.
func receiveError(err error) error {
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	var network net.Error
	switch {
	case errors.As(err, &tooLong):
		return pgerror.New(pgerror.ProtocolViolation, "password message is too long").
			WithDetail("It has %d bytes; at most %d are accepted.", tooLong.ActualBodyLen, tooLong.MaxExpectedBodyLen)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &network):
		return fmt.Errorf("read the password: %w", err)
	}
	return pgerror.New(pgerror.ProtocolViolation, "malformed password message: %w", err)
}
