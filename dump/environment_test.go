package dump

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

func TestArguments(t *testing.T) {
	o := Options{
		Server: config.Server{Host: "h", User: "u", Password: password}, Snapshot: "00000003-1", LockTimeout: time.Microsecond,
		ExcludeSchemas: []string{`Weird "Schema" $1`}, QuoteAllIdentifiers: true,
	}
	got, err := o.arguments()
	want := []string{"--schema-only", "--format=custom", "--no-password", "--encoding=UTF8", "--snapshot=00000003-1",
		"--lock-wait-timeout=1", "--quote-all-identifiers", `--exclude-schema="Weird ""Schema"" $1"`}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, o := range []Options{{ExcludeSchemas: []string{""}}, {ExcludeSchemas: []string{"a\x00b"}}, {Snapshot: "\x00"}} {
		if _, err := o.arguments(); pgerror.Code(err) != pgerror.InvalidParameterValue {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	inherited := map[string]string{
		"PATH": "/bin", "PGSERVICE": "x", "PGOPTIONS": "x", "PGHOSTADDR": "x", "PGPASSFILE": "x", "HOME": "/root", "LC_ALL": "de_DE",
		"SSL_CERT_FILE": "/system.pem", "SECRET": "x",
	}
	lookup := func(name string) (string, bool) { value, set := inherited[name]; return value, set }
	base := []string{"LC_ALL=C", "HOME=/nonexistent", "PGPASSFILE=/nonexistent/pgpass", "PATH=/bin", "SSL_CERT_FILE=/system.pem"}
	fixed := []string{"PGAPPNAME=pgdrover", "PGOPTIONS=" + pinnedSettings, "PGTZ=UTC", "PGGSSENCMODE=disable"}
	tests := []struct {
		name   string
		server config.Server
		want   []string // beside base and fixed
	}{
		{"least", config.Server{}, []string{"PGSSLMODE=prefer"}},
		{"all", config.Server{Host: "h", Port: 5433, Database: "d", User: "u", Password: "p", TLSVerify: config.TLSVerifyFull,
			CAFile: "/ca", CertFile: "/cert", KeyFile: "/key", ConnectTimeout: 2500 * time.Millisecond},
			[]string{"PGHOST=h", "PGPORT=5433", "PGUSER=u", "PGDATABASE=d", "PGPASSWORD=p", "PGCONNECT_TIMEOUT=3",
				"PGSSLMODE=verify-full", "PGSSLROOTCERT=/ca", "PGSSLCERT=/cert", "PGSSLKEY=/key"}},
		{"the system's authorities", config.Server{TLSVerify: config.TLSVerifyCA, ConnectTimeout: time.Millisecond},
			[]string{"PGSSLMODE=verify-ca", "PGSSLROOTCERT=/system.pem", "PGCONNECT_TIMEOUT=2"}},
		{"no TLS", config.Server{TLSVerify: config.TLSDisabled}, []string{"PGSSLMODE=disable"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Options{Server: tt.server}.environment(lookup)
			want := slices.Concat(base, fixed, tt.want)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
