package config

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check finds what single keys cannot show: keys that contradict each other,
// in one file or between the two.
func (r *reader) check() {
	r.survey()
	if r.main.parsed {
		r.checkGeneral()
		r.checkClusters()
		r.checkShardReferences()
		r.checkMirrors()
	}
	if r.main.parsed && r.users.parsed {
		r.checkAdmin()
		r.checkUsers()
		r.checkAuthQuery()
		r.checkPassthrough()
		r.checkReferences()
	}
}

// survey finds out what may be concluded from [[databases]].
func (r *reader) survey() {
	r.names, r.unclear = map[string]bool{}, map[string]bool{}
	r.namesUnknown = r.bad["databases"]
	for i, d := range r.config.Databases {
		path := element("databases", i)
		if r.bad[path] || r.bad[child(path, "name")] {
			r.namesUnknown = true
			continue
		}
		r.names[d.Name] = true
		for _, key := range []string{"host", "port", "shard", "role", "database_name"} {
			r.unclear[d.Name] = r.unclear[d.Name] || r.bad[child(path, key)]
		}
	}
}

func (r *reader) checkGeneral() {
	g := &r.config.General
	pairs := []struct{ certificate, key, certificateFile, keyFile string }{
		{"tls_certificate", "tls_private_key", g.TLSCertificate, g.TLSPrivateKey},
		{"tls_server_certificate", "tls_server_private_key", g.TLSServerCertificate, g.TLSServerPrivateKey},
	}
	for _, pair := range pairs {
		switch {
		case pair.certificateFile != "" && pair.keyFile == "":
			r.general(pair.certificate, "is set without "+pair.key, "set both or neither")
		case pair.certificateFile == "" && pair.keyFile != "":
			r.general(pair.key, "is set without "+pair.certificate, "set both or neither")
		}
	}
	if g.TLSCertificate == "" {
		if g.TLSClientRequired {
			r.general("tls_client_required", "clients are required to use TLS, but there is no tls_certificate", "set tls_certificate and tls_private_key")
		}
		if g.TLSClientCACertificate != "" {
			r.general("tls_client_ca_certificate", "clients' certificates need TLS, but there is no tls_certificate", "set tls_certificate and tls_private_key")
		}
	}
	r.checkPorts()
	if memory := r.config.SchemaSync.MaintenanceWorkMem; memory != "" && !memorySize.MatchString(memory) {
		r.problem(r.main, "schema_sync.maintenance_work_mem", "schema_sync.maintenance_work_mem",
			fmt.Sprintf("%q is no amount of memory", memory), `write a whole number with kB, MB, GB or TB, as "1GB"`)
	}
	r.checkDataSync()
	if g.OpenMetricsNamespace != "" && !metricPrefix.MatchString(g.OpenMetricsNamespace) {
		r.general("openmetrics_namespace", fmt.Sprintf("%q cannot begin the name of a metric", g.OpenMetricsNamespace),
			"use letters, digits and underscores, and no digit at the beginning")
	}
	if g.AuthType == AuthTrust && !isLocal(g.Host) {
		r.warn(r.main, "general.auth_type", "general.auth_type",
			fmt.Sprintf("trust lets in whoever reaches %s, as any user, the admin user too", g.Host), `set auth_type = "scram" or host = "127.0.0.1"`)
	}
}

// memorySize is how PostgreSQL writes amounts of memory.
var memorySize = regexp.MustCompile(`^\s*[0-9]+\s*(B|kB|MB|GB|TB)?\s*$`)

// metricPrefix is what a metric's name may begin with (Prometheus, "Metric
// names and labels"); a colon is left to recording rules.
var metricPrefix = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// checkDataSync finds a queue that could never take the largest transaction
// that is kept in memory.
func (r *reader) checkDataSync() {
	d := &r.config.DataSync
	if path := "data_sync.spill_memory"; d.SpillMemory > d.QueueMemory && !r.bad[path] && !r.bad["data_sync.queue_memory"] {
		r.problem(r.main, path, path, fmt.Sprintf("%d is more than data_sync.queue_memory, %d: one transaction would not fit into the queue",
			d.SpillMemory, d.QueueMemory), "lower it, or raise queue_memory")
	}
}

// checkPorts finds two listeners on one port.
func (r *reader) checkPorts() {
	g := &r.config.General
	taken := map[int]string{g.Port: "port"}
	for _, other := range []struct {
		key  string
		port *int
	}{{"openmetrics_port", g.OpenMetricsPort}, {"healthcheck_port", g.HealthcheckPort}} {
		if other.port == nil {
			continue
		}
		if first := taken[*other.port]; first != "" {
			r.general(other.key, fmt.Sprintf("%d is %s already", *other.port, first), "give each its own port")
			continue
		}
		taken[*other.port] = other.key
	}
}

