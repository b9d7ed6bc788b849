package drift

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
)

// Judged is a difference with what the policy makes of it.
type Judged struct {
	TableDifference
	// Final is the verdict under the policy, warn_only left aside; Verdict is
	// that of the rules.
	Final Verdict `json:"final"`
	// By is the option that changed it, "" if none did.
	By string `json:"by,omitempty"`
}

// Judgement says whether and how a table goes on.
type Judgement struct {
	Table       catalog.Name `json:"table"`
	Destination catalog.Name `json:"destination"`
	Verdict     Verdict      `json:"verdict"`
	Reason      string       `json:"reason,omitempty"` // of the verdict, in one line
	Differences []Judged     `json:"differences,omitempty"`
	Ways        []Way        `json:"ways,omitempty"` // out of a stop, the recommended one first
	// Would is the verdict without warn_only.
	Would Verdict `json:"would"`

	// What going on means, by the names of the source's columns (Preserved and
	// Nulled: the destination's).
	Skipped   []string          `json:"skipped,omitempty"`
	Preserved []string          `json:"preserved,omitempty"`
	Nulled    []string          `json:"nulled,omitempty"` // set to NULL in rows that are written
	Casts     map[string]string `json:"casts,omitempty"`  // column → the destination's type, whatever is lost
	// Widened are columns of two types whose every value fits: column → the
	// destination's type.
	Widened map[string]string `json:"widened,omitempty"`
	// Steps are what an Apply or ResyncTable verdict runs; a table that the
	// destination lacks (TableMissing) is made from a dump instead. With Approval
	// they wait for the operator, and the table is stopped meanwhile.
	Steps    []Step `json:"steps,omitempty"`
	Approval bool   `json:"approval,omitempty"`
	// Used are the options by which the table goes on, or is changed, though a
	// rule would stop it; for the record.
	Used []string `json:"used,omitempty"`

	Mirror string `json:"mirror,omitempty"`
}

// NeedsCopy tells whether what resolves a stop leaves values missing that were
// never in the stream: the table has to be copied behind it.
func (j *Judgement) NeedsCopy() bool {
	return slices.ContainsFunc(j.Differences, func(x Judged) bool {
		if !x.Final.Stops() && x.Final != Apply || x.comparison == nil {
			return false
		}
		return slices.ContainsFunc(Migrate([]TableDifference{x.TableDifference}, Policy{}), func(s Step) bool { return s.Resync })
	})
}

// Judge says what the differences of one table mean under a policy.
func Judge(differences []TableDifference, policy Policy) Judgement {
	j := Judgement{Verdict: OK, Would: OK, Mirror: policy.Mirror}
	if len(differences) > 0 {
		j.Table, j.Destination = differences[0].Table, differences[0].Destination
	}
	if policy.Validation == disabled {
		for _, d := range differences {
			j.Differences = append(j.Differences, Judged{TableDifference: d, Final: OK, By: "validation"})
		}
		j.Used = []string{"validation"}
		j.handled(differences, policy)
		return j
	}
	var apply []TableDifference
	for _, d := range differences {
		x := Judged{TableDifference: d}
		x.Final, x.By = judge(&d, policy)
		if x.Final == Apply && d.Kind != TableMissing && !migratable(&d, policy) {
			x.Final, x.By = StopTable, ""
		}
		j.Differences = append(j.Differences, x)
		if x.By != "" && d.Verdict.Stops() && !slices.Contains(j.Used, x.By) {
			j.Used = append(j.Used, x.By)
		}
		if x.Final == Apply {
			apply = append(apply, d)
		}
	}
	j.migrate(apply, policy)
	for _, x := range j.Differences {
		j.Would = j.Would.Worse(x.Final)
		now := x.Final
		if policy.WarnOnly && now.Stops() && (now != ResyncTable || x.By == "") {
			now = Warn
		}
		j.Verdict = j.Verdict.Worse(now)
	}
	if j.Verdict != j.Would {
		j.Used = append(j.Used, "warn_only")
	}
	j.Reason = j.reason()
	j.handled(differences, policy)
	if j.Would.Stops() || j.Would == Apply {
		j.Ways = ways(&j, policy)
	}
	return j
}

// judge gives the verdict of one difference and the option that decided.
func judge(d *TableDifference, p Policy) (Verdict, string) {
	verdict, by := byColumns(d, p)
	if by != "" {
		return verdict, by
	}
	verdict = d.Verdict
	c := CaseOf(d.Kind)
	if kind := c.Migrates; kind != "" && verdict != OK && slices.Contains(p.AutoMigrate, migrates(d, kind)) && (d.Kind == TableMissing || migratable(d, p)) {
		return Apply, "auto_migrate"
	}
	refuses := c.Refuses
	if d.match != nil {
		refuses = d.match.Fit == FitRefuses
	}
	if p.Validation == permissive && verdict == StopTable && refuses {
		return Warn, "validation"
	}
	return verdict, ""
}

