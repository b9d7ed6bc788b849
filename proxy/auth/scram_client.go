package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
)

// maxServerIterations bounds the work that a server can ask for: some 150 ms.
// A stored verifier, which the operator has chosen, may ask for more.
const maxServerIterations = 1_000_000

// clientState is where the client's side of a SCRAM exchange stands.
type clientState int

const (
	clientStart          clientState = iota
	clientAwaitsFirst                // server-first-message
	clientAwaitsFinal                // server-final-message
	clientServerIsProven             // the server has the verifier of our password
	clientFailed
)

// scramClient is the client's side of one SCRAM-SHA-256 exchange (RFC 5802,
// section 5): First, Final and Verify, each once, in this order.
type scramClient struct {
	state     clientState
	gs2Header string // "n,,", "y,," or "p=tls-server-end-point,,"
	binding   []byte // of the channel; nil unless the header begins with p
	secret    func(salt []byte, iterations int) (ClientKeys, error)

	nonce      string // ours
	clientBare []byte
	signature  []byte // that the server has to send
}

func newScramClient(gs2Header string, binding []byte, secret func([]byte, int) (ClientKeys, error)) *scramClient {
	return &scramClient{gs2Header: gs2Header, binding: binding, secret: secret, nonce: randomNonce()}
}

// First gives the client-first-message. The user name is left out: servers
// take that of the StartupMessage.
func (x *scramClient) First() []byte {
	x.state = clientAwaitsFirst
	x.clientBare = []byte("n=,r=" + x.nonce)
	return append([]byte(x.gs2Header), x.clientBare...)
}

// Final takes the server-first-message and gives the client-final-message.
func (x *scramClient) Final(message []byte) ([]byte, error) {
	if x.state != clientAwaitsFirst {
		return nil, brokenScram("unexpected server-first-message")
	}
	x.state = clientFailed // unless all is well
	first, err := parseServerFirst(message, x.nonce)
	if err != nil {
		return nil, err
	}
	keys, err := x.secret(first.salt, first.iterations)
	if err != nil {
		return nil, err
	}
	bound := base64.StdEncoding.EncodeToString(append([]byte(x.gs2Header), x.binding...))
	withoutProof := []byte("c=" + bound + ",r=" + first.nonce)
	authMessage := bytes.Join([][]byte{x.clientBare, message, withoutProof}, []byte(","))

	stored := sha256.Sum256(keys.Client[:])
	var proof [keyLength]byte
	subtle.XORBytes(proof[:], keys.Client[:], hmacSHA256(stored[:], authMessage))
	x.signature = hmacSHA256(keys.Server[:], authMessage)
	x.state = clientAwaitsFinal
	return fmt.Appendf(nil, "%s,p=%s", withoutProof, base64.StdEncoding.EncodeToString(proof[:])), nil
}

// Verify takes the server-final-message. Nil means that the server knows the
// password's verifier.
func (x *scramClient) Verify(message []byte) error {
	if x.state != clientAwaitsFinal {
		return brokenScram("unexpected server-final-message")
	}
	x.state = clientFailed
	signature, err := parseServerFinal(message)
	if err != nil {
		return err
	}
	if !hmac.Equal(signature[:], x.signature) {
		return pgerror.New(pgerror.InvalidAuthorization, "the server does not know the password: it is not the one it claims to be").
			WithDetail("The signature in its last SCRAM message is wrong.")
	}
	x.state = clientServerIsProven
	return nil
}

// DeriveClientKeys makes the keys of a password, at the cost of a derivation. Its
// time grows with the iterations, which the caller bounds.
func DeriveClientKeys(password string, salt []byte, iterations int) (ClientKeys, error) {
	salted, err := pbkdf2.Key(sha256.New, saslPrep(password), salt, iterations, keyLength)
	if err != nil {
		return ClientKeys{}, fmt.Errorf("derive SCRAM keys: %w", err)
	}
	return ClientKeys{
		Salt: bytes.Clone(salt), Iterations: iterations,
		Client: [keyLength]byte(hmacSHA256(salted, []byte("Client Key"))),
		Server: [keyLength]byte(hmacSHA256(salted, []byte("Server Key"))),
	}, nil
}

func brokenScram(detail string) error {
	return pgerror.New(pgerror.ProtocolViolation, "the server sent a malformed SCRAM message").WithDetail("%s", detail)
}
