package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"github.com/pgdrover/pgdrover/pgerror"
)

// ScramSHA256 is the mechanism's name in AuthenticationSASL.
const ScramSHA256 = "SCRAM-SHA-256"

const (
	maxScramMessage = 4096 // bytes of one client message
	maxClientNonce  = 512  // bytes
	serverNonceRaw  = 18   // random bytes of the server's part, as PostgreSQL's
)

// scramState is where a SCRAM exchange stands.
type scramState int

const (
	scramAwaitFirst scramState = iota // client-first-message
	scramAwaitFinal                   // client-final-message
	scramDone                         // accepted or refused: no more messages
)

// scramExchange is the server's side of one SCRAM-SHA-256 login (RFC 5802,
// section 5): First, then Final, each once.
type scramExchange struct {
	state      scramState
	salt       []byte
	iterations int
	candidates func() []Keys // any of them logs in; asked for by Final
	binding    bindingOffer

	gs2Header    string // "n,,", "y,," or bindingHeader
	nonce        string // client's and server's part
	clientBare   []byte // client-first-message-bare
	serverFirst  []byte
	newNonceText func() string // replaced by tests
}

// bindingOffer is what a client was offered of channel binding, and what it
// made of that.
type bindingOffer struct {
	endPoint []byte // nil if it was not offered
	chosen   bool   // the client has selected SCRAM-SHA-256-PLUS
}

func newScramExchange(salt []byte, iterations int, candidates func() []Keys, binding bindingOffer) *scramExchange {
	return &scramExchange{salt: salt, iterations: iterations, candidates: candidates, binding: binding, newNonceText: randomNonce}
}

func randomNonce() string {
	raw := make([]byte, serverNonceRaw)
	rand.Read(raw) // never fails
	return base64.StdEncoding.EncodeToString(raw)
}

// First takes the client-first-message and gives the server-first-message.
func (x *scramExchange) First(message []byte) ([]byte, error) {
	if x.state != scramAwaitFirst {
		return nil, malformedScram("unexpected client-first-message")
	}
	x.state = scramDone // unless this one is good
	first, err := parseClientFirst(message)
	if err != nil {
		return nil, err
	}
	if err := x.binding.check(first.gs2Header); err != nil {
		return nil, err
	}
	x.gs2Header, x.clientBare = first.gs2Header, bytes.Clone(first.bare)
	x.nonce = first.nonce + x.newNonceText()
	x.serverFirst = fmt.Appendf(nil, "r=%s,s=%s,i=%d",
		x.nonce, base64.StdEncoding.EncodeToString(x.salt), x.iterations)
	x.state = scramAwaitFinal
	return x.serverFirst, nil
}

// Final takes the client-final-message and gives the server-final-message if
// the proof is right for one of the candidates, else ErrWrongPassword. The keys
// are those that the client has shown.
func (x *scramExchange) Final(message []byte) ([]byte, ClientKeys, error) {
	if x.state != scramAwaitFinal {
		return nil, ClientKeys{}, malformedScram("unexpected client-final-message")
	}
	x.state = scramDone
	final, err := parseClientFinal(message)
	if err != nil {
		return nil, ClientKeys{}, err
	}
	if err := x.checkFinal(final); err != nil {
		return nil, ClientKeys{}, err
	}
	authMessage := bytes.Join([][]byte{x.clientBare, x.serverFirst, final.withoutProof}, []byte(","))

	// All are tried, so that the time does not tell which one it was.
	var signature []byte
	shown := ClientKeys{Salt: x.salt, Iterations: x.iterations}
	for _, keys := range x.candidates() {
		if clientKey, ok := clientKeyOf(keys, authMessage, final.proof); ok {
			signature = hmacSHA256(keys.Server[:], authMessage)
			shown.Client, shown.Server = clientKey, keys.Server
		}
	}
	if signature == nil {
		return nil, ClientKeys{}, ErrWrongPassword
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), shown, nil
}

// checkFinal checks that a client-final-message belongs to this exchange and
// to this connection.
func (x *scramExchange) checkFinal(final clientFinal) error {
	want := x.gs2Header
	if want == bindingHeader {
		want += string(x.binding.endPoint)
	}
	switch {
	case final.nonce != x.nonce:
		return malformedScram("the nonce differs from that of the server-first-message")
	case final.binding == want:
		return nil
	case x.gs2Header == bindingHeader:
		return pgerror.New(pgerror.InvalidAuthorization, "SCRAM channel binding check failed").
			WithDetail("The client shook hands with another certificate than the one that this server has shown: somebody is between them.")
	}
	return malformedScram("the channel binding differs from that of the client-first-message")
}

// check finds a client's flag (RFC 5802, section 6) that does not go with what
// it was offered and has selected.
func (o bindingOffer) check(gs2Header string) error {
	switch {
	case o.chosen && gs2Header != bindingHeader:
		return malformedScram("the client selected SCRAM-SHA-256-PLUS, but the SCRAM message has no channel binding data")
	case !o.chosen && gs2Header == bindingHeader:
		return pgerror.New(pgerror.ProtocolViolation, "client demands channel binding without SCRAM-SHA-256-PLUS").
			WithHint("Connect with TLS, or with channel_binding=disable or channel_binding=prefer.")
	case gs2Header == "y,," && o.endPoint != nil:
		return pgerror.New(pgerror.InvalidAuthorization, "SCRAM channel binding negotiation error").
			WithDetail("The client supports channel binding and was told that the server does not; but it does, and offered it.")
	}
	return nil
}

// clientKeyOf takes the ClientKey out of the proof; it is right if its hash is
// the StoredKey.
func clientKeyOf(keys Keys, authMessage []byte, proof [keyLength]byte) (clientKey [keyLength]byte, ok bool) {
	subtle.XORBytes(clientKey[:], proof[:], hmacSHA256(keys.Stored[:], authMessage))
	stored := sha256.Sum256(clientKey[:])
	return clientKey, subtle.ConstantTimeCompare(stored[:], keys.Stored[:]) == 1
}

func malformedScram(detail string) error {
	return pgerror.New(pgerror.ProtocolViolation, "malformed SCRAM message").WithDetail("%s", detail)
}
