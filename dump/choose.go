package dump

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Need is a server that pg_dump must be able to dump: one of its own major
// version or an older one.
type Need struct {
	Major int    // the server's major version
	Of    string // who needs it: `"prod_new" shard 0`
}

// Choose gives the newest usable pg_dump whose major version is at least that
// of every need. A released version is taken rather than a beta. If there is
// none, the error is 58P01 and lists what was found and what is needed.
func Choose(f Finding, needs []Need) (Binary, error) {
	wanted := oldestMajor
	for _, need := range needs {
		wanted = max(wanted, need.Major)
	}
	var best Binary
	for _, candidate := range f.Candidates {
		if candidate.Problem == "" && candidate.Major >= wanted && (best.Path == "" || best.worseThan(candidate.Binary)) {
			best = candidate.Binary
		}
	}
	if best.Path != "" {
		return best, nil
	}
	return Binary{}, noneFits(f, needs, wanted)
}

func (b Binary) worseThan(other Binary) bool {
	released, otherReleased := b.rank.stage == stageReleased, other.rank.stage == stageReleased
	if released != otherReleased {
		return otherReleased
	}
	return b.rank.before(other.rank)
}

func noneFits(f Finding, needs []Need, wanted int) error {
	err := pgerror.New(pgerror.UndefinedFile, "pg_dump %d or newer is needed, and none was found", wanted)
	if f.Configured != "" {
		err = pgerror.New(pgerror.UndefinedFile, "pg_dump %d or newer is needed, and the configured one is older", wanted)
	}
	var detail strings.Builder
	detail.WriteString("Found:")
	for _, candidate := range f.Candidates {
		fmt.Fprintf(&detail, "\n  %s", candidate.Path)
		if candidate.Version != "" {
			fmt.Fprintf(&detail, ": %s", candidate.Version)
		}
		if candidate.Problem != "" {
			fmt.Fprintf(&detail, ": %s", candidate.Problem)
		}
	}
	if len(f.Candidates) == 0 {
		detail.WriteString(" no pg_dump on PATH nor where packages put it.")
	}
	detail.WriteString("\nNeeded:")
	for _, need := range needs {
		fmt.Fprintf(&detail, "\n  %d by %s", need.Major, need.Of)
	}
	if len(needs) == 0 {
		fmt.Fprintf(&detail, "\n  %d by pgdrover itself", wanted)
	}
	return err.WithDetail("%s", detail.String()).WithHint(
		"run: apt-get install postgresql-client-%d (Red Hat: dnf install postgresql%d; macOS: brew install postgresql@%d), or set [replication] pg_dump_path in pgdog.toml",
		wanted, wanted, wanted)
}