// general notes a problem with a key of [general], at the variable that set it
// if one did, unless the key itself was found wrong before.
func (r *reader) general(key, message, hint string) {
	path := child("general", key)
	switch variable := r.variables[path]; {
	case r.bad[path]:
	case variable != "":
		r.problems = append(r.problems, Problem{File: environmentFile, Key: variable, Message: message, Hint: hint})
	default:
		r.problem(r.main, path, path, message, hint)
	}
}

func isLocal(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasPrefix(host, "/")
}

func (r *reader) checkAdmin() {
	a := &r.config.Admin
	for _, key := range []struct{ name, value string }{{"admin.name", a.Name}, {"admin.user", a.User}} {
		if key.value == "" {
			r.problem(r.adminDocument(key.name), key.name, key.name, "must not be empty", "leave the key out for its default, \"admin\"")
		}
	}
	if i := slices.IndexFunc(r.config.Databases, func(d Database) bool { return d.Name != "" && d.Name == a.Name }); i >= 0 {
		r.problem(r.main, element("databases", i)+".name", "databases.name",
			fmt.Sprintf("%q is the name of the admin database", a.Name), "rename one of them; [admin].name is the other")
	}
	if a.PasswordGenerated && r.config.General.AuthType != AuthTrust {
		r.warn(r.adminDocument("admin.password"), "admin.password", "admin.password",
			fmt.Sprintf("is not set: nobody can log in to the admin database %q", a.Name), "set [admin].password or PGDOG_ADMIN_PASSWORD")
	}
}

// adminDocument is the file whose [admin] has the key, users.toml first.
func (r *reader) adminDocument(path string) *document {
	if _, there := r.main.places[path]; there {
		if _, there := r.users.places[path]; !there {
			return r.main
		}
	}
	return r.users
}

// checkReferences finds names of databases that do not exist in the tables
// that name one, users apart.
func (r *reader) checkReferences() {
	if r.namesUnknown {
		return
	}
	for i := range tables {
		t := &tables[i]
		if !t.Array || t.index == nil {
			continue
		}
		doc := r.main
		if slices.Contains(t.Files, usersFile) {
			doc = r.users
		}
		entries := reflect.ValueOf(r.config).Elem().FieldByIndex(t.index)
		for n := range entries.Len() {
			for _, key := range t.Keys {
				path := child(element(t.Name, n), key.Name)
				name := entries.Index(n).FieldByIndex(key.index)
				if key.flags&cluster != 0 && !r.bad[path] && name.String() != "" && !r.names[name.String()] {
					r.problem(doc, path, child(t.Name, key.Name), r.noSuchDatabase(name.String()), r.databaseHint(name.String()))
				}
			}
		}
	}
}

// checkShardReferences finds shards that a cluster does not have.
func (r *reader) checkShardReferences() {
	check := func(database string, shard int, path, key string) {
		found, ok := r.config.Cluster(database)
		if !ok || r.bad[path] || r.namesUnknown || r.unclear[database] || shard < len(found.Shards) {
			return
		}
		r.problem(r.main, path, key, fmt.Sprintf("%q has no shard %d", database, shard), fmt.Sprintf("its shards are %s", shardRange(len(found.Shards))))
	}
	for i, t := range r.config.ShardedTables {
		for j, rule := range t.Mapping {
			check(t.Database, rule.Shard, child(element(child(element("sharded_tables", i), "mapping"), j), "shard"), "sharded_tables.mapping.shard")
		}
	}
	for i, m := range r.config.ShardedMappings {
		check(m.Database, m.Shard, child(element("sharded_mappings", i), "shard"), "sharded_mappings.shard")
	}
	for i, s := range r.config.ShardedSchemas {
		check(s.Database, s.Shard, child(element("sharded_schemas", i), "shard"), "sharded_schemas.shard")
	}
}

func shardRange(n int) string {
	if n < 2 {
		return "0 alone"
	}
	return "0 to " + strconv.Itoa(n-1)
}

func (r *reader) noSuchDatabase(name string) string {
	return fmt.Sprintf("%s has no database %q", r.main.name, name)
}

func (r *reader) databaseHint(name string) string {
	if likely := nearest(name, slices.Sorted(maps.Keys(r.names))); likely != "" {
		return fmt.Sprintf("did you mean %q?", likely)
	}
	return fmt.Sprintf("add [[databases]] with name = %q", name)
}
