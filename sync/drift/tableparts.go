package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// fires tells whether a trigger or rule acts in a session that applies changes.
func fires(enabled string) bool { return enabled != "" && catalog.Fires(enabled[0]).OnReplica() }

// triggers compares triggers and rules. One that acts on rows of the stream
// stops the table even if the source has it too: its effects are in the stream.
func (k *comparer) triggers() {
	for i := range k.Destination.Triggers {
		d := &k.Destination.Triggers[i]
		j := slices.IndexFunc(k.Source.Triggers, func(s catalog.TriggerDescription) bool { return s.Name == d.Name })
		switch {
		case fires(d.Enabled):
			k.add(TriggerFires, "", d.Name, "", d.Definition+" (enabled "+firing(d.Enabled)+")", nil, d)
		case j < 0:
			k.add(TriggerExtra, "", d.Name, "", d.Definition, nil, d)
		}
	}
	for i := range k.Source.Triggers {
		s := &k.Source.Triggers[i]
		j := slices.IndexFunc(k.Destination.Triggers, func(d catalog.TriggerDescription) bool { return s.Name == d.Name })
		if j < 0 && k.sql.needsGone(s.Rest) {
			continue
		}
		if j < 0 {
			k.add(TriggerMissing, "", s.Name, s.Definition, "", s, nil)
			continue
		}
		d := &k.Destination.Triggers[j]
		if !fires(d.Enabled) && !fires(s.Enabled) && (s.Enabled != d.Enabled || !k.text.same(s.Rest, d.Rest)) {
			k.add(TriggerMissing, "", s.Name, s.Definition+" (enabled "+firing(s.Enabled)+")", d.Definition+" (enabled "+firing(d.Enabled)+")", s, d)
		}
	}
	rule := func(list []catalog.RuleDescription, name string) *catalog.RuleDescription {
		i := slices.IndexFunc(list, func(r catalog.RuleDescription) bool { return r.Name == name })
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	for i := range k.Destination.Rules {
		d := &k.Destination.Rules[i]
		if fires(d.Enabled) {
			k.add(RuleFires, "", d.Name, "", d.Definition, nil, d)
		} else if rule(k.Source.Rules, d.Name) == nil {
			k.add(RuleDiffers, "", d.Name, "", d.Definition, nil, d)
		}
	}
	for i := range k.Source.Rules {
		s := &k.Source.Rules[i]
		if d := rule(k.Destination.Rules, s.Name); d == nil {
			k.add(RuleDiffers, "", s.Name, s.Definition, "", s, nil)
		}
	}
}

func firing(enabled string) string {
	return map[string]string{"O": "in ordinary sessions", "D": "never", "R": "REPLICA", "A": "ALWAYS"}[enabled]
}

// security compares row level security.
func (k *comparer) security() {
	s, d := k.Source, k.Destination
	on := map[bool]string{true: "enabled", false: "disabled"}
	if s.RowSecurity {
		k.add(RowSecurityOn, "", "row level security", on[s.RowSecurity], on[d.RowSecurity], nil, nil)
	}
	if d.RowSecurity {
		k.add(RowSecurityThere, "", "row level security", on[s.RowSecurity], on[d.RowSecurity], nil, nil)
	}
	text := func(p catalog.PolicyDescription) string {
		return fmt.Sprintf("FOR %s TO %s USING %s CHECK %s, permissive %t", p.Command, strings.Join(sorted(p.Roles), ", "), p.Using, p.Check, p.Permissive)
	}
	all := map[string][2]string{}
	for _, p := range s.Policies {
		all[p.Name] = [2]string{text(p), ""}
	}
	for _, p := range d.Policies {
		all[p.Name] = [2]string{all[p.Name][0], text(p)}
	}
	for _, name := range sortedKeys(all) {
		if both := all[name]; both[0] == "" || both[1] == "" || !k.text.same(both[0], both[1]) {
			k.add(PolicyDiffers, "", name, both[0], both[1], nil, nil)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	slices.Sort(out)
	return out
}

// ownedSequence gives the sequence that belongs to a column.
func (k *comparer) ownedSequence(table *catalog.TableDescription, column string) *catalog.SequenceDescription {
	i := slices.IndexFunc(table.Sequences, func(s catalog.SequenceDescription) bool { return s.Column == column })
	if i < 0 {
		return nil
	}
	return &table.Sequences[i]
}

// sequences compares how the sequences of columns count; where they are, a
// cutover sets.
func (k *comparer) sequences() {
	for _, p := range k.pairs {
		s, d := k.ownedSequence(k.Source, p.source.Name), k.ownedSequence(k.Destination, p.target.Name)
		// The type is that of the column where both have one type, and an
		// identity's always.
		typed := MatchTypes(TypeOf(k.Source, p.source), TypeOf(k.Destination, p.target), k.sameTypeName).Same()
		typed = typed && p.source.Identity == "" && p.target.Identity == ""
		text := func(s *catalog.SequenceDescription) string {
			switch {
			case s == nil:
				return ""
			case typed:
				return "AS " + s.Type + " " + sequenceText(s)
			}
			return sequenceText(s)
		}
		if s != nil && text(s) != text(d) && (d != nil || p.source.Identity == "") {
			k.add(SequenceDiffers, p.source.Name, s.Sequence.String(), text(s), text(d), s, d)
		}
	}
}

// partitions compares how partitioned tables are cut, and where a partition
// belongs.
func (k *comparer) partitions() {
	s, d := k.Source, k.Destination
	if s.Partitioning != nil && d.Partitioning != nil {
		if !k.text.same(s.Partitioning.Key, d.Partitioning.Key) {
			k.add(PartitionKey, "", "partition key", s.Partitioning.Key, d.Partitioning.Key, s, d)
		}
		// By another key nothing can be said of single partitions.
		sameKey := k.text.same(s.Partitioning.Key, d.Partitioning.Key)
		if sameKey && (k.Publication == "" || k.viaRoot() || len(k.published(s)) == 0) {
			k.bounds()
		}
	}
	switch a, b := s.Partition, d.Partition; {
	case b != nil && (a == nil || !k.text.same(a.Bound, b.Bound)):
		if k.Publication == "" || !k.viaRoot() {
			k.add(PartitionBound, "", b.Table.String(), boundText(a), boundText(b), s, d)
		}
	case a != nil && b == nil:
		k.add(PartitionParent, "", a.Table.String(), boundText(a), boundText(b), s, d)
	case a != nil && k.Mapping.Table(a.Table) != b.Table:
		k.add(PartitionParent, "", a.Table.String(), "partition of "+a.Table.String(), "partition of "+b.Table.String(), s, d)
	}
	names := func(list []catalog.Name, mapped bool) string {
		var out []string
		for _, n := range list {
			if mapped {
				n = k.Mapping.Table(n)
			}
			out = append(out, n.String())
		}
		return strings.Join(sorted(out), ", ")
	}
	if a, b := names(s.Inherits, true), names(d.Inherits, false); a != b {
		k.add(Inheritance, "", "parents", a, b, s, d)
	}
	if a, b := names(s.Children, true), names(d.Children, false); a != b {
		k.add(Inheritance, "", "children", a, b, s, d)
	}
}

func boundText(p *catalog.PartitionDescription) string {
	if p == nil {
		return "no partition"
	}
	return p.Bound
}

// bounds compares the partitions of a partitioned table by their bounds: rows
// come under the name of the root.
func (k *comparer) bounds() {
	s, d := k.Source.Partitioning.Partitions, k.Destination.Partitioning.Partitions
	find := func(list []catalog.PartitionDescription, same func(catalog.PartitionDescription) bool) bool {
		return slices.ContainsFunc(list, same)
	}
	for i := range s {
		if find(d, func(p catalog.PartitionDescription) bool { return k.text.same(s[i].Bound, p.Bound) }) {
			continue
		}
		kind := PartitionMissing
		if hasDefault(k.Destination) {
			kind = PartitionCovered
		}
		k.add(kind, "", s[i].Table.String(), s[i].Bound, "", &s[i], nil)
	}
	for i := range d {
		same := func(p catalog.PartitionDescription) bool { return k.text.same(p.Bound, d[i].Bound) }
		switch {
		case find(s, same):
		case k.Before != nil && k.Before.Partitioning != nil && find(k.Before.Partitioning.Partitions, same):
			k.add(PartitionGone, "", d[i].Table.String(), "", d[i].Bound, nil, &d[i])
		default:
			k.add(PartitionExtra, "", d[i].Table.String(), "", d[i].Bound, nil, &d[i])
		}
	}
}

// appearance compares what no row depends on.
func (k *comparer) appearance() {
	s, d := k.Source, k.Destination
	property := func(name, source, target string) {
		if source != target {
			k.add(Appearance, "", name, source, target, s, d)
		}
	}
	join := func(list []string) string { return strings.Join(sorted(list), ", ") }
	property("access method", s.AccessMethod, d.AccessMethod)
	property("tablespace", s.Tablespace, d.Tablespace)
	property("options", join(s.Options), join(d.Options))
	property("toast options", join(s.ToastOptions), join(d.ToastOptions))
	property("owner", s.Owner, d.Owner)
	property("grants", join(s.ACL), join(d.ACL))
	property("comment", s.Comment, d.Comment)
	property("forced row level security", fmt.Sprint(s.ForceRowSecurity), fmt.Sprint(d.ForceRowSecurity))
	statistics := func(t *catalog.TableDescription, translate bool) string {
		var out []string
		for _, x := range t.Statistics {
			columns := x.Columns
			if translate {
				columns = k.text.translate(columns)
			} else {
				columns = texts{}.translate(columns)
			}
			out = append(out, fmt.Sprintf("%s on %s", join(x.Kinds), columns))
		}
		return join(out)
	}
	property("extended statistics", statistics(s, true), statistics(d, false))
}
