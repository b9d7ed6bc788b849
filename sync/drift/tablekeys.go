package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// mapped gives the destination's names of columns, and whether it has all.
func (k *comparer) mapped(columns []string) ([]string, bool) {
	out := make([]string, len(columns))
	for i, c := range columns {
		name, ok := k.names[c]
		if !ok {
			return nil, false
		}
		out[i] = name
	}
	return out, true
}

// keys compares primary keys and what else is unique.
func (k *comparer) keys() {
	s, d := k.Source.PrimaryKey(), k.Destination.PrimaryKey()
	switch {
	case s != nil && d != nil:
		if columns, ok := k.mapped(s.Columns); !ok || !slices.Equal(sorted(columns), sorted(d.Columns)) {
			k.add(PrimaryKeyDiffers, "", d.Name, s.Definition, d.Definition, s, d)
		} else if s.Deferrable && !d.Deferrable {
			x := k.add(ConstraintAttribute, "", d.Name, s.Definition, d.Definition, s, d)
			x.Verdict, x.Reason = StopTable, "the source checks it at the end of a transaction, the destination at once: rows that exchange their keys are refused"
		}
	case s != nil:
		if columns, ok := k.mapped(s.Columns); ok {
			k.add(PrimaryKeyMissing, "", s.Name, s.Definition, "", s, columns)
		}
	}
	for i := range k.Destination.Indexes {
		x := &k.Destination.Indexes[i]
		if !x.Unique || x.Primary && s != nil || x.Invalid || k.partner(x, k.Source.Indexes) != nil || k.implied(x) {
			continue
		}
		if k.freeByExtra(x) {
			k.add(IndexExtra, "", x.Name, "", x.Definition, nil, x)
			continue
		}
		k.add(UniqueDestination, "", x.Name, "", x.Definition, nil, x)
	}
	for i := range k.Source.Indexes {
		x := &k.Source.Indexes[i]
		if x.Unique && !x.Primary && k.partnerOf(x) == nil && k.kept(x) {
			k.add(UniqueSource, "", x.Name, x.Definition, "", x, nil)
		}
	}
}

// kept tells whether the destination has all columns of an index.
func (k *comparer) kept(x *catalog.IndexDescription) bool {
	if k.sql.needsGone(x.Using) {
		return false
	}
	for _, c := range slices.Concat(x.Columns, x.Include) {
		if _, ok := k.names[c]; c != "" && !ok {
			return false
		}
	}
	return true
}

// partner finds the source's index that is the same as one of the destination.
func (k *comparer) partner(target *catalog.IndexDescription, among []catalog.IndexDescription) *catalog.IndexDescription {
	i := slices.IndexFunc(among, func(s catalog.IndexDescription) bool { return k.sameIndex(&s, target) })
	if i < 0 {
		return nil
	}
	return &among[i]
}

// partnerOf finds the destination's index that is the same as one of the source.
func (k *comparer) partnerOf(source *catalog.IndexDescription) *catalog.IndexDescription {
	i := slices.IndexFunc(k.Destination.Indexes, func(d catalog.IndexDescription) bool { return k.sameIndex(source, &d) })
	if i < 0 {
		return nil
	}
	return &k.Destination.Indexes[i]
}

func (k *comparer) sameIndex(s, d *catalog.IndexDescription) bool {
	return s.Unique == d.Unique && s.Nulls == d.Nulls && s.Deferrable == d.Deferrable && k.alike(s.Using, d.Using)
}

// implied tells whether rows that the source can have never collide in a
// unique index of the destination: some key of the source has no more columns.
func (k *comparer) implied(target *catalog.IndexDescription) bool {
	if slices.Contains(target.Columns, "") {
		return false
	}
	return slices.ContainsFunc(k.Source.Indexes, func(s catalog.IndexDescription) bool {
		columns, ok := k.mapped(s.Columns)
		if !s.Unique || s.Invalid || s.Deferrable && !target.Deferrable || s.Predicate != "" || !ok || slices.Contains(s.Columns, "") {
			return false
		}
		for i, c := range columns {
			column := k.Source.Column(s.Columns[i])
			if !slices.Contains(target.Columns, c) || target.Nulls && !s.Nulls && !k.notNull(k.Source, column) {
				return false
			}
		}
		return true
	})
}

// freeByExtra tells whether a column that only the destination has keeps rows
// from colliding: it is NULL in all of them, or numbered by the destination.
func (k *comparer) freeByExtra(x *catalog.IndexDescription) bool {
	return slices.ContainsFunc(k.extra, func(c *catalog.ColumnDescription) bool {
		if !slices.Contains(x.Columns, c.Name) {
			return false
		}
		null := c.Default == "" && c.Generated == "" && c.Identity == "" && !c.NotNull
		return null && !x.Nulls || c.Identity != "" || k.ownedSequence(k.Destination, c.Name) != nil
	})
}

