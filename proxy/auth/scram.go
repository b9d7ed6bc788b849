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

// ScramSHA256 is the mechanism's name in AuthenticationSASL. Channel binding
// (SCRAM-SHA-256-PLUS) is not offered.
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

	gs2Header    string // "n,," or "y,,"
	nonce        string // client's and server's part
	clientBare   []byte // client-first-message-bare
	serverFirst  []byte
	newNonceText func() string // replaced by tests
}

func newScramExchange(salt []byte, iterations int, candidates func() []Keys) *scramExchange {
	return &scramExchange{salt: salt, iterations: iterations, candidates: candidates, newNonceText: randomNonce}
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
	x.gs2Header, x.clientBare = first.gs2Header, bytes.Clone(first.bare)
	x.nonce = first.nonce + x.newNonceText()
	x.serverFirst = fmt.Appendf(nil, "r=%s,s=%s,i=%d",
		x.nonce, base64.StdEncoding.EncodeToString(x.salt), x.iterations)
	x.state = scramAwaitFinal
	return x.serverFirst, nil
}

// Final takes the client-final-message and gives the server-final-message if
// the proof is right for one of the candidates, else ErrWrongPassword.
func (x *scramExchange) Final(message []byte) ([]byte, error) {
	if x.state != scramAwaitFinal {
		return nil, malformedScram("unexpected client-final-message")
	}
	x.state = scramDone
	final, err := parseClientFinal(message)
	if err != nil {
		return nil, err
	}
	if final.binding != x.gs2Header {
		return nil, malformedScram("the channel binding differs from that of the client-first-message")
	}
	if final.nonce != x.nonce {
		return nil, malformedScram("the nonce differs from that of the server-first-message")
	}
	authMessage := bytes.Join([][]byte{x.clientBare, x.serverFirst, final.withoutProof}, []byte(","))

	// All are tried, so that the time does not tell which one it was.
	var signature []byte
	for _, keys := range x.candidates() {
		if proofMatches(keys, authMessage, final.proof) {
			signature = hmacSHA256(keys.Server[:], authMessage)
		}
	}
	if signature == nil {
		return nil, ErrWrongPassword
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(signature)), nil
}

// proofMatches takes the ClientKey out of the proof and compares its hash with
// the StoredKey.
func proofMatches(keys Keys, authMessage []byte, proof [keyLength]byte) bool {
	var clientKey [keyLength]byte
	subtle.XORBytes(clientKey[:], proof[:], hmacSHA256(keys.Stored[:], authMessage))
	stored := sha256.Sum256(clientKey[:])
	return subtle.ConstantTimeCompare(stored[:], keys.Stored[:]) == 1
}

func malformedScram(detail string) error {
	return pgerror.New(pgerror.ProtocolViolation, "malformed SCRAM message").WithDetail("%s", detail)
}
