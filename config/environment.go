package config

import (
	"fmt"
	"reflect"
	"strings"
)

// environment overrides settings with the variables that the key table names.
// A variable that is set to nothing counts as not set.
func (r *reader) environment(lookup func(string) (string, bool)) {
	for i := range tables {
		t := &tables[i]
		for j := range t.Keys {
			key := &t.Keys[j]
			for _, variable := range key.Env {
				if text, ok := lookup(variable); ok && text != "" {
					r.variable(t, key, variable, text)
					break
				}
			}
		}
	}
}

func (r *reader) variable(t *Table, key *Key, variable, text string) {
	setting := child(t.Name, key.Name)
	if reason := foreign(variable, text); reason != "" {
		r.warnings = append(r.warnings, Problem{File: environmentFile, Key: variable, Message: reason})
		return
	}
	field := reflect.ValueOf(r.config).Elem().FieldByIndex(t.index).FieldByIndex(key.index)
	before := reflect.New(field.Type()).Elem()
	before.Set(field)
	if wrong := key.assign(field, key.parseText(field.Type(), text)); wrong != "" {
		r.bad[setting] = true
		r.problems = append(r.problems, Problem{File: environmentFile, Key: variable, Message: wrong,
			Hint: fmt.Sprintf("it sets %s; correct or unset it", setting)})
		return
	}
	if r.config.sources[setting] == sourceFile && !reflect.DeepEqual(before.Interface(), field.Interface()) {
		r.warnings = append(r.warnings, Problem{File: environmentFile, Key: variable,
			Message: fmt.Sprintf("overrides %s of the file", setting)})
	}
	if key.flags&later != 0 {
		r.ignored[variable] = &occasion{file: environmentFile, note: key.Ignored, count: 1}
	}
	delete(r.bad, setting)
	r.variables[setting] = variable
	r.config.sources[setting] = sourceEnvironment
}

// foreign tells why a variable's text was put there by somebody who did not
// mean this program, "" if it was not.
func foreign(variable, text string) string {
	switch {
	case strings.HasPrefix(text, "tcp://"), strings.HasPrefix(text, "udp://"):
		// Kubernetes announces a Service called pgdog to every pod beside it
		// by PGDOG_PORT=tcp://10.0.0.1:6432.
		return "left alone: it is the address of a Kubernetes Service; set enableServiceLinks: false in the pod to be rid of it"
	case variable == "RUST_LOG" && strings.ContainsAny(text, "=,"):
		return "left alone: it is a filter for modules of another program; set PGDOG_LOG_LEVEL to one level"
	}
	return ""
}
