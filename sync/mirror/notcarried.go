package mirror

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/connect"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
	"github.com/pgdrover/pgdrover/sync/shard"
)

// warnNotCarried tells what of a source neither the copy nor the stream brings:
// nobody would notice before it is missed.
func warnNotCarried(ctx context.Context, conn *pgx.Conn, where string, publication catalog.Publication, found *schema.Findings) error {
	unlogged, err := catalog.UnloggedTables(ctx, conn, publication.Name)
	if err != nil {
		return err
	}
	if len(unlogged) > 0 {
		found.Warnings = append(found.Warnings, pgerror.New(pgerror.FeatureNotSupported,
			"%d unlogged tables of %s are not published: their rows are neither copied nor followed", len(unlogged), where).
			WithDetail("%s", catalog.NameList(texts(unlogged), 20)).
			WithHint("if the rows matter: ALTER TABLE %s.%s SET LOGGED; there", dump.QuoteIdent(unlogged[0].Schema), dump.QuoteIdent(unlogged[0].Name)))
	}
	large, err := catalog.HasLargeObjects(ctx, conn)
	if err != nil {
		return err
	}
	if large {
		found.Warnings = append(found.Warnings, pgerror.New(pgerror.FeatureNotSupported,
			"%s has large objects: logical replication does not know them, they are neither copied nor followed", where).
			WithHint("when nobody writes them any more: pg_dump --data-only --blobs --exclude-table='*.*' of the source, into psql on the destination"))
	}
	if warning := unpublishedOperations(publication, where); warning != nil {
		found.Warnings = append(found.Warnings, warning)
	}
	return nil
}

// unpublishedOperations says which operations a publication leaves out, nil if none.
func unpublishedOperations(publication catalog.Publication, where string) *pgerror.Error {
	var missing []string
	for operation, published := range map[string]bool{"insert": publication.Insert, "update": publication.Update, "delete": publication.Delete, "truncate": publication.Truncate} {
		if !published {
			missing = append(missing, operation)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return pgerror.New(pgerror.ObjectNotInPrerequisiteState,
		"publication %q of %s leaves out %s: the destination will differ from the source", publication.Name, where, strings.Join(missing, ", ")).
		WithHint("unless it is meant so: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate'); there", dump.QuoteIdent(publication.Name))
}

// tellLeftOut tells, in the log and in that of the mirror, when the publication
// begins to leave out operations while a task runs, and when it ends: nothing
// else shows what does not come.
func (s *sourceShard) tellLeftOut(ctx context.Context, publication catalog.Publication) error {
	now := unpublishedOperations(publication, connect.Place(s.server))
	s.mu.Lock()
	before := s.leftOut
	s.leftOut = now
	s.mu.Unlock()
	event := happened("mirror", "")
	event.Level, event.Shard, event.TaskID = "warning", s.number, s.job.journal.task
	switch {
	case now != nil && (before == nil || before.Message != now.Message):
		event.Message, event.Error = "operations are not published", now
	case now == nil && before != nil:
		event.Message = "all operations are published again"
		event.Error = pgerror.New(pgerror.ObjectNotInPrerequisiteState, "publication %q leaves out nothing any more: what it left out meanwhile is missing on the destination", publication.Name).
			WithHint("RESYNC %s; copies all tables again", dump.QuoteIdent(s.job.pair.mirror))
	default:
		return nil
	}
	s.job.manager.log.Warn("the publication leaves out other operations than before", "what", event.Message, "task", s.job.journal.task, "shard", s.number, "error", event.Error.Message, "hint", event.Error.Hint)
	return s.job.journal.write(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return state.AddEvents(ctx, conn, s.job.journal.mirrorID, event)
	})
}

// warnKeys tells which tables can be copied, but not followed: an UPDATE or
// DELETE does not say on which shard its row is.
func warnKeys(work *copyData, publication catalog.Publication, relations map[catalog.Name]*catalog.Relation, found *schema.Findings) {
	if !publication.Update && !publication.Delete {
		return
	}
	var blind []catalog.Name
	var column string
	for _, t := range publication.Tables {
		r := relations[t.Table]
		if r == nil || t.Identity == 'f' {
			continue
		}
		columns := make([]shard.Column, len(r.Columns))
		for i, c := range r.Columns {
			columns[i] = shard.Column{Name: c.Name, Type: c.Type}
		}
		table, problem := work.mapping.Table(t.Table)
		if problem != nil {
			continue // it stops the table when it is copied, as does an error of the key
		}
		key, err := work.routing(table, columns)
		if err != nil || key == nil || key.Column == "" {
			continue
		}
		if source, ok := table.Origin(key.Column); !ok || !slices.Contains(identityColumns(r), source) {
			blind, column = append(blind, t.Table), source
		}
	}
	if len(blind) == 0 {
		return
	}
	last := blind[len(blind)-1]
	found.Warnings = append(found.Warnings, pgerror.New(pgerror.ObjectNotInPrerequisiteState,
		"the sharding column of %d tables is not part of their replica identity: the first UPDATE or DELETE will stop them, as it does not say on which shard its row is", len(blind)).
		WithDetail("%s", catalog.NameList(texts(blind), 20)).
		WithHint("on the source, before: ALTER TABLE %s.%s REPLICA IDENTITY FULL; or USING INDEX a unique index that has %s", dump.QuoteIdent(last.Schema), dump.QuoteIdent(last.Name), dump.QuoteIdent(column)))
}

// identityColumns are the columns that an UPDATE or DELETE tells of the row it
// has met.
func identityColumns(r *catalog.Relation) []string {
	var out []string
	for _, key := range r.Keys {
		if r.Identity == 'd' && key.Primary || r.Identity == 'i' && key.Identity {
			for _, at := range key.Columns {
				out = append(out, r.Columns[at].Name)
			}
		}
	}
	return out
}

func texts(names []catalog.Name) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n.String()
	}
	return out
}
