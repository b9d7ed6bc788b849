package drift

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Fingerprint is the SHA-256 of a description's canonical form: two tables
// have the same one when nothing that CompareTables looks at differs. It tells
// cheaply that a table is as it was.
func Fingerprint(d *catalog.TableDescription) [sha256.Size]byte { return sha256.Sum256(Canonical(d)) }

// Canonical gives the canonical form of a description, as JSON: without OIDs,
// attribute numbers, file nodes, sizes and whatever else is of one database or
// one moment; lists whose order means nothing sorted. The order of columns is
// kept: it is all that tells, without their numbers, that the names of two
// columns were exchanged.
func Canonical(d *catalog.TableDescription) []byte {
	c := *d
	c.Server, c.OID, c.Filenode, c.Tuples, c.Bytes = 0, 0, 0, 0, 0
	c.ReferencedBy = nil // foreign keys are part of the tables that have them
	c.Options, c.ToastOptions, c.ACL = sorted(d.Options), sorted(d.ToastOptions), sorted(d.ACL)
	c.Columns = mapped(d.Columns, canonicalColumn)
	slices.SortStableFunc(c.Columns, func(a, b catalog.ColumnDescription) int { return cmp.Compare(a.Number, b.Number) })
	for i := range c.Columns {
		c.Columns[i].Number = 0
	}
	c.Types = byName(mapped(d.Types, canonicalType), func(t catalog.TypeDescription) string { return key(t.Type) })
	c.Collations = byName(mapped(d.Collations, func(x catalog.CollationDescription) catalog.CollationDescription {
		x.ActualVersion = ""
		return x
	}), func(x catalog.CollationDescription) string { return key(x.Collation) })
	c.Constraints = byName(d.Constraints, func(x catalog.ConstraintDescription) string { return x.Name })
	c.Indexes = byName(d.Indexes, func(x catalog.IndexDescription) string { return x.Name })
	c.Triggers = byName(d.Triggers, func(x catalog.TriggerDescription) string { return x.Name })
	c.Rules = byName(d.Rules, func(x catalog.RuleDescription) string { return x.Name })
	c.Policies = byName(mapped(d.Policies, func(p catalog.PolicyDescription) catalog.PolicyDescription {
		p.Roles = sorted(p.Roles)
		return p
	}), func(x catalog.PolicyDescription) string { return x.Name })
	c.Statistics = byName(d.Statistics, func(x catalog.StatisticsDescription) string { return key(x.Statistics) })
	c.Sequences = byName(d.Sequences, func(x catalog.SequenceDescription) string { return x.Column + " " + key(x.Sequence) })
	c.Publications = byName(mapped(d.Publications, func(p catalog.PublicationDescription) catalog.PublicationDescription {
		p.Columns = sorted(p.Columns)
		return p
	}), func(p catalog.PublicationDescription) string { return fmt.Sprint(p.Name, " ", p.InSchema, " ", p.Via) })
	c.Children = slices.Clone(d.Children)
	slices.SortFunc(c.Children, func(a, b catalog.Name) int { return cmp.Compare(key(a), key(b)) })
	if d.Partition != nil {
		p := *d.Partition
		p.OID = 0
		c.Partition = &p
	}
	if d.Partitioning != nil {
		p := *d.Partitioning
		p.Partitions = byName(mapped(p.Partitions, func(x catalog.PartitionDescription) catalog.PartitionDescription {
			x.OID = 0
			return x
		}), func(x catalog.PartitionDescription) string { return key(x.Table) })
		c.Partitioning = &p
	}
	text, err := json.Marshal(&c)
	if err != nil {
		panic(fmt.Sprintf("drift: a description has no JSON: %v", err)) // it is made of strings, numbers and lists of them
	}
	return text
}

// key orders names; a schema's name has no NUL byte.
func key(n catalog.Name) string { return n.Schema + "\x00" + n.Name }

func canonicalColumn(c catalog.ColumnDescription) catalog.ColumnDescription {
	c.HasMissing, c.Missing = false, "" // VACUUM FULL ends them
	c.Options, c.ACL = sorted(c.Options), sorted(c.ACL)
	return c
}

func canonicalType(t catalog.TypeDescription) catalog.TypeDescription {
	if t.Domain != nil {
		domain := *t.Domain
		domain.Checks = byName(domain.Checks, func(c catalog.DomainCheck) string { return c.Name })
		t.Domain = &domain
	}
	return t
}

func mapped[T any](list []T, f func(T) T) []T {
	out := make([]T, len(list))
	for i, x := range list {
		out[i] = f(x)
	}
	return out
}

// byName gives a sorted copy, nil for an empty list.
func byName[T any](list []T, name func(T) string) []T {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return out
}
