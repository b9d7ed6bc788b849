package dial

import (
	"crypto/tls"

	"github.com/pgdrover/pgdrover/config"
)

// TLS is how to encrypt connections to one server: the mode, the authorities and
// the client's certificate, as they were in the files when LoadTLS read them.
// It never changes and is safe for concurrent use.
type TLS struct {
	mode   config.TLSVerify
	config *tls.Config // nil without TLS
}

// LoadTLS reads the files that s names. The error is a *pgerror.Error.
func LoadTLS(s config.Server) (*TLS, error) {
	return &TLS{mode: s.TLSVerify}, nil
}
