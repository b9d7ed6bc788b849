package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// DefaultIterations is PostgreSQL's default of scram_iterations.
	DefaultIterations = 4096
	// MaxIterations bounds the work that a stored verifier can ask for.
	MaxIterations = 10_000_000

	// saltLength is the length in bytes of the salts made here, PostgreSQL's.
	saltLength    = 16
	maxSaltLength = 1024
	keyLength     = sha256.Size

	verifierPrefix = "SCRAM-SHA-256$"
)

// Verifier is what a server keeps of a password to check SCRAM-SHA-256 logins
// (RFC 5802, RFC 7677). The password cannot be had back from it, but it can be
// guessed against it: a Verifier is a secret.
type Verifier struct {
	Iterations int
	Salt       []byte
	Keys       Keys
}

// Keys are the StoredKey and ServerKey of RFC 5802.
type Keys struct{ Stored, Server [keyLength]byte }

// NewVerifier makes a verifier with a random salt and DefaultIterations.
func NewVerifier(password string) (Verifier, error) {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	return BuildVerifier(password, salt, DefaultIterations)
}

// BuildVerifier makes the verifier of a password. The password goes through
// SASLprep as PostgreSQL does it; an empty one is an error, as nobody can log
// in with it.
func BuildVerifier(password string, salt []byte, iterations int) (Verifier, error) {
	switch {
	case password == "":
		return Verifier{}, errors.New("the password is empty")
	case len(salt) == 0 || len(salt) > maxSaltLength:
		return Verifier{}, fmt.Errorf("the salt has %d bytes: 1 to %d are allowed", len(salt), maxSaltLength)
	case iterations < 1 || iterations > MaxIterations:
		return Verifier{}, fmt.Errorf("%d iterations: 1 to %d are allowed", iterations, MaxIterations)
	}
	salted, err := pbkdf2.Key(sha256.New, saslPrep(password), salt, iterations, keyLength)
	if err != nil {
		return Verifier{}, fmt.Errorf("derive SCRAM keys: %w", err)
	}
	clientKey := hmacSHA256(salted, []byte("Client Key"))
	v := Verifier{Iterations: iterations, Salt: salt}
	v.Keys.Stored = sha256.Sum256(clientKey)
	v.Keys.Server = [keyLength]byte(hmacSHA256(salted, []byte("Server Key")))
	return v, nil
}

// ParseVerifier reads a verifier in the form of pg_authid.rolpassword:
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>. Its errors do not
// repeat the text.
func ParseVerifier(text string) (Verifier, error) {
	rest, ok := strings.CutPrefix(text, verifierPrefix)
	if !ok {
		return Verifier{}, fmt.Errorf("a SCRAM verifier starts with %s", verifierPrefix)
	}
	work, keys, ok1 := strings.Cut(rest, "$")
	iterations, salt, ok2 := strings.Cut(work, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok1 || !ok2 || !ok3 {
		return Verifier{}, errors.New("a SCRAM verifier has the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>")
	}
	var v Verifier
	var err error
	v.Iterations, err = strconv.Atoi(iterations)
	if err != nil || v.Iterations < 1 || v.Iterations > MaxIterations {
		return Verifier{}, fmt.Errorf("the iteration count of a SCRAM verifier is 1 to %d", MaxIterations)
	}
	v.Salt, err = decodeBase64(salt)
	if err != nil || len(v.Salt) == 0 || len(v.Salt) > maxSaltLength {
		return Verifier{}, fmt.Errorf("the salt of a SCRAM verifier is 1 to %d bytes in base64", maxSaltLength)
	}
	if !decodeKey(&v.Keys.Stored, stored) || !decodeKey(&v.Keys.Server, server) {
		return Verifier{}, fmt.Errorf("the keys of a SCRAM verifier are %d bytes in base64", keyLength)
	}
	return v, nil
}

func decodeKey(dst *[keyLength]byte, text string) bool {
	key, err := decodeBase64(text)
	if err != nil || len(key) != keyLength {
		return false
	}
	*dst = [keyLength]byte(key)
	return true
}

// decodeBase64 takes the one right encoding only. Package base64 skips line
// breaks, even in strict mode.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, base64.CorruptInputError(strings.IndexAny(text, "\r\n"))
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// Text is the verifier as PostgreSQL stores it. It is a secret, so that this is
// not called String.
func (v Verifier) Text() string {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", verifierPrefix, v.Iterations,
		encode(v.Salt), encode(v.Keys.Stored[:]), encode(v.Keys.Server[:]))
}

// String hides the verifier.
func (v Verifier) String() string { return "********" }

// GoString hides the verifier.
func (v Verifier) GoString() string { return "********" }

// String hides the keys.
func (k Keys) String() string { return "********" }

// GoString hides the keys.
func (k Keys) GoString() string { return "********" }

// Matches tells whether password is the verifier's, at the cost of a
// derivation.
func (v Verifier) Matches(password string) bool {
	other, err := BuildVerifier(password, v.Salt, v.Iterations)
	return err == nil && subtle.ConstantTimeCompare(other.Keys.Stored[:], v.Keys.Stored[:]) == 1
}

func hmacSHA256(key, message []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(message)
	return mac.Sum(nil)
}
