package auth

import (
	"crypto"
	_ "crypto/sha256" // the hashes that certificates are signed with
	_ "crypto/sha512"
	"crypto/x509"
)

// ScramSHA256Plus is the name in AuthenticationSASL of SCRAM-SHA-256 with
// channel binding.
const ScramSHA256Plus = "SCRAM-SHA-256-PLUS"

// bindingHeader is the GS2 header of the one channel binding that PostgreSQL
// has (RFC 5929, section 4).
const bindingHeader = "p=tls-server-end-point,,"

// EndPoint is what tls-server-end-point binds a login to: the hash of the
// server's certificate. The hash is that of the certificate's signature, or
// SHA-256 where that is MD5 or SHA-1 (RFC 5929, section 4.1). It is nil for
// signatures that have no hash of their own, such as Ed25519: nothing is
// defined for them, and there is no channel binding.
func EndPoint(certificate *x509.Certificate) []byte {
	if certificate == nil {
		return nil
	}
	var hash crypto.Hash
	switch certificate.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	default:
		return nil
	}
	h := hash.New()
	h.Write(certificate.Raw)
	return h.Sum(nil)
}
