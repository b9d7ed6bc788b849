package admin

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgdrover/pgdrover/pgerror"
)

// parameter is one of the session parameters that clients set or ask for by
// themselves.
type parameter struct {
	name        string
	value       string // default
	reported    bool   // in a ParameterStatus, at the start and at each change
	fixed       bool   // cannot be set
	description string
	check       func(value string) (string, bool) // gives the value as it is kept; nil takes any
}

// sessionParameters describes every session parameter, in the order in which
// they are reported. What a fixed one depends on is put in by newParameters.
var sessionParameters = []parameter{
	{name: "server_version", reported: true, fixed: true, description: "Version of PostgreSQL that clients are told."},
	{name: "server_encoding", value: "UTF8", reported: true, fixed: true, description: "Encoding of names and texts."},
	{name: "client_encoding", value: "UTF8", reported: true, check: utf8Only, description: "Encoding of the client, UTF8."},
	{name: "standard_conforming_strings", value: "on", reported: true, check: onOnly, description: "Backslashes in literals are ordinary characters."},
	{name: "DateStyle", value: "ISO, MDY", reported: true, check: isoDates, description: "Form of dates, ISO."},
	{name: "IntervalStyle", value: "postgres", reported: true, description: "Form of intervals; no command has one."},
	{name: "TimeZone", value: "UTC", reported: true, description: "Kept for the client; times are shown in UTC."},
	{name: "integer_datetimes", value: "on", reported: true, fixed: true, description: "Binary times are 64-bit integers."},
	{name: "is_superuser", reported: true, fixed: true, description: "on for the admin user, off for readers."},
	{name: "session_authorization", reported: true, fixed: true, description: "User of the session."},
	{name: "application_name", reported: true, description: "Name that the client gives itself."},
	{name: "default_transaction_read_only", value: "off", reported: true, check: boolean, description: "Kept for the client; no effect."},
	{name: "in_hot_standby", value: "off", reported: true, fixed: true, description: "Always off."},

	{name: "bytea_output", value: "hex", description: "Kept for the client; no effect."},
	{name: "client_min_messages", value: "notice", check: messageLevel, description: "Least severe message that is sent: notice, warning or error."},
	{name: "default_transaction_deferrable", value: "off", check: boolean, description: "Kept for the client; no effect."},
	{name: "default_transaction_isolation", value: "read committed", description: "Kept for the client; no effect."},
	{name: "extra_float_digits", value: "1", description: "Kept for the client; no effect."},
	{name: "idle_in_transaction_session_timeout", value: "0", check: duration, description: "Kept for the client; no effect."},
	{name: "idle_session_timeout", value: "0", check: duration, description: "Kept for the client; no effect."},
	{name: "lock_timeout", value: "0", check: duration, description: "Kept for the client; no effect."},
	{name: "row_security", value: "on", check: boolean, description: "Kept for the client; no effect."},
	{name: "search_path", value: `"$user", public`, description: "Kept for the client; no effect."},
	{name: "statement_timeout", value: "0", check: duration, description: "Ends commands that wait longer; 0 waits without end."},
	{name: "synchronous_commit", value: "on", description: "Kept for the client; no effect."},
	{name: "transaction_deferrable", value: "off", check: boolean, description: "Kept for the client; no effect."},
	{name: "transaction_isolation", value: "read committed", description: "Kept for the client; no effect."},
	{name: "transaction_read_only", value: "off", check: boolean, description: "Kept for the client; no effect."},

	{name: "block_size", value: "8192", fixed: true, description: "As in PostgreSQL."},
	{name: "lc_collate", value: "C", fixed: true, description: "Order of texts."},
	{name: "lc_ctype", value: "C", fixed: true, description: "Classes of characters."},
	{name: "max_identifier_length", value: "63", fixed: true, description: "As in PostgreSQL."},
	{name: "max_index_keys", value: "32", fixed: true, description: "As in PostgreSQL."},
	{name: "server_version_num", value: "140000", fixed: true, description: "server_version as a number."},
	{name: "ssl", fixed: true, description: "on when the session's connection is encrypted."},
}

// parameters are the session parameters of one session.
type parameters struct {
	values map[string]string // those that differ from the default
	start  map[string]string // what RESET goes back to, likewise
	local  map[string]*string
}

func newParameters(s *Server, client Session) *parameters {
	p := &parameters{values: map[string]string{}, local: map[string]*string{}}
	onOff := map[bool]string{true: "on", false: "off"}
	p.values["server_version"] = s.serverVersion()
	p.values["is_superuser"] = onOff[!client.ReadOnly]
	p.values["session_authorization"] = client.User
	p.values["ssl"] = onOff[client.TLS]
	for name, value := range client.Parameters {
		if name == "options" {
			p.setOptions(value)
		} else {
			_ = p.set(name, value) // "user" and what else is no parameter; a bad value leaves the default
		}
	}
	if client.ApplicationName != "" {
		_ = p.set("application_name", client.ApplicationName) // takes any value
	}
	p.start = map[string]string{}
	for name, value := range p.values {
		p.start[name] = value
	}
	return p
}

