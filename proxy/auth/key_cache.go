package auth

import (
	"bytes"
	"slices"
	"sync"
)

// keyCache is what is learnt of the passwords of Credentials while they are
// used: their SCRAM keys, the last ones of each, because a server's salt seldom
// changes and a derivation costs a millisecond for every connection that is
// opened; and which of the passwords was right last.
type keyCache struct {
	mu    sync.Mutex
	keys  map[string]ClientKeys // by password
	right string
}

// preferred is the index of the password to try first.
func (c *keyCache) preferred(passwords []string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, slices.Index(passwords, c.right))
}

func (c *keyCache) prefer(password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.right = password
}

func (c *keyCache) get(password string, salt []byte, iterations int) (ClientKeys, error) {
	c.mu.Lock()
	known, ok := c.keys[password]
	c.mu.Unlock()
	if ok && known.Iterations == iterations && bytes.Equal(known.Salt, salt) {
		return known, nil
	}
	fresh, err := DeriveClientKeys(password, salt, iterations)
	if err != nil {
		return ClientKeys{}, err
	}
	c.mu.Lock()
	c.keys[password] = fresh // as many as the credentials have passwords
	c.mu.Unlock()
	return fresh, nil
}
