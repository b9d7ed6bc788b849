package dump

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
)

func TestKindTableIsComplete(t *testing.T) {
	source, err := os.ReadFile("kind.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []Kind
	for _, m := range regexp.MustCompile(`(?m)^\tKind\w+ +Kind = "(.*)"$`).FindAllSubmatch(source, -1) {
		declared = append(declared, Kind(m[1]))
	}
	if len(declared) < 60 {
		t.Fatalf("only %d kinds found in kind.go", len(declared))
	}
	var listed []Kind
	for _, info := range Kinds() {
		listed = append(listed, info.Kind)
		if info.Why == "" || info.Phase == PostCutover {
			t.Errorf("%s: phase %s, why %q", info.Kind, info.Phase, info.Why)
		}
		if phase, err := PhaseOf(info.Kind); err != nil || phase != info.Phase {
			t.Errorf("PhaseOf(%s) = %v, %v", info.Kind, phase, err)
		}
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared %q\nlisted   %q", declared, listed)
	}
}

func TestPhaseOfUnknownKind(t *testing.T) {
	phase, err := PhaseOf("PROPERTY GRAPH")
	if phase != NoPhase || pgerror.Code(err) != pgerror.FeatureNotSupported || !strings.Contains(err.Error(), `"PROPERTY GRAPH"`) {
		t.Errorf("%v, %v", phase, err)
	}
}

func TestPhaseOf(t *testing.T) {
	tests := map[Kind]Phase{
		KindEncoding: Session, KindTable: PreData, KindComment: PreData, KindConstraint: PreData, KindPublicationTable: PreData,
		KindIndex: PostData, KindForeignKey: PostData, KindDefaultACL: PostData, KindSubscription: PostData, KindRowSecurity: PostData,
		KindEventTrigger: Cutover, KindSequenceSet: Cutover,
		KindDatabase: NoPhase, KindTableData: NoPhase, KindStatisticsData: NoPhase, KindMaterializedViewData: NoPhase,
	}
	for kind, want := range tests {
		if got, err := PhaseOf(kind); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", kind, got, err, want)
		}
	}
}

// Every kind that an installed pg_dump has in its words is in the table. The
// words of its program text that look like kinds and are none are listed here.
func TestInstalledPgDumpHasNoOtherKinds(t *testing.T) {
	finding, err := Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, candidate := range finding.Candidates {
		if candidate.Problem != "" {
			continue
		}
		program, err := os.ReadFile(candidate.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(program, []byte("\x00TABLE ATTACH\x00")) {
			continue // a wrapper, or a linker that stores strings in another way
		}
		ending := regexp.MustCompile(`\x00([A-Z]+(?: [A-Z]+)* (?:ACL|ATTACH|CLASS|COMMENTS|CONFIGURATION|CONSTRAINT|DATA|DICTIONARY|FAMILY|GRAPH|LABEL|MAPPING|METADATA|METHOD|PARSER|PROPERTIES|SECURITY|SCHEMA|SET|TEMPLATE|TRIGGER|TYPE|VIEW|WRAPPER))\x00`)
		for _, m := range ending.FindAllSubmatch(program, -1) {
			word := string(m[1])
			if strings.HasPrefix(word, "CREATE ") || strings.HasPrefix(word, "DROP ") || strings.HasPrefix(word, "ALTER ") {
				continue
			}
			if _, err := PhaseOf(Kind(word)); err != nil {
				t.Errorf("%s: %v", candidate.Path, err)
			}
		}
		checked++
	}
	if checked == 0 {
		t.Skip("no pg_dump whose words can be read is installed")
	}
}

func TestParsePhase(t *testing.T) {
	tests := map[string]Phase{
		"PRE": PreData, "pre": PreData, "Pre_Data": PreData, "pre-data": PreData, "POST": PostData, "post_data": PostData,
		"CUTOVER": Cutover, "cutover": Cutover, "POST_CUTOVER": PostCutover, "Post-Cutover": PostCutover,
	}
	for text, want := range tests {
		if got, err := ParsePhase(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "none", "session", "pre data", "prex"} {
		if got, err := ParsePhase(text); pgerror.Code(err) != pgerror.InvalidParameterValue || got != NoPhase {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, phase := range []Phase{PreData, PostData, Cutover, PostCutover} {
		if got, err := ParsePhase(phase.String()); got != phase || err != nil {
			t.Errorf("%v: %v, %v", phase, got, err)
		}
	}
	if got := Phase(99).String() + Phase(-1).String() + NoPhase.String() + Session.String(); got != "invalidinvalidnonesession" {
		t.Error(got)
	}
}
