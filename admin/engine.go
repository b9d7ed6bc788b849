package admin

import (
	"context"
	"time"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// Engine does what the commands ask for. Its methods are called by many
// sessions at a time. A context ends when the client cancels, when it leaves
// (for what only reads or waits), or when the server shuts down.
//
// The slices of *pgerror.Error are warnings: what was found wrong without
// keeping the rest from being told.
type Engine interface {
	// SchemaSync starts a task and returns at once. The task does not end
	// with ctx.
	SchemaSync(ctx context.Context, request mirror.SchemaSyncRequest) (mirror.Started, error)
	// SchemaPlan gives what SchemaSync would run, in order, and runs nothing.
	SchemaPlan(ctx context.Context, request mirror.SchemaSyncRequest) ([]schema.Statement, []*pgerror.Error, error)
	// SchemaDiff compares two databases' schemas.
	SchemaDiff(ctx context.Context, source, destination string) ([]drift.Difference, []*pgerror.Error, error)
	// ValidateSchema compares published tables of a mirror with each shard of the
	// destination: those named, all without names.
	ValidateSchema(ctx context.Context, name string, tables []string) ([]mirror.TableReport, error)
	// SyncSchema brings tables of the destination to their sources', and returns
	// when that is done; a dry run tells what would be done.
	SyncSchema(ctx context.Context, request mirror.SyncSchemaRequest) (mirror.SyncSchemaReport, error)
	// DropTable takes a table out of a mirror that is no longer published.
	DropTable(ctx context.Context, name, table string) error
	// Watch returns when the task has ended, or with ctx's error. It calls tell
	// whenever the task has changed, from any goroutine; calls after Watch has
	// returned are ignored. tell blocks while the client does not read, so it is
	// called without holding what others need.
	Watch(ctx context.Context, id mirror.TaskID, tell func(mirror.Task)) (mirror.Task, error)
	// StopTask asks a task to end; 42704 if there is none of that number.
	StopTask(ctx context.Context, id mirror.TaskID) error
	// Tasks gives all tasks known, newest first.
	Tasks(ctx context.Context) ([]mirror.Task, []*pgerror.Error, error)
	// Statements gives the statements of the newest schema sync of every
	// mirror, in the order in which they are to be shown.
	Statements(ctx context.Context) ([]mirror.StatementRow, []*pgerror.Error, error)
	// CopyData starts COPY_DATA or REPLICATE and returns at once. The task does
	// not end with ctx.
	CopyData(ctx context.Context, request mirror.CopyDataRequest) (mirror.Started, error)
	// Resync has tables of a mirror copied again: those named, those that are
	// stopped, or all. What the destination has no room for is refused: 53100.
	Resync(ctx context.Context, name string, request mirror.ResyncRequest) (mirror.Resynced, error)
	// CreateMirror records a mirror and starts nothing; 42710 if there is one of
	// that name.
	CreateMirror(ctx context.Context, definition config.Mirror) error
	// AlterMirror changes the settings of a mirror. Its task, if one runs, is
	// started anew with them: Started.Task is 0 if none ran.
	AlterMirror(ctx context.Context, name string, change func(*config.Mirror) error) (mirror.Started, error)
	// Pause lets a mirror rest, and returns when its task has ended.
	Pause(ctx context.Context, name string) error
	// Resume lets a mirror go on that rests, or begin that was created; Retry one
	// that has failed. Both return at once, and the task does not end with ctx;
	// 55000 if the mirror is in another state.
	Resume(ctx context.Context, name string) (mirror.Started, error)
	Retry(ctx context.Context, name string) (mirror.Started, error)
	// TakeConfiguration brings mirrors in line with [[mirrors]] after a reload, and
	// tells what was done, as 00000, and what was not, with what does it.
	TakeConfiguration(ctx context.Context) []*pgerror.Error
	// MirrorLog gives what has happened to a mirror, the newest first.
	MirrorLog(ctx context.Context, name string, filter mirror.LogFilter) ([]mirror.MirrorEvent, error)
	// SetupSchema puts the event triggers into every shard of a database that tell
	// of schema changes, or takes them away; 42501 where the role may not.
	SetupSchema(ctx context.Context, database string, remove bool) ([]mirror.SetupSchemaRow, error)
	// DropMirror ends a mirror; 42704 if there is none of that name.
	DropMirror(ctx context.Context, name string) (mirror.DropMirrorReport, error)
	// Mirrors gives all mirrors, in the order in which they are to be shown; so
	// do the next three.
	Mirrors(ctx context.Context) ([]mirror.MirrorRow, []*pgerror.Error, error)
	// MirrorTables gives the tables of a mirror; 42704 if there is none of that
	// name.
	MirrorTables(ctx context.Context, name string) ([]mirror.MirrorTableRow, []*pgerror.Error, error)
	// TableCopies gives the copies that run, wait and have ended.
	TableCopies(ctx context.Context) ([]mirror.TableCopyRow, []*pgerror.Error, error)
	// Slots gives the replication slots of mirrors, and orphans.
	Slots(ctx context.Context) ([]mirror.SlotRow, []*pgerror.Error, error)
	// Probe connects to a database of [[databases]] or a URL and gives the time
	// that took.
	Probe(ctx context.Context, target string) (time.Duration, error)
}

// Configuration is the running configuration. Its methods are called by many
// sessions at a time.
type Configuration interface {
	// Config gives the configuration in force; it is not changed any more.
	Config() *config.Config
	// Set changes one setting until the next start.
	Set(name, value string) error
	// Reload reads the files again and applies what can be applied.
	Reload(ctx context.Context) (config.Changes, []config.Problem, error)
}