// migrates is the kind of auto_migrate that a difference is of: a type is
// widened when an ALTER changes no value.
func migrates(d *TableDifference, kind string) string {
	if d.match == nil || d.comparison == nil || kind == "add_column" {
		return kind
	}
	for _, s := range Migrate([]TableDifference{*d}, Policy{}) {
		if s.Lossy || s.Resync {
			return "change_type"
		}
	}
	return widenType
}

// migratable tells whether there are statements that resolve a difference.
func migratable(d *TableDifference, p Policy) bool { return len(Migrate([]TableDifference{*d}, p)) > 0 }

// byColumns gives the verdict where the policy speaks of the columns that one
// side lacks, or of types; "" where it does not.
func byColumns(d *TableDifference, p Policy) (Verdict, string) {
	switch d.Kind {
	case AddedNull, AddedConstant, AddedVolatile, AddedIdentity, AddedGenerated, AddedNotNull, AddedDomain:
		switch action, by := p.added(d.Column); action {
		case addedSkip:
			return Warn, by
		case addedApply:
			return Apply, by
		}
	case ExtraColumn:
		if p.TargetAddedColumns == targetStop && !p.allows(TargetSuperset) {
			return StopTable, "target_added_columns"
		}
	case ExtraRequired:
		if slices.Contains(p.AutoMigrate, dropNotNull) {
			return Apply, "auto_migrate"
		}
	case RemovedColumn, RemovedRequired:
		by := "source_removed_columns"
		if slices.Contains(p.PreserveColumns, d.Column) {
			by = "preserve_columns"
		} else if slices.Contains(p.NullColumns, d.Column) {
			by = "null_columns"
		}
		switch p.removed(d.Column) {
		case removedDrop:
			return Apply, by
		case removedPreserve, removedNull:
			if migratable(d, p) { // NOT NULL has to go
				return Apply, by
			}
			return Warn, by
		}
	case TypeSafe, TypeWarn, TypeUnsafe:
		if by, ok := p.castAllowed(d.Column, d.TargetHas); ok {
			if d.match != nil && d.match.Fit == FitSafe {
				return OK, by
			}
			return Warn, by
		}
		if p.TypeMismatches == castNever {
			if k := migrates(d, widenType); slices.Contains(p.AutoMigrate, k) && d.Kind != TypeSafe {
				return Apply, "auto_migrate"
			}
			return StopTable, "type_mismatches"
		}
	}
	return "", ""
}

// migrate plans what the policy lets run, and waits for approval if it says so.
func (j *Judgement) migrate(apply []TableDifference, policy Policy) {
	if len(apply) == 0 {
		return
	}
	j.Steps = Migrate(apply, policy)
	j.Approval = policy.RequireApproval
	for i := range j.Differences {
		x := &j.Differences[i]
		if x.Final != Apply {
			continue
		}
		for _, s := range j.Steps {
			if s.Kind == x.Kind && s.Column == x.Column && s.Resync {
				x.Final = ResyncTable
			}
		}
		if j.Approval {
			x.Final = StopTable
		}
	}
}

// reason tells the worst differences in one line.
func (j *Judgement) reason() string {
	var out []string
	for _, x := range j.Differences {
		if x.Final != j.Would || x.Final == OK {
			continue
		}
		about := x.Column
		if about == "" {
			about = x.Object
		}
		text := x.Reason
		if about != "" {
			text = about + ": " + text
		}
		if x.Kind == TypeUnsafe || x.Kind == TypeWarn || x.Kind == TypeSafe {
			text = about + ": source " + x.SourceHas + ", destination " + x.TargetHas + ": " + x.Reason
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if j.Approval {
		return "waits for approval: " + strings.Join(out, "; ")
	}
	return strings.Join(out, "; ")
}

// handled lists what going on means for columns.
func (j *Judgement) handled(differences []TableDifference, policy Policy) {
	for i := range differences {
		d := &differences[i]
		switch d.Kind {
		case AddedNull, AddedConstant, AddedVolatile, AddedIdentity, AddedGenerated, AddedNotNull, AddedDomain:
			if action, _ := policy.added(d.Column); policy.Validation == disabled && action != addedSkip {
				continue // left out only if that was asked for: the first row is refused, and stops the table
			}
			if final := j.finalOf(i); final == Warn || final == OK || final == StopTable && policy.WarnOnly {
				j.Skipped = append(j.Skipped, d.Column)
			}
		case RemovedColumn, RemovedRequired:
			switch policy.removed(d.Column) {
			case removedPreserve:
				j.Preserved = append(j.Preserved, d.Column)
			case removedNull:
				j.Nulled = append(j.Nulled, d.Column)
			}
		case TypeSafe:
			if final := j.finalOf(i); !final.Stops() && final != Apply {
				if j.Widened == nil {
					j.Widened = map[string]string{}
				}
				j.Widened[d.Column] = d.TargetHas
			}
		case TypeUnsafe, TypeWarn:
			if final := j.finalOf(i); final == Warn || final == StopTable && policy.WarnOnly {
				if j.Casts == nil {
					j.Casts = map[string]string{}
				}
				j.Casts[d.Column] = d.TargetHas
			}
		}
	}
}

func (j *Judgement) finalOf(i int) Verdict {
	if i < len(j.Differences) {
		return j.Differences[i].Final
	}
	return OK
}
