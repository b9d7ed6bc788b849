// Command pgdrover is a PostgreSQL proxy with an admin database inside.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/progress"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotKnown = 3 // could not check
)

// cli is the command line.
type cli struct {
	Config string `short:"c" default:"pgdog.toml" placeholder:"PATH" help:"Main configuration file (${default})."`
	Users  string `short:"u" default:"users.toml" placeholder:"PATH" help:"Users and their passwords (${default})."`

	Run         runCommand         `cmd:"" default:"withargs" help:"Serve clients and the admin database (default)."`
	SchemaSync  schemaSyncCommand  `cmd:"" help:"Run one phase of a schema sync and exit."`
	DataSync    dataSyncCommand    `cmd:"" help:"Copy schema and rows, then apply changes until a signal comes: exit code 0 if every table streamed by then."`
	Mirror      mirrorCommand      `cmd:"" help:"Make, change, pause, end and look at mirrors."`
	Schema      schemaCommand      `cmd:"" help:"Compare the tables of a mirror with the destination's, and bring them to the source's."`
	Setup       setupCommand       `cmd:"" help:"Prepare the source of mirrors."`
	SchemaDiff  schemaDiffCommand  `cmd:"" help:"Compare the schemas of two databases and exit: 0 equal, 1 different, 3 could not compare."`
	Configcheck configcheckCommand `cmd:"" help:"Check both configuration files and exit."`
	Hash        hashCommand        `cmd:"" help:"Print the SCRAM-SHA-256 verifier of a password, for password_hash in users.toml."`
	Demo        demoCommand        `cmd:"" help:"Start throw-away PostgreSQL servers with a sample shop, move it while customers write to it, and stay up to play with."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// streams are what a subcommand reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exit is an error that says with which code to exit, when it was told already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	// The configuration says how to connect. What libpq's variables say is
	// overruled, but pgx would look for a service before that.
	for _, name := range []string{"PGSERVICE", "PGSERVICEFILE"} {
		_ = os.Unsetenv(name) // fails for malformed names only
	}
	os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run runs the command line and gives the exit code.
func run(ctx context.Context, args []string, io streams) int {
	var c cli
	code := -1
	parser, err := kong.New(&c, kong.Name("pgdrover"), kong.UsageOnError(), kong.Writers(io.out, io.err),
		kong.Description("A PostgreSQL proxy with an admin database inside: connect with psql, and move live databases."),
		kong.Exit(func(n int) { code = n }))
	if err != nil {
		panic(err) // the declaration above is wrong
	}
	command, err := parser.Parse(args)
	if code >= 0 { // --help was answered
		return code
	}
	if err != nil {
		fmt.Fprintf(io.err, "pgdrover: %v\nHINT:  pgdrover --help lists commands and flags\n", err)
		return exitUsage
	}
	err = command.Run(&c, &io, newContext(ctx))
	var told exit
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &told):
		return int(told)
	}
	progress.Print(io.err, "ERROR", err)
	return exitFailed
}

// contextOf carries a context through kong, which binds by type.
type contextOf struct{ context.Context }

func newContext(ctx context.Context) *contextOf { return &contextOf{ctx} }

// load reads the configuration and prints its warnings. A mistake in it is
// printed, each problem with its place, and ends with exit code 1.
func (c *cli) load(io *streams) (*config.Config, error) {
	cfg, warnings, err := config.Load(c.paths(), os.LookupEnv)
	for _, w := range warnings {
		printProblem(io.err, "WARNING", w)
	}
	var broken *config.Error
	if errors.As(err, &broken) {
		for _, p := range broken.Problems {
			printProblem(io.err, "ERROR", p)
		}
		return nil, exit(exitFailed)
	}
	return cfg, err
}

func (c *cli) paths() config.Paths { return config.Paths{Config: c.Config, Users: c.Users} }

func printProblem(out io.Writer, severity string, p config.Problem) {
	fmt.Fprintf(out, "%s:  %s\n", severity, p.String())
}
