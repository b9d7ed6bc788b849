package dump

import (
	"slices"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// Phase is the part of a schema sync in which a statement runs.
type Phase int

// The phases in the order in which they run. Session is no phase of its own:
// its entries are settings that every connection has already. NoPhase marks
// what is never executed.
const (
	Session Phase = iota
	PreData
	PostData
	Cutover
	PostCutover
	NoPhase
)

var phaseNames = [...]string{
	Session:     "session",
	PreData:     "pre_data",
	PostData:    "post_data",
	Cutover:     "cutover",
	PostCutover: "post_cutover",
	NoPhase:     "none",
}

// String gives the phase's name: session, pre_data, post_data, cutover,
// post_cutover or none.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "invalid"
	}
	return phaseNames[p]
}

// ParsePhase reads a phase as an operator writes it: PRE, POST, CUTOVER,
// POST_CUTOVER or the names PRE_DATA and POST_DATA, in any case and with either
// an underscore or a hyphen. The error is 22023.
func ParsePhase(text string) (Phase, error) {
	switch strings.ReplaceAll(strings.ToLower(text), "-", "_") {
	case "pre", "pre_data":
		return PreData, nil
	case "post", "post_data":
		return PostData, nil
	case "cutover":
		return Cutover, nil
	case "post_cutover":
		return PostCutover, nil
	}
	return NoPhase, pgerror.New(pgerror.InvalidParameterValue, "unknown phase %q", text).
		WithHint("the phases are PRE, POST, CUTOVER and POST_CUTOVER")
}

// KindInfo says in which phase a kind of object is created, and why.
type KindInfo struct {
	Kind  Kind
	Phase Phase
	Why   string // one line; for NoPhase the reason for never running it
}

// Reasons that several kinds share.
const (
	whyTablesNeedIt  = "tables, their columns and defaults may need it"
	whyFollowsObject = "belongs to another object and follows it; runs no earlier than that"
	whyTextSearch    = "generated columns and indexes may need it"
	whyRowsLater     = "rows are copied, not dumped: a schema-only archive has none"
	whyLargeObject   = "large objects are data, not schema"
	whyWholeDatabase = "the destination database exists and keeps its own properties"
)

