package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// checkClusters finds entries of [[databases]] that do not make up clusters.
func (r *reader) checkClusters() {
	if len(r.config.Databases) == 0 && !r.namesUnknown {
		r.warn(r.main, "databases", "databases", "there is none: only the admin database can be used", `add [[databases]] with name and host`)
	}
	entries := map[string][]int{} // by name, in the order of the file
	for i, d := range r.config.Databases {
		r.checkHost(i, d)
		entries[d.Name] = append(entries[d.Name], i)
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !r.namesUnknown && !r.unclear[name] {
			r.checkShards(name, entries[name])
		}
	}
}

// checkHost finds what people write in host that is not a host. The value is
// not shown: a URL has a password in it.
func (r *reader) checkHost(i int, d Database) {
	path := child(element("databases", i), "host")
	if r.bad[path] || strings.HasPrefix(d.Host, "/") {
		return
	}
	host, port, err := net.SplitHostPort(d.Host)
	number, notNumber := strconv.Atoi(port)
	switch {
	case strings.ContainsAny(d.Host, "/@ \t\r\n"):
		r.problem(r.main, path, "databases.host", "is neither a host name nor an address", "put user, password, port and database into keys of their own")
	case err == nil && host != "" && notNumber == nil:
		r.problem(r.main, path, "databases.host", fmt.Sprintf("%q has a port in it", d.Host), fmt.Sprintf("write host = %q and port = %d", host, number))
	}
}

// checkShards finds gaps, shards without exactly one primary, and servers that
// are there twice.
func (r *reader) checkShards(name string, entries []int) {
	shards := map[int][]int{}
	for _, i := range entries {
		number := r.config.Databases[i].Shard
		shards[number] = append(shards[number], i)
	}
	expected := 0
	for _, number := range slices.Sorted(maps.Keys(shards)) {
		if number > expected {
			missing := fmt.Sprintf("shard %d of %q is missing", expected, name)
			if number > expected+1 {
				missing = fmt.Sprintf("shards %d to %d of %q are missing", expected, number-1, name)
			}
			r.database(shards[number][0], "shard", missing, "shards are numbered from 0 without gaps")
		}
		expected = number + 1
		r.checkPrimary(name, number, shards[number])
	}
	r.checkAddresses(name, entries)
}

func (r *reader) checkPrimary(name string, number int, entries []int) {
	first, auto := -1, -1
	for _, i := range entries {
		switch d := r.config.Databases[i]; {
		case d.Role == RoleAuto && auto < 0:
			auto = i
		case d.Role == RolePrimary && first < 0:
			first = i
		case d.Role == RolePrimary:
			r.database(i, "", fmt.Sprintf("shard %d of %q has another primary on line %d", number, name, r.config.Databases[first].Line),
				`set role = "replica" or another shard on one of them`)
		}
	}
	switch {
	case first < 0 && auto < 0:
		r.database(entries[0], "role", fmt.Sprintf("shard %d of %q has no primary", number, name), `add an entry with role = "primary"`)
	case first < 0:
		r.warn(r.main, child(element("databases", auto), "role"), "databases.role",
			fmt.Sprintf("schema sync, copy and replication take this entry as the primary of shard %d of %q; applications are led to the server that is it", number, name), `set role = "primary" where it is`)
	}
}

// checkAddresses finds replicas listed twice and one PostgreSQL database in
// two shards, where each row would be twice.
func (r *reader) checkAddresses(name string, entries []int) {
	type address struct {
		host     string
		port     int
		database string
	}
	seen := map[address]int{}
	for _, i := range entries {
		d := r.config.Databases[i]
		at := address{strings.ToLower(d.Host), d.Port, cmp.Or(d.DatabaseName, d.Name)}
		j, again := seen[at]
		if !again {
			seen[at] = i
			continue
		}
		switch first := r.config.Databases[j]; {
		case first.Shard != d.Shard:
			r.database(i, "", fmt.Sprintf("shard %d of %q is the same PostgreSQL database as shard %d on line %d", d.Shard, name, first.Shard, first.Line),
				"correct host, port or database_name of one of them")
		case first.Role == d.Role && d.Role != RolePrimary: // a second primary is reported as such
			r.database(i, "", fmt.Sprintf("the same server as on line %d", first.Line), "remove one of the two entries")
		}
	}
}

// database notes a problem with an entry of [[databases]], at one of its keys
// if it is there.
func (r *reader) database(i int, key, message, hint string) {
	path := element("databases", i)
	shown := "databases"
	if key != "" {
		path, shown = child(path, key), child(shown, key)
	}
	r.problem(r.main, path, shown, message, hint)
}
