package auth

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// maxServerNonce bounds the nonce of a server, in bytes, ours included. It is
// sent back, so that it must not grow at the server's wish.
const maxServerNonce = 1024

// serverFirst is a server-first-message:
//
//	"r=" nonce "," "s=" base64(salt) "," "i=" iterations ["," extensions]
type serverFirst struct {
	nonce      string // begins with the client's
	salt       []byte
	iterations int
}

// parseServerFirst parses without trusting any length.
func parseServerFirst(message []byte, clientNonce string) (serverFirst, error) {
	var first serverFirst
	if len(message) == 0 || len(message) > maxScramMessage {
		return first, brokenScram("the length of the server-first-message is out of range")
	}
	if bytes.HasPrefix(message, []byte("m=")) {
		return first, pgerror.New(pgerror.FeatureNotSupported, "the server requires an unsupported SCRAM extension")
	}
	nonce, rest, ok1 := bytes.Cut(message, []byte(","))
	salt, rest, ok2 := bytes.Cut(rest, []byte(","))
	iterations, extensions, hasExtensions := bytes.Cut(rest, []byte(","))
	nonce, ok3 := bytes.CutPrefix(nonce, []byte("r="))
	salt, ok4 := bytes.CutPrefix(salt, []byte("s="))
	iterations, ok5 := bytes.CutPrefix(iterations, []byte("i="))
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return first, brokenScram("one of the attributes r, s and i is missing")
	}
	// A nonce that is the client's alone would let old messages be sent again.
	if len(nonce) > maxServerNonce || !printable(nonce) || len(nonce) <= len(clientNonce) || !bytes.HasPrefix(nonce, []byte(clientNonce)) {
		return first, brokenScram("the nonce does not begin with the client's, or is not made of 1 to 1024 printable characters")
	}
	decoded, err := decodeBase64(string(salt))
	if err != nil || len(decoded) == 0 || len(decoded) > maxSaltLength {
		return first, brokenScram("the salt is not 1 to 1024 bytes in base64")
	}
	count, ok := decimal(iterations)
	if !ok || count < 1 || count > maxServerIterations {
		return first, brokenScram("the iteration count is not 1 to " + strconv.Itoa(maxServerIterations))
	}
	if hasExtensions && !attributeList(extensions) {
		return first, brokenScram("the extensions are not a list of attributes")
	}
	return serverFirst{nonce: string(nonce), salt: decoded, iterations: count}, nil
}

// decimal is a number of up to nine digits and nothing else: package strconv
// takes signs and underscores too.
func decimal(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// parseServerFinal gives the signature of a server-final-message:
//
//	("v=" base64(signature) / "e=" error) ["," extensions]
func parseServerFinal(message []byte) (signature [keyLength]byte, err error) {
	if len(message) == 0 || len(message) > maxScramMessage {
		return signature, brokenScram("the length of the server-final-message is out of range")
	}
	verdict, extensions, hasExtensions := bytes.Cut(message, []byte(","))
	if reason, refused := bytes.CutPrefix(verdict, []byte("e=")); refused {
		return signature, pgerror.New(pgerror.InvalidPassword, "the server refused the SCRAM exchange").
			WithDetail("It says: %s", strings.ToValidUTF8(string(reason), "?"))
	}
	text, ok := bytes.CutPrefix(verdict, []byte("v="))
	if !ok || !decodeKey(&signature, string(text)) {
		return signature, brokenScram("attribute v is missing or not 32 bytes in base64")
	}
	if hasExtensions && !attributeList(extensions) {
		return signature, brokenScram("the extensions are not a list of attributes")
	}
	return signature, nil
}
