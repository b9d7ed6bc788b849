package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Mirror is a row of pgdrover.mirrors.
type Mirror struct {
	ID                               int32
	Name                             string
	Source, Destination, Publication string
	Wanted                           string // what it is to do: see the engine's MirrorState
	Definition                       string // its settings as JSON; empty for one that a PgDog-style command made
	Request                          string // as JSON, the command that its rows and changes came by last; empty if none did
	CreatedAt                        time.Time
	Leased                           bool // somebody works on it
}

// ErrMirrorChanged means that a mirror's state was not the one it was to be
// brought from: somebody else was quicker.
var ErrMirrorChanged = errors.New("the mirror's state has changed meanwhile")

// EnsureMirror finds the mirror of this name or makes it. A mirror that exists
// takes the publication that is named now; one of other databases is an error.
func EnsureMirror(ctx context.Context, conn *pgx.Conn, m Mirror) (Mirror, error) {
	asked := m
	err := conn.QueryRow(ctx, `
INSERT INTO pgdrover.mirrors (name, source, destination, publication) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET publication = CASE WHEN mirrors.source = excluded.source AND mirrors.destination = excluded.destination
    THEN excluded.publication ELSE mirrors.publication END
RETURNING mirror_id, source, destination, wanted, definition, request, created_at`, m.Name, m.Source, m.Destination, m.Publication).
		Scan(&m.ID, &m.Source, &m.Destination, &m.Wanted, &m.Definition, &m.Request, &m.CreatedAt)
	if err != nil {
		return m, fmt.Errorf("record mirror %q: %w", m.Name, err)
	}
	if m.Source != asked.Source || m.Destination != asked.Destination {
		return m, pgerror.New(pgerror.DuplicateObject, "mirror %q is of %q and %q", m.Name, m.Source, m.Destination).
			WithHint("choose another name, or DROP MIRROR it first")
	}
	return m, nil
}

// SetDefinition records the settings of a mirror.
func SetDefinition(ctx context.Context, conn *pgx.Conn, mirrorID int32, definition string) error {
	if _, err := conn.Exec(ctx, `UPDATE pgdrover.mirrors SET definition = $2 WHERE mirror_id = $1`, mirrorID, definition); err != nil {
		return fmt.Errorf("record the mirror's settings: %w", err)
	}
	return nil
}

// ChangeDefinition records other settings of a mirror in the place of those that
// were; ErrMirrorChanged if they are not the same any more.
func ChangeDefinition(ctx context.Context, conn *pgx.Conn, mirrorID int32, from, to string) error {
	tag, err := conn.Exec(ctx, `UPDATE pgdrover.mirrors SET definition = $3 WHERE mirror_id = $1 AND definition = $2`, mirrorID, from, to)
	if err != nil {
		return fmt.Errorf("record the mirror's settings: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrMirrorChanged
	}
	return nil
}

// SetRequest records by which command rows and changes come.
func SetRequest(ctx context.Context, conn *pgx.Conn, mirrorID int32, request string) error {
	if _, err := conn.Exec(ctx, `UPDATE pgdrover.mirrors SET request = $2 WHERE mirror_id = $1`, mirrorID, request); err != nil {
		return fmt.Errorf("record the mirror's command: %w", err)
	}
	return nil
}

// SetWanted brings a mirror from one of some states into another; ErrMirrorChanged
// if it is in none of them.
func SetWanted(ctx context.Context, conn *pgx.Conn, mirrorID int32, to string, from ...string) error {
	tag, err := conn.Exec(ctx, `UPDATE pgdrover.mirrors SET wanted = $2 WHERE mirror_id = $1 AND wanted = ANY ($3)`, mirrorID, to, from)
	if err != nil {
		return fmt.Errorf("record the mirror's state: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrMirrorChanged
	}
	return nil
}

// Mirrors gives every mirror, by name.
func Mirrors(ctx context.Context, conn *pgx.Conn) ([]Mirror, error) {
	rows, err := conn.Query(ctx, `
SELECT m.mirror_id, name, source, destination, publication, wanted, definition, request, created_at, `+leased+`
FROM pgdrover.mirrors m ORDER BY name`, int64(lockClass))
	if err != nil {
		return nil, fmt.Errorf("read mirrors: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Mirror])
	if olderSchema(err) {
		return oldMirrors(ctx, conn)
	}
	if err != nil {
		return nil, fmt.Errorf("read mirrors: %w", err)
	}
	return out, nil
}

// leased tells whether somebody holds the lease of the mirror m.
const leased = `EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = $1::int8::oid AND l.objid = m.mirror_id::int8::oid AND l.objsubid = 2
               AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// oldMirrors reads mirrors where the schema pgdrover is of an older version.
func oldMirrors(ctx context.Context, conn *pgx.Conn) ([]Mirror, error) {
	rows, err := conn.Query(ctx, `SELECT mirror_id, name, source, destination, publication, 'paused', '', '', created_at, false FROM pgdrover.mirrors ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("read mirrors: %w", err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Mirror])
	if err != nil {
		return nil, fmt.Errorf("read mirrors: %w", err)
	}
	return out, nil
}

// FindMirror finds a mirror by its name.
func FindMirror(ctx context.Context, conn *pgx.Conn, name string) (Mirror, bool, error) {
	all, err := Mirrors(ctx, conn)
	for _, m := range all {
		if m.Name == name {
			return m, true, nil
		}
	}
	return Mirror{}, false, err
}
