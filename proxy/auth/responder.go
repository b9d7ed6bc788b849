package auth

import (
	"bytes"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Responder is the side of a login that answers: it takes a server's
// authentication requests, one after the other, and gives the messages to send.
// It does no input or output. Make one for each connection.
type Responder struct {
	options ResponderOptions
	state   responderState
	scram   *scramClient // in a SASL exchange
	asked   bool         // a password, or a proof of it
}

// ResponderOptions are one login at a server.
type ResponderOptions struct {
	User        string
	Credentials Credentials // their first attempt counts
	// EndPoint is EndPoint of the server's certificate, nil without TLS or where
	// the certificate has none.
	EndPoint []byte
	// ClearText allows the password to be sent as it is.
	ClearText bool
}

// responderState is where a login at a server stands.
type responderState int

const (
	awaitRequest  responderState = iota // any first request
	awaitContinue                       // AuthenticationSASLContinue
	awaitFinal                          // AuthenticationSASLFinal
	awaitOk                             // AuthenticationOk
	responded                           // logged in
	failed                              // and over
)

// requestKind is what a server may send in an authentication message.
type requestKind int

const (
	requestOk requestKind = iota
	requestClearText
	requestMD5
	requestSASL
	requestSASLContinue
	requestSASLFinal
)

// responses is the table of what a server may ask, and where that leads if it
// can be answered. So a server that was told one thing cannot ask another, and
// cannot skip the proof that it knows the password.
var responses = map[responderState]map[requestKind]responderState{
	awaitRequest:  {requestOk: responded, requestClearText: awaitOk, requestMD5: awaitOk, requestSASL: awaitContinue},
	awaitContinue: {requestSASLContinue: awaitFinal},
	awaitFinal:    {requestSASLFinal: awaitOk},
	awaitOk:       {requestOk: responded},
}

// NewResponder makes a Responder.
func NewResponder(o ResponderOptions) *Responder { return &Responder{options: o} }

// Done tells whether the server has said AuthenticationOk.
func (r *Responder) Done() bool { return r.state == responded }

// Asked tells whether the server has asked for a password or a proof of one;
// otherwise it trusts the address or the certificate.
func (r *Responder) Asked() bool { return r.asked }

// Respond gives the answer to a request; nil if none is due. Errors are
// *pgerror.Error, after which the connection is of no use.
func (r *Responder) Respond(request pgproto3.BackendMessage) (pgproto3.FrontendMessage, error) {
	next, err := r.next(request)
	if err != nil {
		r.state = failed
		return nil, err
	}
	answer, err := r.answer(request)
	if err != nil {
		r.state = failed
		return nil, err
	}
	r.state = next
	return answer, nil
}

// next is the state that a request leads to, if it is allowed.
func (r *Responder) next(request pgproto3.BackendMessage) (responderState, error) {
	kind, ok := kindOfRequest(request)
	if !ok {
		return failed, pgerror.New(pgerror.FeatureNotSupported, "the server asks for an authentication method that is not supported").
			WithDetail("It asks for %s; scram-sha-256, md5, password, cert and trust are supported.", requestName(request)).
			WithHint("Let the server's pg_hba.conf ask this host for scram-sha-256.")
	}
	next, allowed := responses[r.state][kind]
	if !allowed {
		return failed, pgerror.New(pgerror.ProtocolViolation, "the server sent an authentication request out of order").
			WithDetail("It sent %s.", requestName(request))
	}
	r.asked = r.asked || kind != requestOk
	return next, nil
}

func (r *Responder) answer(request pgproto3.BackendMessage) (pgproto3.FrontendMessage, error) {
	switch m := request.(type) {
	case *pgproto3.AuthenticationCleartextPassword:
		return r.clearText()
	case *pgproto3.AuthenticationMD5Password:
		return r.md5(m.Salt)
	case *pgproto3.AuthenticationSASL:
		return r.startSASL(m.AuthMechanisms)
	case *pgproto3.AuthenticationSASLContinue:
		data, err := r.scram.Final(m.Data)
		return &pgproto3.SASLResponse{Data: data}, err
	case *pgproto3.AuthenticationSASLFinal:
		return nil, r.scram.Verify(m.Data)
	}
	return nil, nil // AuthenticationOk
}

func (r *Responder) clearText() (pgproto3.FrontendMessage, error) {
	if !r.options.ClearText {
		return nil, pgerror.New(pgerror.InvalidAuthorization, "the server asks for the password in clear text on a connection that is not encrypted").
			WithDetail("It was not sent: whoever listens would have it.").
			WithHint(`Set general.tls_verify = "verify_full", or let the server's pg_hba.conf ask for scram-sha-256. ` +
				`If nobody can listen on this network, general.tls_verify = "disabled" allows it.`)
	}
	passwords := r.options.Credentials.passwords
	if len(passwords) == 0 {
		return nil, r.noPassword("password")
	}
	return &pgproto3.PasswordMessage{Password: passwords[0]}, nil
}

func (r *Responder) md5(salt [4]byte) (pgproto3.FrontendMessage, error) {
	hash := r.options.Credentials.md5
	if passwords := r.options.Credentials.passwords; len(passwords) > 0 {
		hash = hashMD5(r.options.User, passwords[0])
	}
	if hash == "" {
		return nil, r.noPassword("md5")
	}
	return &pgproto3.PasswordMessage{Password: hash.answer(salt)}, nil
}

func (r *Responder) startSASL(offered []string) (pgproto3.FrontendMessage, error) {
	credentials := r.options.Credentials
	if len(credentials.passwords) == 0 && credentials.keys == nil {
		return nil, r.noPassword("scram-sha-256")
	}
	// n: we have no channel binding; y: we have, the server seems not to; p: this
	// one (RFC 5802, section 6).
	mechanism, header, binding := ScramSHA256, "n,,", []byte(nil)
	switch {
	case r.options.EndPoint == nil:
	case slices.Contains(offered, ScramSHA256Plus):
		mechanism, header, binding = ScramSHA256Plus, bindingHeader, r.options.EndPoint
	default:
		header = "y,,"
	}
	if !slices.Contains(offered, mechanism) {
		return nil, pgerror.New(pgerror.FeatureNotSupported, "the server offers no SASL mechanism that is supported").
			WithDetail("SCRAM-SHA-256 is supported, and SCRAM-SHA-256-PLUS with TLS.")
	}
	r.scram = newScramClient(header, binding, credentials.scramKeys)
	return &pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: r.scram.First()}, nil
}