// setOptions reads "-c name=value" and "--name=value" of the startup message.
func (p *parameters) setOptions(options string) {
	words := strings.Fields(options)
	for i, word := range words {
		setting, isLong := strings.CutPrefix(word, "--")
		switch {
		case isLong:
		case word == "-c" && i+1 < len(words):
			setting = words[i+1]
		case strings.HasPrefix(word, "-c") && len(word) > 2:
			setting = word[2:]
		default:
			continue
		}
		if name, value, ok := strings.Cut(setting, "="); ok {
			_ = p.set(strings.ReplaceAll(name, "-", "_"), value) // as above
		}
	}
}

// parameterNamed finds a session parameter; case does not matter.
func parameterNamed(name string) (*parameter, bool) {
	for i := range sessionParameters {
		if strings.EqualFold(sessionParameters[i].name, name) {
			return &sessionParameters[i], true
		}
	}
	return nil, false
}

// reported gives the parameters that the client is told without asking.
func (p *parameters) reported() []parameter {
	return slices.DeleteFunc(slices.Clone(sessionParameters), func(s parameter) bool { return !s.reported })
}

// get gives the value of a parameter that exists.
func (p *parameters) get(name string) string {
	described, _ := parameterNamed(name)
	if value, changed := p.values[described.name]; changed {
		return value
	}
	return described.value
}

// set changes a parameter.
func (p *parameters) set(name, value string) error {
	described, known := parameterNamed(name)
	if !known {
		return pgerror.New(pgerror.UndefinedObject, "unrecognized configuration parameter \"%s\"", name)
	}
	if described.fixed {
		return pgerror.New(cantChangeRuntimeParam, "parameter \"%s\" cannot be changed", described.name)
	}
	if described.check != nil {
		kept, ok := described.check(value)
		if !ok {
			return pgerror.New(pgerror.InvalidParameterValue, "invalid value for parameter \"%s\": \"%s\"", described.name, value).
				WithDetail("%s", described.description)
		}
		value = kept
	}
	p.values[described.name] = clean(value)
	return nil
}

// setLocal changes a parameter up to the end of the transaction.
func (p *parameters) setLocal(name, value string) error {
	described, known := parameterNamed(name)
	if !known {
		return p.set(name, value)
	}
	before, changed := p.values[described.name]
	if err := p.set(name, value); err != nil {
		return err
	}
	if _, kept := p.local[described.name]; !kept {
		p.local[described.name] = nil
		if changed {
			p.local[described.name] = &before
		}
	}
	return nil
}

// endLocal takes back what setLocal did and names what has changed.
func (p *parameters) endLocal() []string {
	var names []string
	for name, before := range p.local {
		delete(p.values, name)
		if before != nil {
			p.values[name] = *before
		}
		names = append(names, name)
	}
	clear(p.local)
	return names
}

// reset gives a parameter the value that the session began with.
func (p *parameters) reset(name string) error {
	described, known := parameterNamed(name)
	if !known {
		return p.set(name, "")
	}
	delete(p.values, described.name)
	if value, changed := p.start[described.name]; changed {
		p.values[described.name] = value
	}
	return nil
}

// statementTimeout gives the parameter's value, 0 for none.
func (p *parameters) statementTimeout() time.Duration {
	d, _ := parseDuration(p.get("statement_timeout"))
	return d
}

// noticeLevels orders the severities that notices can have.
var noticeLevels = []string{"debug", "log", "notice", "warning", "error"}

// wantsNotice tells whether client_min_messages lets a notice through.
func (p *parameters) wantsNotice(severity string) bool {
	return slices.Index(noticeLevels, strings.ToLower(severity)) >= slices.Index(noticeLevels, p.get("client_min_messages"))
}

// longestDuration is the greatest value of PostgreSQL's own timeouts.
const longestDuration = math.MaxInt32 * time.Millisecond

// parseDuration reads a time as PostgreSQL's parameters have it: a number of
// milliseconds, or a number with a unit.
func parseDuration(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz ")
	unit, known := map[string]time.Duration{
		"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}[strings.TrimSpace(text[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || !known || n < 0 || time.Duration(n) > longestDuration/unit {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

func duration(value string) (string, bool) {
	_, ok := parseDuration(value)
	return value, ok
}

func boolean(value string) (string, bool) {
	switch strings.ToLower(value) {
	case "on", "true", "yes", "1":
		return "on", true
	case "off", "false", "no", "0":
		return "off", true
	}
	return "", false
}

func onOnly(value string) (string, bool) {
	kept, ok := boolean(value)
	return kept, ok && kept == "on"
}

func utf8Only(value string) (string, bool) {
	switch strings.ReplaceAll(strings.ToLower(value), "-", "") {
	case "utf8", "unicode":
		return "UTF8", true
	case "sql_ascii":
		return "SQL_ASCII", true
	}
	return "", false
}

func isoDates(value string) (string, bool) {
	style, order, _ := strings.Cut(strings.ToUpper(strings.ReplaceAll(value, " ", "")), ",")
	switch {
	case style != "ISO" || order != "" && order != "MDY" && order != "DMY" && order != "YMD":
		return "", false
	case order == "":
		order = "MDY"
	}
	return "ISO, " + order, true
}

func messageLevel(value string) (string, bool) {
	value = strings.TrimRight(strings.ToLower(value), "12345")
	return value, slices.Contains(noticeLevels, value)
}
