package auth

import (
	"bytes"

	"github.com/pgdrover/pgdrover/pgerror"
)

// clientFirst is a client-first-message:
//
//	gs2-cbind-flag "," [authzid] "," [reserved-mext ","] "n=" user "," "r=" nonce ["," extensions]
type clientFirst struct {
	gs2Header string // flag and authzid with both commas
	bare      []byte // what follows the header; part of the signed text
	nonce     string
}

// parseClientFirst parses without trusting any length. The user name inside is
// ignored, as in PostgreSQL: the one of the StartupMessage counts.
func parseClientFirst(message []byte) (clientFirst, error) {
	if len(message) == 0 || len(message) > maxScramMessage {
		return clientFirst{}, malformedScram("the length of the client-first-message is out of range")
	}
	flag, rest, ok1 := bytes.Cut(message, []byte(","))
	authzid, bare, ok2 := bytes.Cut(rest, []byte(","))
	if !ok1 || !ok2 {
		return clientFirst{}, malformedScram("the client-first-message has no GS2 header")
	}
	if err := checkBindingFlag(flag); err != nil {
		return clientFirst{}, err
	}
	if len(authzid) != 0 {
		return clientFirst{}, pgerror.New(pgerror.FeatureNotSupported,
			"client uses authorization identity, but it is not supported")
	}
	if bytes.HasPrefix(bare, []byte("m=")) {
		return clientFirst{}, pgerror.New(pgerror.FeatureNotSupported, "client requires an unsupported SCRAM extension")
	}
	user, rest, ok := bytes.Cut(bare, []byte(","))
	if !ok || !bytes.HasPrefix(user, []byte("n=")) {
		return clientFirst{}, malformedScram("attribute n is missing")
	}
	nonce, extensions, hasExtensions := bytes.Cut(rest, []byte(","))
	nonce, ok = bytes.CutPrefix(nonce, []byte("r="))
	if !ok {
		return clientFirst{}, malformedScram("attribute r is missing")
	}
	if len(nonce) == 0 || len(nonce) > maxClientNonce || !printable(nonce) {
		return clientFirst{}, malformedScram("the client's nonce is not made of 1 to 512 printable characters")
	}
	if hasExtensions && !attributeList(extensions) {
		return clientFirst{}, malformedScram("the extensions are not a list of attributes")
	}
	return clientFirst{gs2Header: string(flag) + ",,", bare: bare, nonce: string(nonce)}, nil
}

// checkBindingFlag checks the GS2 flag: n, the client has no channel binding;
// y, it has but believes that the server has not; p, it demands this one.
func checkBindingFlag(flag []byte) error {
	switch {
	case string(flag) == "n", string(flag) == "y", string(flag)+",," == bindingHeader:
		return nil
	case bytes.HasPrefix(flag, []byte("p=")):
		return pgerror.New(pgerror.ProtocolViolation, "unsupported SCRAM channel binding type").
			WithDetail("tls-server-end-point is supported.")
	}
	return malformedScram("unexpected channel binding flag")
}

// clientFinal is a client-final-message:
//
//	"c=" base64(gs2 header and channel binding) "," "r=" nonce ["," extensions] "," "p=" base64(proof)
type clientFinal struct {
	binding      string // decoded: the GS2 header again, and the channel binding
	nonce        string
	withoutProof []byte // part of the signed text
	proof        [keyLength]byte
}

func parseClientFinal(message []byte) (clientFinal, error) {
	var final clientFinal
	if len(message) == 0 || len(message) > maxScramMessage {
		return final, malformedScram("the length of the client-final-message is out of range")
	}
	at := bytes.LastIndex(message, []byte(",p="))
	if at < 0 {
		return final, malformedScram("attribute p is missing")
	}
	final.withoutProof = message[:at]
	if !decodeKey(&final.proof, string(message[at+len(",p="):])) {
		return final, malformedScram("the proof is not 32 bytes in base64")
	}
	binding, rest, ok := bytes.Cut(final.withoutProof, []byte(","))
	binding, hasBinding := bytes.CutPrefix(binding, []byte("c="))
	if !ok || !hasBinding {
		return final, malformedScram("attribute c is missing")
	}
	header, err := decodeBase64(string(binding))
	if err != nil {
		return final, malformedScram("attribute c is not base64")
	}
	nonce, extensions, hasExtensions := bytes.Cut(rest, []byte(","))
	nonce, ok = bytes.CutPrefix(nonce, []byte("r="))
	if !ok || !printable(nonce) {
		return final, malformedScram("attribute r is missing or has unprintable characters")
	}
	if hasExtensions && !attributeList(extensions) {
		return final, malformedScram("the extensions are not a list of attributes")
	}
	final.binding, final.nonce = string(header), string(nonce)
	return final, nil
}

// printable is RFC 5802's: ASCII without controls, space and comma.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return true
}

// attributeList tells whether b is a list of optional extensions, which are
// ignored: a letter, "=" and at least one character, between commas.
func attributeList(b []byte) bool {
	for attribute := range bytes.SplitSeq(b, []byte(",")) {
		if len(attribute) < 3 || attribute[1] != '=' || !letter(attribute[0]) {
			return false
		}
	}
	return true
}

func letter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
