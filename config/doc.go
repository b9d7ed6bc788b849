// Package config turns pgdog.toml and users.toml into a Config.
//
// One table of keys (keys_*.go) says of every key: its TOML name, default,
// unit, range, environment variable, whether anything acts on it yet, whether
// SET or RELOAD can change it, and one line of why. Decoding, defaults,
// environment overrides, the search for misspelt keys, SHOW CONFIG, SET,
// RELOAD's report and the example files all derive from it; the Go type of a
// key is the type of the struct field whose toml tag bears its name.
//
// The way of a file: Load → locate (line of every key) → reader (tree of TOML
// values into typed fields, one problem per wrong value) → environment →
// checker (what the two files say together). Nothing stops at the first
// problem: an *Error holds all of them, each with its file and line.
//
// A *Config is never changed after Load, Parse or Set returned it, and may be
// read by any number of goroutines. The package starts no goroutine.
package config
