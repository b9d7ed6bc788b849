package mirror

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/sync/drift"
	"github.com/pgdrover/pgdrover/sync/mirror/state"
	"github.com/pgdrover/pgdrover/sync/schema"
)

// without is what a mirror's destination is meant not to have.
func without(definition config.Mirror) schema.Without {
	return schema.Without{Indexes: !definition.ReplicateIndexes, ForeignKeys: !definition.ReplicateForeignKeys}
}

// withoutText says so in SHOW MIRROR.
func withoutText(definition config.Mirror) string {
	switch {
	case definition.ReplicateIndexes && definition.ReplicateForeignKeys:
		return ""
	case definition.ReplicateIndexes:
		return "foreign keys"
	case definition.ReplicateForeignKeys:
		return "indexes"
	}
	return "indexes, foreign keys"
}

// settingsText is what of a mirror's settings is other than the default, as SET
// of ALTER MIRROR has it.
func settingsText(row state.Mirror) string {
	definition, err := keptMirror{row: row}.definition()
	if err != nil {
		return ""
	}
	var out []string
	for _, c := range config.MirrorChanges(config.NewMirror(row.Source, row.Destination, row.Publication), definition) {
		if c.Kind != config.ChangesPlace {
			out = append(out, c.Set)
		}
	}
	return strings.Join(out, ", ")
}

// meant tells whether a difference is what the mirror's settings ask for.
func meant(definition config.Mirror, d drift.TableDifference) bool {
	return d.Kind == drift.IndexMissing && !definition.ReplicateIndexes || d.Kind == drift.ForeignKeyMissing && !definition.ReplicateForeignKeys
}

// settle finds what the destination is meant not to have, for work that names
// no mirror: that of the pair's own mirror, else of the only one that is between
// the two.
func (p *pair) settle(ctx context.Context) error {
	return at(ctx, p.destination0, func(ctx context.Context, conn *pgx.Conn, server config.Server) error {
		rows, err := state.Mirrors(ctx, conn)
		if err != nil {
			return err
		}
		var between []config.Mirror
		for _, row := range rows {
			begun := row.Definition != "" || row.Request != "" // else only schema syncs were recorded
			if !begun || row.Source != p.sourceName || row.Destination != p.destination0.Cluster {
				continue
			}
			definition, err := keptMirror{server: server, row: row}.definition()
			if err != nil {
				return err
			}
			if row.Name == p.mirror {
				p.without = without(definition)
				return nil
			}
			between = append(between, definition)
		}
		if len(between) == 1 {
			p.without = without(between[0])
		}
		return nil
	})
}
