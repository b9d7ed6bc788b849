package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"sync"
)

// Account is one user's secrets, any of which logs in. It is safe for
// concurrent use and never prints its secrets.
type Account struct {
	user      string
	passwords []string
	verifier  *Verifier // nil if none is stored
	md5       md5Hash   // "" if none is stored

	salt       []byte
	iterations int
	looksLike  bool          // a user of whom only a verifier is known, if there is no secret
	keys       func() []Keys // of all secrets that SCRAM can check; derived once
}

// NewAccount makes the account of a user from plain passwords (empty ones are
// left out) and a stored hash: a SCRAM verifier, an "md5…" hash, or "". An
// account without any secret cannot log in but with Trust.
//
// The keys of plain passwords are derived at the first login or by Derive, which
// costs a millisecond for each; keep the Account.
func (a *Authenticator) NewAccount(user string, passwords []string, hash string) (*Account, error) {
	account := a.mock(user)
	for _, p := range passwords {
		if p != "" {
			account.passwords = append(account.passwords, p)
		}
	}
	if err := account.setHash(hash); err != nil {
		return nil, fmt.Errorf("password hash of user %q: %w", user, err)
	}
	if account.verifier != nil {
		a.expect(account.iterations)
	}
	account.keys = sync.OnceValue(account.deriveKeys)
	return account, nil
}

func (a *Account) setHash(hash string) error {
	switch {
	case hash == "":
		return nil
	case strings.HasPrefix(hash, md5Prefix):
		parsed, err := parseMD5(hash)
		a.md5 = parsed
		return err
	}
	parsed, err := ParseVerifier(hash)
	if err != nil {
		return err
	}
	// One exchange has one salt: the plain passwords are checked with it too.
	a.verifier, a.salt, a.iterations = &parsed, parsed.Salt, parsed.Iterations
	return nil
}

// Derive derives the keys of plain passwords now, unless that was done before.
func (a *Account) Derive() { a.keys() }

func (a *Account) deriveKeys() []Keys {
	var keys []Keys
	if a.verifier != nil {
		keys = append(keys, a.verifier.Keys)
	}
	for _, p := range a.passwords {
		// Salt and iterations are in range, the password is not empty.
		if v, err := BuildVerifier(p, a.salt, a.iterations); err == nil {
			keys = append(keys, v.Keys)
		}
	}
	return keys
}

// hasScram tells whether SCRAM can check one of the secrets.
func (a *Account) hasScram() bool { return a.verifier != nil || len(a.passwords) > 0 }

// hasMD5 tells whether an md5 exchange can check one of the secrets.
func (a *Account) hasMD5() bool { return a.md5 != "" || len(a.passwords) > 0 }

// canUse tells whether the method can check one of the secrets.
func (a *Account) canUse(m Method) bool {
	if m == Scram {
		return a.hasScram()
	}
	return a.hasScram() || a.hasMD5()
}

// md5Hashes are the hashes that an md5 exchange can check.
func (a *Account) md5Hashes() []md5Hash {
	var hashes []md5Hash
	if a.md5 != "" {
		hashes = append(hashes, a.md5)
	}
	for _, p := range a.passwords {
		hashes = append(hashes, hashMD5(a.user, p))
	}
	return hashes
}

// matches checks a password that was sent in clear text.
func (a *Account) matches(password string) bool {
	sum, found := sha256.Sum256([]byte(password)), 0
	for _, p := range a.passwords {
		other := sha256.Sum256([]byte(p))
		found |= subtle.ConstantTimeCompare(sum[:], other[:])
	}
	if a.md5 != "" {
		found |= subtle.ConstantTimeCompare([]byte(a.md5), []byte(hashMD5(a.user, password)))
	}
	if a.verifier != nil && a.verifier.Matches(password) {
		found = 1
	}
	return found == 1
}

// String hides everything but the user.
func (a *Account) String() string { return fmt.Sprintf("account of %q", a.user) }

// GoString hides everything but the user.
func (a *Account) GoString() string { return a.String() }