// noPassword is why a server cannot be answered.
func (r *Responder) noPassword(method string) error {
	e := pgerror.New(pgerror.InvalidPassword, "the server asks for a password of user \"%s\" and none is known", r.options.User)
	hint := "Set password or server_password of the user in users.toml, or password in [[databases]]."
	switch {
	case r.options.Credentials.keys != nil:
		e.Detail = "It asks for " + method + "; the client has logged in with SCRAM, which proves a password without telling it."
		hint = "Let the server's pg_hba.conf ask for scram-sha-256, or set server_password of the user in users.toml."
	case r.options.Credentials.md5 != "":
		e.Detail = "It asks for " + method + "; only the md5 hash of the password is known."
	default:
		e.Detail = "It asks for " + method + "."
	}
	return e.WithHint("%s", hint)
}

// scramKeys are the keys for a server's salt and iterations.
func (c Credentials) scramKeys(salt []byte, iterations int) (ClientKeys, error) {
	if len(c.passwords) > 0 {
		return c.derived.get(c.passwords[0], salt, iterations)
	}
	if c.keys.Iterations != iterations || !bytes.Equal(c.keys.Salt, salt) {
		return ClientKeys{}, pgerror.New(pgerror.InvalidPassword, "the keys that the client has shown do not fit the server's password verifier").
			WithDetail("Salt or iterations of the verifier that the client logged in by are not those of the server: the password was set anew, or the verifier in users.toml is another one.").
			WithHint("Copy the verifier from pg_authid.rolpassword of the server into password_hash, or set server_password of the user in users.toml; then RELOAD.")
	}
	return *c.keys, nil
}

func kindOfRequest(m pgproto3.BackendMessage) (requestKind, bool) {
	switch m.(type) {
	case *pgproto3.AuthenticationOk:
		return requestOk, true
	case *pgproto3.AuthenticationCleartextPassword:
		return requestClearText, true
	case *pgproto3.AuthenticationMD5Password:
		return requestMD5, true
	case *pgproto3.AuthenticationSASL:
		return requestSASL, true
	case *pgproto3.AuthenticationSASLContinue:
		return requestSASLContinue, true
	case *pgproto3.AuthenticationSASLFinal:
		return requestSASLFinal, true
	}
	return 0, false
}

func requestName(m pgproto3.BackendMessage) string {
	switch m.(type) {
	case *pgproto3.AuthenticationOk:
		return "AuthenticationOk"
	case *pgproto3.AuthenticationCleartextPassword:
		return "AuthenticationCleartextPassword"
	case *pgproto3.AuthenticationMD5Password:
		return "AuthenticationMD5Password"
	case *pgproto3.AuthenticationSASL:
		return "AuthenticationSASL"
	case *pgproto3.AuthenticationSASLContinue:
		return "AuthenticationSASLContinue"
	case *pgproto3.AuthenticationSASLFinal:
		return "AuthenticationSASLFinal"
	case *pgproto3.AuthenticationGSS, *pgproto3.AuthenticationGSSContinue:
		return "GSSAPI"
	}
	return "another method"
}
