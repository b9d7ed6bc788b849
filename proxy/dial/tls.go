package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// alpnProtocol is PostgreSQL's registered name in ALPN.
const alpnProtocol = "postgresql"

// TLS is how to encrypt connections to one server: the mode, the authorities and
// the client's certificate, as they were in the files when LoadTLS read them.
// It never changes and is safe for concurrent use.
type TLS struct {
	mode   config.TLSVerify
	config *tls.Config // nil without TLS
}

// LoadTLS reads the files that s names. The error is a *pgerror.Error.
func LoadTLS(s config.Server) (*TLS, error) {
	if s.TLSVerify == config.TLSDisabled {
		return &TLS{mode: s.TLSVerify}, nil
	}
	settings := &tls.Config{
		ServerName: strings.TrimSuffix(s.Host, "."),
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{alpnProtocol},
	}
	if s.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, pgerror.New(pgerror.ConfigFileError, "load the certificate for servers: %w", err).
				WithDetail("general.tls_server_certificate is %q, general.tls_server_private_key is %q.", s.CertFile, s.KeyFile).
				WithHint("Both are PEM files; the key must belong to the certificate and have no passphrase.")
		}
		settings.Certificates = []tls.Certificate{certificate}
	}
	authorities, err := loadAuthorities(s)
	if err != nil {
		return nil, pgerror.New(pgerror.ConfigFileError, "load the certificate authorities of servers: %w", err).
			WithDetail("general.tls_server_ca_certificate is %q.", s.CAFile)
	}
	settings.RootCAs = authorities
	switch s.TLSVerify {
	case config.TLSVerifyFull:
	case config.TLSVerifyCA:
		settings.InsecureSkipVerify = true // the name alone: the chain is verified here
		settings.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, authorities) }
	default:
		settings.InsecureSkipVerify = true // "prefer" encrypts and checks nothing
	}
	return &TLS{mode: s.TLSVerify, config: settings}, nil
}

// loadAuthorities gives nil for the system's, and where nothing is verified.
func loadAuthorities(s config.Server) (*x509.CertPool, error) {
	if s.CAFile == "" || s.TLSVerify == config.TLSPrefer {
		return nil, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file has no PEM certificate")
	}
	return pool, nil
}

// verifyChain is the verification of package tls without the name.
func verifyChain(state tls.ConnectionState, authorities *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has shown no certificate")
	}
	options := x509.VerifyOptions{Roots: authorities, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}
