package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// fataler is what *rapid.T and *testing.T share here.
type fataler interface{ Fatal(...any) }

// clientProof is the ClientProof of RFC 5802, in base64, as a client computes
// it.
func clientProof(t fataler, password string, salt []byte, iterations int, authMessage string) string {
	salted, err := pbkdf2.Key(sha256.New, saslPrep(password), salt, iterations, keyLength)
	if err != nil {
		t.Fatal(err)
	}
	clientKey := hmacSHA256(salted, []byte("Client Key"))
	stored := sha256.Sum256(clientKey)
	proof := make([]byte, keyLength)
	subtle.XORBytes(proof, clientKey, hmacSHA256(stored[:], []byte(authMessage)))
	return base64.StdEncoding.EncodeToString(proof)
}
