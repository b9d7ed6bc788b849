package docs_test

import (
	"context"
	"net"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/admin"
	"github.com/pgdrover/pgdrover/config"
)

// parser is a session of an admin database that is asked to parse statements
// and never to run one.
type parser struct {
	front *pgproto3.Frontend
}

// nothing has the methods of an engine and panics if one is called: a
// statement that is parsed is not run.
type nothing struct{ admin.Engine }

// configuration is that of nobody's files; all but Config panics.
type configuration struct{ admin.Configuration }

func (configuration) Config() *config.Config { return config.Default() }

func newParser(t *testing.T) *parser {
	t.Helper()
	client, server := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	database := admin.NewServer(admin.Options{Engine: nothing{}, Configuration: configuration{}, Shutdown: func(admin.ShutdownMode) {}, Version: "test"})
	go func() { // ends with cancel, in the cleanup, which waits for it
		served <- database.ServeSession(ctx, admin.Session{
			Backend: pgproto3.NewBackend(server, server), User: "admin", Database: "admin", SetReadDeadline: server.SetReadDeadline,
		})
		_ = server.Close()
	}()
	if err := client.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		cancel()
		if err := <-served; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	p := &parser{front: pgproto3.NewFrontend(client, client)}
	if problem := p.ready(t); problem != "" {
		t.Fatal(problem)
	}
	return p
}

// ready reads up to ReadyForQuery and gives the error that came before it.
func (p *parser) ready(t *testing.T) (problem string) {
	t.Helper()
	for {
		message, err := p.front.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			problem = m.Message
		case *pgproto3.ReadyForQuery:
			return problem
		}
	}
}

// parse gives the error of a statement, "" if it parses.
func (p *parser) parse(t *testing.T, statement string) string {
	t.Helper()
	p.front.Send(&pgproto3.Parse{Query: statement})
	p.front.Send(&pgproto3.Sync{})
	sent := make(chan error, 1)
	go func() { sent <- p.front.Flush() }() // the pipe has no buffer: ends when the answers are read
	problem := p.ready(t)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return problem
}

var (
	// typed is a statement behind psql's prompt of the admin database, without
	// psql's own commands, and the first line of an error that is shown for it.
	typed = regexp.MustCompile(`(?m)^admin=[#>] ([^\\\n]+).*(?:\nERROR:  (.*))?$`)
	// example is the example of a command in reference/commands.md.
	example = regexp.MustCompile("(?m)Example:\n\n```\n(.*)\n()```$")
)

// TestExamplesParse parses every statement of the admin database that the
// pages show. One that does not parse has to be shown with its error.
func TestExamplesParse(t *testing.T) {
	p := newParser(t)
	if problem := p.parse(t, "SHOW NO SUCH THING"); problem == "" {
		t.Fatal("the parser takes anything")
	}
	found := map[string]int{}
	for _, path := range pages(t) {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range []*regexp.Regexp{typed, example} {
			for _, match := range pattern.FindAllStringSubmatch(string(text), -1) {
				found[path]++
				if problem := p.parse(t, match[1]); problem != "" && problem != match[2] {
					t.Errorf("%s: %s: %s", path, match[1], problem)
				}
			}
		}
	}
	if want := len(admin.Reference()); found["reference/commands.md"] != want {
		t.Errorf("reference/commands.md has %d examples of %d commands", found["reference/commands.md"], want)
	}
	if found["operator.md"] == 0 {
		t.Error("operator.md has no statement behind a prompt: the test looks for the wrong one")
	}
}
