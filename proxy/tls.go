package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// alpnProtocol is PostgreSQL's registered name in ALPN.
const alpnProtocol = "postgresql"

// certificates holds the TLS that new connections are offered.
type certificates struct{ current atomic.Pointer[offer] }

// offer is TLS as one client is offered it.
type offer struct {
	config   *tls.Config
	endPoint []byte // of the certificate, for channel binding; nil if it has none
}

// offered is nil if there is no TLS.
func (c *certificates) offered() *offer { return c.current.Load() }

// load reads the files again. If they are not usable, what was loaded before
// stays in use.
func (c *certificates) load(s tlsSettings) error {
	loaded, err := loadTLS(s)
	if err != nil {
		return err
	}
	c.current.Store(loaded)
	return nil
}

// loadTLS gives nil if no certificate is configured.
func loadTLS(s tlsSettings) (*offer, error) {
	if s.certificate == "" && s.privateKey == "" {
		if s.required {
			return nil, pgerror.New(pgerror.ConfigFileError, "general.tls_client_required is set, but there is no certificate").
				WithHint("Set general.tls_certificate and general.tls_private_key.")
		}
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(s.certificate, s.privateKey)
	if err != nil {
		return nil, pgerror.New(pgerror.ConfigFileError, "load the TLS certificate: %w", err).
			WithDetail("general.tls_certificate is %q, general.tls_private_key is %q.", s.certificate, s.privateKey).
			WithHint("Both are PEM files; the key must belong to the certificate and have no passphrase.")
	}
	out := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		MinVersion:   s.minVersion,
		NextProtos:   []string{alpnProtocol},
	}
	if s.clientCA != "" {
		out.ClientAuth = tls.VerifyClientCertIfGiven
		if out.ClientCAs, err = loadAuthorities(s.clientCA); err != nil {
			return nil, pgerror.New(pgerror.ConfigFileError, "load the certificate authorities of clients: %w", err).
				WithDetail("general.tls_client_ca_certificate is %q.", s.clientCA)
		}
	}
	return &offer{config: out, endPoint: auth.EndPoint(certificate.Leaf)}, nil
}

func loadAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the file has no PEM certificate")
	}
	return pool, nil
}

// clientCertificate is the certificate that the client proved to have and that
// one of the authorities signed; nil if there is none.
func clientCertificate(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// certifies tells whether the certificate names the identity: as common name,
// or as one of its DNS names, e-mail addresses or URIs.
func certifies(certificate *x509.Certificate, identity string) bool {
	if certificate == nil || identity == "" {
		return false
	}
	if certificate.Subject.CommonName == identity ||
		slices.Contains(certificate.DNSNames, identity) ||
		slices.Contains(certificate.EmailAddresses, identity) {
		return true
	}
	for _, uri := range certificate.URIs {
		if uri.String() == identity {
			return true
		}
	}
	return false
}
