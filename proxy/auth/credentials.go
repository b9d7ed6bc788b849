package auth

import (
	"crypto/subtle"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
)

// Credentials are what a role shows a server to prove who it is: passwords, of
// which any may be the right one, an md5 hash, or the SCRAM keys that a client
// has shown. The zero value has none, which is enough where a server asks for
// none or for a certificate.
//
// Credentials are values: they never change, are safe for concurrent use, and
// never print their secrets. Compare them with Equal.
type Credentials struct {
	passwords []string
	md5       md5Hash     // "" if there is none
	keys      *ClientKeys // nil if there are none
	derived   *keyCache   // of passwords
}

// ClientKeys are what is left of a password when a client has proved with SCRAM
// that it has it: enough to log in wherever the verifier of the same password
// was made with the same salt and iterations, and nowhere else.
type ClientKeys struct {
	Salt       []byte
	Iterations int
	Client     [keyLength]byte // RFC 5802's ClientKey: logs in
	Server     [keyLength]byte // RFC 5802's ServerKey: tells the right server
}

// NewCredentials makes credentials of plain passwords, the likeliest first.
// Empty ones are left out.
func NewCredentials(passwords ...string) Credentials {
	c := Credentials{derived: &keyCache{keys: make(map[string]ClientKeys)}}
	for _, p := range passwords {
		if p != "" && !slices.Contains(c.passwords, p) {
			c.passwords = append(c.passwords, p)
		}
	}
	return c
}

// WithClientKeys adds keys; a server that asks for SCRAM gets them where there
// is no password.
func (c Credentials) WithClientKeys(k ClientKeys) Credentials {
	k.Salt = slices.Clone(k.Salt)
	c.keys = &k
	return c
}

// WithMD5Hash adds a hash in the form of pg_authid.rolpassword, "md5…"; a server
// that asks for md5 gets the answer made from it where there is no password.
func (c Credentials) WithMD5Hash(hash string) (Credentials, error) {
	parsed, err := parseMD5(hash)
	if err != nil {
		return Credentials{}, err
	}
	c.md5 = parsed
	return c, nil
}

// IsZero tells whether there are none.
func (c Credentials) IsZero() bool { return len(c.passwords) == 0 && c.md5 == "" && c.keys == nil }

// Equal tells whether both have the same secrets, in the same order.
func (c Credentials) Equal(d Credentials) bool {
	if !slices.Equal(c.passwords, d.passwords) || c.md5 != d.md5 || (c.keys == nil) != (d.keys == nil) {
		return false
	}
	return c.keys == nil || c.keys.equal(d.keys)
}

func (k *ClientKeys) equal(l *ClientKeys) bool {
	return slices.Equal(k.Salt, l.Salt) && k.Iterations == l.Iterations &&
		subtle.ConstantTimeCompare(k.Client[:], l.Client[:])&subtle.ConstantTimeCompare(k.Server[:], l.Server[:]) == 1
}

// Each gives the credentials of one connection after the other: those with one
// of the passwords alone, that which was right last first.
func (c Credentials) Each() iter.Seq[Credentials] {
	return func(yield func(Credentials) bool) {
		if len(c.passwords) < 2 {
			yield(c)
			return
		}
		first := c.derived.preferred(c.passwords)
		for i := range c.passwords {
			one := c
			one.passwords = []string{c.passwords[(first+i)%len(c.passwords)]}
			if !yield(one) {
				return
			}
		}
	}
}

// Accepted tells that a server has accepted these credentials, which Each gave.
func (c Credentials) Accepted() {
	if len(c.passwords) == 1 {
		c.derived.prefer(c.passwords[0])
	}
}

// Format hides everything, whatever the verb.
func (c Credentials) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "********") // fmt.State keeps the error itself
}

// Format hides everything, whatever the verb.
func (k ClientKeys) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, "********") // fmt.State keeps the error itself
}

// LogValue hides everything from log/slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue("********") }

// LogValue hides everything from log/slog.
func (k ClientKeys) LogValue() slog.Value { return slog.StringValue("********") }