// kindTable is the one place that says what happens with a kind of object.
var kindTable = []KindInfo{
	{KindEncoding, Session, "client_encoding is UTF8 on every connection"},
	{KindStdStrings, Session, "standard_conforming_strings is on in every connection"},
	{KindSearchPath, Session, "every name is qualified: search_path is empty on every connection"},

	{KindSchema, PreData, "everything else lives in one"},
	{KindExtension, PreData, "its types and functions are used by tables"},
	{KindAccessMethod, PreData, "tables and operator classes may use it"},
	{KindShellType, PreData, "the functions of a base type need it first"},
	{KindType, PreData, whyTablesNeedIt},
	{KindDomain, PreData, whyTablesNeedIt},
	{KindCollation, PreData, whyTablesNeedIt},
	{KindConversion, PreData, "changes no row; stands alone"},
	{KindProceduralLanguage, PreData, "functions are written in it"},
	{KindTransform, PreData, "functions are compiled with it"},
	{KindFunction, PreData, "defaults, generated columns, constraints and views call it"},
	{KindProcedure, PreData, "created like a function"},
	{KindAggregate, PreData, "views call it"},
	{KindCast, PreData, "defaults and views use it"},
	{KindOperator, PreData, "operator classes, views and constraints use it"},
	{KindOperatorFamily, PreData, "operator classes belong to it"},
	{KindOperatorClass, PreData, "range types and keys use it"},
	{KindTextSearchParser, PreData, whyTextSearch},
	{KindTextSearchTemplate, PreData, whyTextSearch},
	{KindTextSearchDictionary, PreData, whyTextSearch},
	{KindTextSearchConfiguration, PreData, whyTextSearch},
	{KindForeignDataWrapper, PreData, "servers belong to it"},
	{KindServer, PreData, "foreign tables belong to it"},
	{KindUserMapping, PreData, "foreign tables are read through it"},
	{KindForeignTable, PreData, "views and partitions may use it"},
	{KindSequence, PreData, "column defaults draw from it"},
	{KindTable, PreData, "rows need it"},
	{KindSequenceOwnedBy, PreData, "ties a sequence to the column that draws from it"},
	{KindDefault, PreData, "rows written during the sync need it"},
	{KindTableAttach, PreData, "rows are routed to partitions"},
	{KindView, PreData, "functions and other views use it"},
	{KindMaterializedView, PreData, "created WITH NO DATA; filled after the rows"},
	{KindConstraint, PreData, "a primary key is needed to apply changes; unique, exclusion and NOT VALID not-null constraints may wait"},
	{KindPublication, PreData, "recorded before rows, so that the new cluster can be a source"},
	{KindPublicationTable, PreData, "belongs to its publication"},
	{KindPublicationTablesInSchema, PreData, "belongs to its publication"},
	{KindACL, PreData, whyFollowsObject},
	{KindACLLanguage, PreData, whyFollowsObject},
	{KindComment, PreData, whyFollowsObject},
	{KindSecurityLabel, PreData, whyFollowsObject},

	{KindIndex, PostData, "faster to build over rows than to keep up to date under them"},
	{KindIndexAttach, PostData, "needs the indexes of parent and partition"},
	{KindStatistics, PostData, "empty until ANALYZE sees rows"},
	{KindCheckConstraint, PostData, "checked over the rows, or added NOT VALID"},
	{KindForeignKey, PostData, "parent and child rows arrive in any order"},
	{KindTrigger, PostData, "copied rows must not fire it"},
	{KindRule, PostData, "copied rows must not be rewritten by it"},
	{KindRowSecurity, PostData, "copied rows must not be filtered by it"},
	{KindPolicy, PostData, "has an effect only under row security"},
	{KindSubscription, PostData, "its tables and their keys must exist"},
	{KindDefaultACL, PostData, "last: it would add grants to whatever is created after it"},

	{KindEventTrigger, Cutover, "would fire on the sync's own DDL"},
	{KindSequenceSet, Cutover, "the value is right only behind the fence"},

	{KindDatabase, NoPhase, whyWholeDatabase},
	{KindDatabaseProperties, NoPhase, whyWholeDatabase},
	{KindTableData, NoPhase, whyRowsLater},
	{KindMaterializedViewData, NoPhase, "refreshed after the rows, by a statement of our own"},
	{KindStatisticsData, NoPhase, "ANALYZE makes statistics that fit the destination"},
	{KindSubscriptionTable, NoPhase, "state of a running subscription, written for pg_upgrade alone"},
	{KindLargeObject, NoPhase, whyLargeObject},
	{KindLargeObjectTable, NoPhase, "the large objects' catalog, written for pg_upgrade alone"},
	{KindBlob, NoPhase, whyLargeObject},
	{KindBlobs, NoPhase, whyLargeObject},
	{KindBlobMetadata, NoPhase, whyLargeObject},
	{KindBlobComments, NoPhase, whyLargeObject},
}

var kindIndex = func() map[Kind]KindInfo {
	index := make(map[Kind]KindInfo, len(kindTable))
	for _, info := range kindTable {
		index[info.Kind] = info
	}
	return index
}()

// PhaseOf gives the phase in which objects of kind k are created, before an
// object's dependencies are looked at: those can only move it to a later one.
// A kind that is not in the table is a *pgerror.Error 0A000: running or leaving
// out what nobody thought about would both be wrong.
func PhaseOf(k Kind) (Phase, error) {
	info, known := kindIndex[k]
	if !known {
		return NoPhase, pgerror.New(pgerror.FeatureNotSupported, "unknown kind of object in the archive: %q", string(k)).
			WithDetail("This pg_dump writes a kind of object that this version of pgdrover does not know.").
			WithHint("use an older pg_dump ([replication] pg_dump_path), or a newer pgdrover")
	}
	return info.Phase, nil
}

// Kinds gives every known kind with its phase, in the table's order.
func Kinds() []KindInfo { return slices.Clone(kindTable) }
