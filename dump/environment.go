package dump

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// inheritedVariables are all that pg_dump takes from our environment: what it
// needs to start, and how to resolve names and check certificates. Above all
// no PG* variable, which would send it to another server or change what it
// writes.
var inheritedVariables = []string{
	"PATH", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "OPENSSL_MODULES", "RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES",
}

// cleanEnvironment is inheritedVariables, messages in English, and no home
// directory: libpq would take passwords and certificates from it that nobody
// configured.
func cleanEnvironment(lookup func(string) (string, bool)) []string {
	environment := []string{"LC_ALL=C", "HOME=/nonexistent", "PGPASSFILE=/nonexistent/pgpass"}
	for _, name := range inheritedVariables {
		if value, set := lookup(name); set {
			environment = append(environment, name+"="+value)
		}
	}
	return environment
}

// pinnedSettings make the text of definitions independent of what the server,
// the database or the role has set, so that two dumps can be compared.
// (pg_dump itself sets search_path, DateStyle, IntervalStyle and
// extra_float_digits.) They may be set by every role.
const pinnedSettings = "-c standard_conforming_strings=on -c bytea_output=hex -c xmlbinary=base64" +
	" -c client_min_messages=warning"

// environment is pg_dump's, with the connection in it.
func (o Options) environment(lookup func(string) (string, bool)) []string {
	server := o.Server
	environment := cleanEnvironment(lookup)
	set := func(name, value string) {
		if value != "" {
			environment = append(environment, name+"="+value)
		}
	}
	set("PGHOST", server.Host)
	if server.Port != 0 {
		set("PGPORT", strconv.Itoa(server.Port))
	}
	set("PGUSER", server.User)
	set("PGDATABASE", server.Database)
	set("PGPASSWORD", server.Password.Reveal())
	set("PGAPPNAME", "pgdrover")
	set("PGOPTIONS", pinnedSettings)
	set("PGTZ", "UTC") // partition bounds and defaults are written in the session's zone
	set("PGGSSENCMODE", "disable")
	set("PGCONNECT_TIMEOUT", wholeSeconds(server.ConnectTimeout))

	mode := sslMode(fmt.Sprint(server.TLSVerify))
	set("PGSSLMODE", mode)
	authority := server.CAFile
	if authority == "" && strings.HasPrefix(mode, "verify-") {
		authority = systemCertificates(lookup)
	}
	set("PGSSLROOTCERT", authority)
	set("PGSSLCERT", server.CertFile)
	set("PGSSLKEY", server.KeyFile)
	return environment
}

// sslMode translates tls_verify into libpq's sslmode.
func sslMode(verify string) string {
	switch verify {
	case "disabled":
		return "disable"
	case "verify_ca":
		return "verify-ca"
	case "verify_full":
		return "verify-full"
	}
	return "prefer"
}

// wholeSeconds rounds up, and to two at least: libpq takes 1 for 2.
func wholeSeconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(max(2, int64((d+time.Second-1)/time.Second)), 10)
}

// certificateBundles are the system's certificate authorities, where Go looks
// for them too (crypto/x509). libpq has a word for them only since 16.
var certificateBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Red Hat
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Red Hat
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, macOS
}

func systemCertificates(lookup func(string) (string, bool)) string {
	if file, set := lookup("SSL_CERT_FILE"); set && file != "" {
		return file
	}
	for _, file := range certificateBundles {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return ""
}
