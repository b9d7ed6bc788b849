package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
)

// killDelay is how long pg_dump may take to cancel its query and end after
// SIGTERM before it is killed.
const killDelay = 5 * time.Second

// Options say what Run dumps and how.
type Options struct {
	Server   config.Server
	Snapshot string // name of an exported snapshot, which must stay valid meanwhile; "" for one of its own

	// ExcludeSchemas are names, not patterns. Objects outside schemas that
	// call into one (event triggers, for example) are dumped all the same, and
	// so are triggers, views and foreign keys of other schemas that use one.
	ExcludeSchemas []string
	// ExcludePrefixes are beginnings of such names.
	ExcludePrefixes []string

	LockTimeout         time.Duration // wait for the lock on each table; 0 is without end
	QuoteAllIdentifiers bool          // quote also what needs it in no known version; best when the majors of the servers differ
	Limits              Limits
}

// Run dumps the schema of one database and reads the archive while it is being
// written. It returns when pg_dump has ended: a ctx that ends stops it
// (SIGTERM, so that the server's query is cancelled too; SIGKILL after five
// seconds). Names and definitions are UTF-8 whatever the database's encoding.
//
// A failure is a *pgerror.Error with pg_dump's own words in its detail. The
// password is in neither the arguments nor the error.
func (b Binary) Run(ctx context.Context, o Options) (*Archive, error) {
	args, err := o.arguments()
	if err != nil {
		return nil, fmt.Errorf("dump schema of %s: %w", o.where(), err)
	}
	archive, err := b.run(ctx, o, args)
	if err != nil {
		return nil, fmt.Errorf("dump schema of %s: %w", o.where(), err)
	}
	return archive, nil
}

func (b Binary) run(ctx context.Context, o Options, args []string) (*Archive, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	var words tail
	cmd := exec.CommandContext(running, b.Path, args...)
	cmd.Env = o.environment(os.LookupEnv)
	cmd.Stderr = &words
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", b.Path, err)
	}
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, pgerror.New(pgerror.UndefinedFile, "cannot start %s: %w", b.Path, err).
			WithHint("check [replication] pg_dump_path in pgdog.toml and the file's permissions")
	}
	archive, readErr := Read(output, o.Limits)
	switch {
	case readErr == nil:
		_, readErr = io.Copy(io.Discard, output)
	case !errors.Is(readErr, io.ErrUnexpectedEOF):
		stop() // it may have much more to say
	}
	waitErr := cmd.Wait()

	text := o.redact(words.String())
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case readErr != nil && !errors.Is(readErr, io.ErrUnexpectedEOF):
		return nil, b.unreadable(readErr)
	case errors.As(waitErr, &exit):
		return nil, b.failure(text, exit)
	case waitErr != nil:
		return nil, fmt.Errorf("wait for %s: %w", b.Path, waitErr)
	case readErr != nil:
		return nil, readErr
	}
	archive.Warnings = warnings(text)
	// Some versions write a publication's tables although their schema is
	// excluded, others do not.
	archive.Entries = slices.DeleteFunc(archive.Entries, func(e Entry) bool {
		return e.Namespace != "" && (slices.Contains(o.ExcludeSchemas, e.Namespace) ||
			slices.ContainsFunc(o.ExcludePrefixes, func(prefix string) bool { return strings.HasPrefix(e.Namespace, prefix) }))
	})
	return archive, nil
}

// unreadable is the error of output that is not an archive.
func (b Binary) unreadable(err error) error {
	e := *pgerror.From(err)
	e.Cause = err
	if e.Hint == "" {
		e.Hint = fmt.Sprintf("is %s (%s) pg_dump itself? Set [replication] pg_dump_path in pgdog.toml to another one", b.Path, b.Version)
	}
	return &e
}

// where names the database for messages.
func (o Options) where() string {
	if o.Server.Cluster == "" {
		return o.Server.Address()
	}
	return fmt.Sprintf("%q shard %d (%s)", o.Server.Cluster, o.Server.Shard, o.Server.Address())
}

// redact masks the password, should a program have repeated it.
func (o Options) redact(text string) string {
	if secret := o.Server.Password.Reveal(); secret != "" {
		return strings.ReplaceAll(text, secret, mask)
	}
	return text
}

// arguments are pg_dump's: nothing secret, and nothing of the connection.
func (o Options) arguments() ([]string, error) {
	args := []string{"--schema-only", "--format=custom", "--no-password", "--encoding=UTF8"}
	if o.Snapshot != "" {
		args = append(args, "--snapshot="+o.Snapshot)
	}
	if o.LockTimeout > 0 {
		milliseconds := max(1, o.LockTimeout.Milliseconds())
		args = append(args, "--lock-wait-timeout="+strconv.FormatInt(milliseconds, 10))
	}
	if o.QuoteAllIdentifiers {
		args = append(args, "--quote-all-identifiers")
	}
	for _, schema := range o.ExcludeSchemas {
		if schema == "" {
			return nil, pgerror.New(pgerror.InvalidParameterValue, "the name of a schema to leave out is empty").
				WithHint("correct [schema_sync] exclude_schemas in pgdog.toml")
		}
		// The option takes a pattern of psql's kind. Inside double quotes
		// case is kept and no character is special.
		args = append(args, "--exclude-schema="+QuoteIdent(schema))
	}
	for _, prefix := range o.ExcludePrefixes {
		args = append(args, "--exclude-schema="+QuoteIdent(prefix)+"*")
	}
	for _, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return nil, pgerror.New(pgerror.InvalidParameterValue, "an argument of pg_dump has a NUL byte: %q", arg)
		}
	}
	return args, nil
}