// constraints compares checks, foreign keys and exclusion constraints.
func (k *comparer) constraints() {
	taken := map[string]bool{}
	for i := range k.Source.Constraints {
		s := &k.Source.Constraints[i]
		if s.Type == "p" || s.Type == "u" {
			continue
		}
		j := slices.IndexFunc(k.Destination.Constraints, func(d catalog.ConstraintDescription) bool { return !taken[d.Name] && k.sameConstraint(s, &d) })
		if j < 0 {
			kind := map[string]Kind{"c": CheckSource, "f": ForeignKeyMissing, "x": ExclusionSource}[s.Type]
			if _, ok := k.mapped(slices.DeleteFunc(slices.Clone(s.Columns), func(c string) bool { return c == "" })); ok {
				k.add(kind, "", s.Name, s.Definition, "", s, nil)
			}
			continue
		}
		d := &k.Destination.Constraints[j]
		taken[d.Name] = true
		if s.Validated != d.Validated || s.Deferrable != d.Deferrable || s.Deferred != d.Deferred || s.NotEnforced != d.NotEnforced {
			k.add(ConstraintAttribute, "", d.Name, s.Definition, d.Definition, s, d)
		}
	}
	for i := range k.Destination.Constraints {
		d := &k.Destination.Constraints[i]
		if taken[d.Name] {
			continue
		}
		switch {
		case d.Type == "f":
			k.add(ForeignKeyExtra, "", d.Name, "", d.Definition, nil, d)
		case d.Type == "x":
			k.add(ExclusionOfOne, "", d.Name, "", d.Definition, nil, d)
		case d.Type == "c" && k.onlyExtra(d.Columns):
			k.add(CheckOfExtra, "", d.Name, "", d.Definition, nil, d)
		case d.Type == "c" && !d.NotEnforced && !k.saysNotNull(d):
			k.add(CheckDestination, "", d.Name, "", d.Definition, nil, d)
		}
	}
}

// saysNotNull tells whether a check says what NOT NULL of the source says.
func (k *comparer) saysNotNull(d *catalog.ConstraintDescription) bool {
	if len(d.Columns) != 1 || !saysNotNull(d.Definition, d.Columns[0]) {
		return false
	}
	return slices.ContainsFunc(k.pairs, func(p columnPair) bool { return p.target.Name == d.Columns[0] && k.notNull(k.Source, p.source) })
}

func (k *comparer) onlyExtra(columns []string) bool {
	return len(columns) > 0 && !slices.ContainsFunc(columns, func(c string) bool {
		return !slices.ContainsFunc(k.extra, func(x *catalog.ColumnDescription) bool { return x.Name == c })
	})
}

// sameConstraint tells whether constraints mean the same, whatever they are
// called; validity and deferral are compared apart.
func (k *comparer) sameConstraint(s, d *catalog.ConstraintDescription) bool {
	if s.Type != d.Type {
		return false
	}
	if s.Type != "f" {
		return k.alike(bare(s.Definition), bare(d.Definition))
	}
	columns, ok := k.mapped(s.Columns)
	set, _ := k.mapped(s.SetColumns)
	return ok && slices.Equal(columns, d.Columns) && d.References != nil && s.References != nil && k.Mapping.Table(*s.References) == *d.References &&
		len(s.ReferencedColumns) == len(d.ReferencedColumns) && s.OnUpdate == d.OnUpdate && s.OnDelete == d.OnDelete && s.Match == d.Match && slices.Equal(set, d.SetColumns)
}

// bare is a constraint's definition without its attributes.
func bare(definition string) string {
	for _, suffix := range []string{" NOT VALID", " NOT ENFORCED", " INITIALLY DEFERRED", " DEFERRABLE", " NO INHERIT"} {
		definition = strings.TrimSuffix(definition, suffix)
	}
	return definition
}

// indexes compares indexes that are not unique, and invalid ones.
func (k *comparer) indexes() {
	for i := range k.Source.Indexes {
		s := &k.Source.Indexes[i]
		if s.Unique || s.Invalid || s.Constraint != "" || !k.kept(s) {
			continue
		}
		if k.partnerOf(s) == nil {
			k.add(IndexMissing, "", s.Name, s.Definition, "", s, nil)
		}
	}
	for i := range k.Destination.Indexes {
		d := &k.Destination.Indexes[i]
		switch {
		case d.Invalid:
			k.add(IndexInvalid, "", d.Name, "", d.Definition, k.partner(d, k.Source.Indexes), d)
		case !d.Unique && d.Constraint == "" && k.partner(d, k.Source.Indexes) == nil:
			k.add(IndexExtra, "", d.Name, "", d.Definition, nil, d)
		}
	}
}

// identity looks at how the source's rows are told apart and found.
func (k *comparer) identity() {
	s, d := k.Source, k.Destination
	names := map[string]string{"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}
	columns := s.IdentityColumns()
	changes := k.Publication == "" || slices.ContainsFunc(k.published(s), func(p catalog.PublicationDescription) bool { return p.Update || p.Delete })
	switch {
	case len(columns) == 0 && changes && s.Relkind == "r":
		k.add(InsertOnly, "", "replica identity", names[s.ReplicaIdentity], names[d.ReplicaIdentity], nil, nil)
	case s.ReplicaIdentity == "f":
		if !slices.ContainsFunc(d.Indexes, func(x catalog.IndexDescription) bool { return k.usable(&x) }) {
			k.add(NoUsableKey, "", "replica identity", "FULL", "no unique key over columns that are NOT NULL", nil, nil)
		}
	case len(columns) > 0:
		if _, ok := k.mapped(columns); !ok {
			k.add(IdentityNotCopied, "", "replica identity", strings.Join(columns, ", "), "", nil, nil)
		}
	}
	if s.ReplicaIdentity != d.ReplicaIdentity {
		k.add(IdentityIndex, "", "replica identity", names[s.ReplicaIdentity]+" "+s.IdentityIndex, names[d.ReplicaIdentity]+" "+d.IdentityIndex, s, d)
	}
}

// usable tells whether rows of the destination can be found by an index.
func (k *comparer) usable(x *catalog.IndexDescription) bool {
	return x.Unique && !x.Invalid && x.Predicate == "" && !slices.ContainsFunc(x.Columns, func(name string) bool {
		c := k.Destination.Column(name)
		return c == nil || !c.NotNull
	})
}
