package config

import "fmt"

// checkMirrors finds mirrors with one name, of a database with itself, and with
// mappings that contradict themselves.
func (r *reader) checkMirrors() {
	first := map[string]int{}
	for i, m := range r.config.Mirrors {
		path := element("mirrors", i)
		if r.bad[path] || r.bad[child(path, "name")] || r.bad[child(path, "source")] || r.bad[child(path, "destination")] {
			continue
		}
		if j, taken := first[m.Name]; taken {
			r.problem(r.main, child(path, "name"), "mirrors.name", fmt.Sprintf("the mirror on line %d is called %q too", r.config.Mirrors[j].Line, m.Name),
				"give one of them another name")
		} else {
			first[m.Name] = i
		}
		if m.Source == m.Destination {
			r.problem(r.main, child(path, "destination"), "mirrors.destination", fmt.Sprintf("%q is the source as well", m.Destination), "name the database that is written")
		}
		if r.bad[child(path, "tables")] || r.bad[child(path, "schemas")] {
			continue
		}
		for _, c := range r.config.MirrorConflicts(m) {
			if at := child(path, c.Key); !r.bad[at] {
				r.problem(r.main, at, "mirrors."+withoutIndex(c.Key), c.Message, c.Hint)
			}
		}
	}
}

// withoutIndex gives a path as messages name keys: tables[2].name is tables.name.
func withoutIndex(path string) string {
	var out []byte
	inside := false
	for i := range len(path) {
		switch {
		case path[i] == '[':
			inside = true
		case path[i] == ']':
			inside = false
		case !inside:
			out = append(out, path[i])
		}
	}
	return string(out)
}
