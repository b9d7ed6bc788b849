// Package admin is the admin database: a language of commands, spoken over the
// PostgreSQL protocol to whoever connects to the database named by
// [admin].name.
//
// The way of a command is:
//
//	bytes → inbox (messages) → lex (tokens) → grammar (statement) → run → rows
//
// The grammar is the table in commands.go and nothing else: parsing, SHOW HELP,
// Reference, completion and the hints of syntax errors are all made from it.
//
// The package knows no sockets. It is handed an authenticated client as a
// Session, and reaches the rest of the program through the interfaces Engine
// and Configuration.
//
// A session is served by the goroutine that calls ServeSession, plus one that
// reads the client's messages so that a client which leaves, or cancels, is
// noticed while a command waits. ServeSession stops and waits for the latter
// before it returns.
package admin
