package resync

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdrover/pgdrover/dump"
)

// entryKey tells an entry among those of one schema.
type entryKey struct {
	kind dump.Kind
	tag  string
}

// Compare tells in what the shadow table is not equal to the table, by an archive
// of the destination's schema that was made after Finish and holds both: pg_dump
// knows every property there is. What comes with the swap alone is left to Swap,
// which compares once more what the catalogs say.
func (s *Shadow) Compare(ctx context.Context, conn *pgx.Conn, archive *dump.Archive) ([]Difference, error) {
	there := map[entryKey]*ownEntry{}
	for i := range archive.Entries {
		if e := &archive.Entries[i]; e.Namespace == s.schema {
			there[entryKey{e.Kind, e.Tag}] = &ownEntry{e, stageOf(e)}
		}
	}
	var out []Difference
	for _, u := range s.units {
		now := *u
		now.entries = nil // the table may have got others meanwhile
		if err := now.belongs(ctx, conn, archive); err != nil {
			return nil, fmt.Errorf("compare the shadow table of %s: %w", s.table.name, err)
		}
		out = append(out, s.compareUnit(&now, there)...)
	}
	return append(out, s.surplus(there)...), nil
}

// compareUnit compares the entries of one unit, and takes the shadow's out of there.
func (s *Shadow) compareUnit(u *unit, there map[entryKey]*ownEntry) []Difference {
	var out []Difference
	inline := s.inlineDefaults(u, there)
	for _, e := range u.entries {
		if now, _ := e.statements(); e.stage != bare && e.stage != behind || len(now) == 0 {
			continue
		}
		key := entryKey{e.Kind, e.Tag}
		d := Difference{Kind: string(e.Kind), Name: e.Tag, Original: s.shown(u, e)}
		if shadow := there[key]; shadow != nil {
			d.Shadow = s.shown(u, shadow)
			delete(there, key)
		}
		if e.Kind == dump.KindTable {
			for _, value := range inline {
				d.Shadow = strings.Replace(d.Shadow, value, "", 1)
			}
		}
		if d.Original != d.Shadow && inline[key] == "" {
			out = append(out, d)
		}
	}
	return out
}

// inlineDefaults gives the defaults that pg_dump writes apart for the table and not
// for its shadow, as they stand in CREATE TABLE: those that draw from a sequence
// that belongs to the table, and to the shadow table only after the swap.
func (s *Shadow) inlineDefaults(u *unit, there map[entryKey]*ownEntry) map[entryKey]string {
	out := map[entryKey]string{}
	for _, e := range u.entries {
		key := entryKey{e.Kind, e.Tag}
		table := there[entryKey{dump.KindTable, u.name.Name}]
		if e.Kind != dump.KindDefault || there[key] != nil || table == nil {
			continue
		}
		_, value, found := strings.Cut(strings.TrimRight(e.Definition, ";\n"), " SET DEFAULT ")
		value = canonical(" DEFAULT " + s.moves.apply(value))
		if found && strings.Contains(s.shown(u, table), value) {
			out[key] = value
		}
	}
	return out
}

// surplus are the entries that only the shadow table has.
func (s *Shadow) surplus(there map[entryKey]*ownEntry) []Difference {
	beside := map[string]bool{stepsTable: true}
	for _, l := range s.levels {
		beside[l.name.Name] = true
	}
	for _, u := range s.units {
		for _, parent := range u.parents {
			beside[parent.Name] = true
		}
	}
	var out []Difference
	for key, e := range there {
		now, _ := e.statements()
		ours := beside[key.tag] || len(now) == 0
		for name := range beside { // a tag begins with the table's name
			ours = ours || strings.HasPrefix(key.tag, name+" ")
		}
		if !ours && e.stage != never && e.stage != present {
			out = append(out, Difference{Kind: string(key.kind), Name: key.tag, Shadow: e.Definition})
		}
	}
	return out
}

// shown is what is compared of an entry: its statements as a shadow table has them,
// where it is kept, how, and by whom.
func (s *Shadow) shown(u *unit, e *ownEntry) string {
	now, _ := e.statements()
	owner, _ := e.OwnerSQL()
	text := withoutBoundCheck(strings.Join(now, ";\n")) + ";\n" + e.settings() + owner
	return canonical(s.movesOf(u, e).apply(text))
}
