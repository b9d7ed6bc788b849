package pgcluster

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Options describe a cluster. The zero value is a good one: the machine's
// newest PostgreSQL, a free port, trust authentication, C.UTF-8.
type Options struct {
	// Installation is what to run. With Major alone, or nothing, Find looks it up.
	Installation Installation
	// Settings are those of postgresql.conf; they come after the defaults and win.
	Settings map[string]string
	// Port is the TCP port on 127.0.0.1; 0 takes a free one.
	Port int
	// Dir is the directory in which the cluster's own directory is made. "" is
	// the temporary directory. For an installation with a root it must be inside.
	Dir string
	// InitdbArgs are further arguments of initdb, such as --data-checksums.
	InitdbArgs []string
	// AuthMethod is what pg_hba.conf asks of everybody: trust (default),
	// scram-sha-256, md5, password. All but trust need SuperuserPassword.
	AuthMethod string
	// SuperuserPassword is the password of postgres, "" for none.
	SuperuserPassword string
	// HBA are lines of pg_hba.conf that come before those of AuthMethod.
	HBA []string
	// Locale of initdb, C.UTF-8 by default; the encoding is UTF8.
	Locale string
	// SSL turns TLS on, with a certificate of 127.0.0.1 and localhost; the
	// cluster's CACertificate verifies it.
	SSL bool
}

// defaults suit clusters that live for minutes: no durability, everything that
// logical replication needs, small buffers. Dynamic shared memory is in the
// data directory, so that a server that is killed leaves nothing in /dev/shm.
var defaults = map[string]string{
	"wal_level":                  "logical",
	"fsync":                      "off",
	"full_page_writes":           "off",
	"max_connections":            "100",
	"max_wal_senders":            "32",
	"max_replication_slots":      "32",
	"max_prepared_transactions":  "20",
	"max_worker_processes":       "16",
	"shared_buffers":             "64MB",
	"dynamic_shared_memory_type": "mmap",
	"listen_addresses":           "127.0.0.1",
	"timezone":                   "UTC",
	"log_timezone":               "UTC",
	"lc_messages":                "C",
	"log_line_prefix":            "%m [%p] %q%u@%d %a ",
	"log_checkpoints":            "off",
}

// complete fills in what was left out and refuses what cannot work.
func (o Options) complete() (Options, error) {
	if o.Installation.BinDir == "" {
		inst, err := Find(o.Installation.Major)
		if err != nil {
			return o, err
		}
		o.Installation = inst
	}
	o.AuthMethod = cmp.Or(o.AuthMethod, "trust")
	o.Locale = cmp.Or(o.Locale, "C.UTF-8")
	if o.Port < 0 || o.Port > 65535 {
		return o, pgerror.New(pgerror.InvalidParameterValue, "port %d is not between 0 and 65535", o.Port)
	}
	if o.AuthMethod != "trust" && o.SuperuserPassword == "" && len(o.HBA) == 0 {
		return o, pgerror.New(pgerror.InvalidParameterValue, "authentication method %s needs a superuser password", o.AuthMethod)
	}
	if strings.ContainsAny(o.SuperuserPassword, "\n\r\x00") {
		return o, pgerror.New(pgerror.InvalidParameterValue, "the superuser password contains a line break")
	}
	for name, value := range o.Settings {
		if strings.ContainsAny(name+value, "\n\r\x00") {
			return o, pgerror.New(pgerror.InvalidParameterValue, "setting %q contains a line break", name)
		}
	}
	return o, nil
}

// maxSocketPath is the length of sun_path without its final zero byte.
var maxSocketPath = map[bool]int{true: 107, false: 103}[runtime.GOOS == "linux"]

// parent is the directory in which the cluster's directory is made: one the
// server's account reaches and that leaves room for a socket's name.
func (o Options) parent(who account) (string, error) {
	root := o.Installation.Root
	candidates := []string{os.TempDir(), "/tmp"}
	if root != "" {
		candidates = []string{filepath.Join(root, "var/tmp"), filepath.Join(root, "tmp")}
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return "", err
		}
		if root != "" && !strings.HasPrefix(dir, root+"/") {
			return "", pgerror.New(pgerror.InvalidParameterValue, "%s is not inside %s, the root of %s", dir, root, o.Installation)
		}
		candidates = []string{dir}
	}
	var why string
	for _, dir := range candidates {
		socket := filepath.Join(dir, dirPrefix+"1234567890", ".s.PGSQL.65535")
		switch {
		case len(socket) > maxSocketPath:
			why = fmt.Sprintf("%s: too long for the path of a Unix socket (%d bytes of at most %d)", dir, len(socket), maxSocketPath)
		// Above a root nobody but root need pass: chroot comes before setuid.
		case root == "" && !who.reaches(dir):
			why = fmt.Sprintf("%s: the user that runs PostgreSQL (uid %d) may not enter it or a directory above it", dir, who.uid)
		default:
			return dir, nil
		}
	}
	return "", pgerror.New(pgerror.InvalidParameterValue, "no directory for the cluster").WithDetail("%s.", why).
		WithHint("Set TMPDIR to another directory, such as /tmp.")
}

// configuration is what is appended to the postgresql.conf of initdb. Later
// lines win, so the options' settings are last.
func (o Options) configuration(socketDir string) string {
	settings := maps.Clone(defaults)
	settings["unix_socket_directories"] = socketDir
	if o.AuthMethod == "md5" {
		settings["password_encryption"] = "md5"
	}
	if o.SSL {
		settings["ssl"] = "on"
		settings["ssl_cert_file"], settings["ssl_key_file"] = serverCertFile, serverKeyFile
	}
	maps.Copy(settings, o.Settings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	return b.String()
}

// quoteSetting writes a value as guc-file.l reads it: backslashes escape.
func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}

// hba is pg_hba.conf: over TCP and the socket, for databases and replication alike.
func (o Options) hba() string {
	lines := slices.Clone(o.HBA)
	for _, kind := range []string{"local %s all %s", "host %s all 127.0.0.1/32 %s"} {
		lines = append(lines, fmt.Sprintf(kind, "all", o.AuthMethod), fmt.Sprintf(kind, "replication", o.AuthMethod))
	}
	return strings.Join(lines, "\n") + "\n"
}
