package auth

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
)

// md5Prefix starts md5 hashes in pg_authid.rolpassword and in the client's
// answer.
const md5Prefix = "md5"

// md5Hash is a stored md5 password: the 32 hexadecimal digits without prefix.
type md5Hash string

// hashMD5 is PostgreSQL's stored form: the password salted with the user name.
func hashMD5(user, password string) md5Hash {
	sum := md5.Sum([]byte(password + user))
	return md5Hash(hex.EncodeToString(sum[:]))
}

func parseMD5(text string) (md5Hash, error) {
	digits, ok := strings.CutPrefix(text, md5Prefix)
	if !ok || len(digits) != hex.EncodedLen(md5.Size) {
		return "", errors.New(`an md5 password hash is "md5" and 32 hexadecimal digits`)
	}
	if _, err := hex.DecodeString(digits); err != nil {
		return "", errors.New(`an md5 password hash is "md5" and 32 hexadecimal digits`)
	}
	return md5Hash(strings.ToLower(digits)), nil
}

// answer is what proves knowledge of the hash.
func (h md5Hash) answer(salt [4]byte) string {
	sum := md5.Sum(append([]byte(h), salt[:]...))
	return md5Prefix + hex.EncodeToString(sum[:])
}

// answers tells whether response is the right answer to the salt.
func (h md5Hash) answers(salt [4]byte, response string) bool {
	return subtle.ConstantTimeCompare([]byte(h.answer(salt)), []byte(response)) == 1
}
