package mapping

// OIDs of PostgreSQL's own types that are named here (catalog/pg_type.dat).
const (
	boolOID        = 16
	charOID        = 18
	nameOID        = 19
	int8OID        = 20
	int2OID        = 21
	int4OID        = 23
	textOID        = 25
	oidOID         = 26
	jsonOID        = 114
	xmlOID         = 142
	pointOID       = 600
	lsegOID        = 601
	pathOID        = 602
	boxOID         = 603
	polygonOID     = 604
	cidrOID        = 650
	float4OID      = 700
	float8OID      = 701
	circleOID      = 718
	macaddr8OID    = 774
	moneyOID       = 790
	macaddrOID     = 829
	inetOID        = 869
	aclitemOID     = 1033
	bpcharOID      = 1042
	varcharOID     = 1043
	dateOID        = 1082
	timeOID        = 1083
	timestampOID   = 1114
	timestamptzOID = 1184
	intervalOID    = 1186
	timetzOID      = 1266
	bitOID         = 1560
	varbitOID      = 1562
	numericOID     = 1700
	jsonbOID       = 3802
)

// prints are the types that the text of every other can be cast to.
var prints = map[uint32]bool{textOID: true, varcharOID: true, bpcharOID: true}

// reads are the types whose values any other type can be read from.
var reads = map[uint32]bool{textOID: true, varcharOID: true, bpcharOID: true, nameOID: true}

// momentary are the types whose texts may mean the moment at which they are
// read: 'now', 'today', 'tomorrow' (utils/adt/datetime.c, datetktbl), and the
// ranges and multiranges of them.
var momentary = map[uint32]bool{
	dateOID: true, timeOID: true, timestampOID: true, timestamptzOID: true, timetzOID: true,
	3908: true, 3910: true, 3912: true, 4533: true, 4534: true, 4535: true,
}

// changing are the types whose casts depend on what no session can pin, or on
// what else is in the database.
var changing = func() map[uint32]string {
	out := map[uint32]string{
		moneyOID:   "its casts depend on lc_monetary",
		aclitemOID: "it names roles, which are others in another cluster",
		xmlOID:     "what it accepts depends on the server's libxml",
	}
	for _, oid := range []uint32{24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191} {
		out[oid] = "it means an object of one database"
	}
	return out
}()

// casts are PostgreSQL's casts between types of its own that give the same on
// every server: immutable ones, and those that depend on nothing but TimeZone,
// which is UTC in every session of ours. The value tells whether different
// values stay different. Casts to and from texts are not in it.
var casts = map[[2]uint32]bool{
	{int2OID, int4OID}: true, {int2OID, int8OID}: true, {int2OID, float4OID}: true, {int2OID, float8OID}: true, {int2OID, numericOID}: true,
	{int4OID, int2OID}: true, {int4OID, int8OID}: true, {int4OID, float4OID}: false, {int4OID, float8OID}: true, {int4OID, numericOID}: true,
	{int8OID, int2OID}: true, {int8OID, int4OID}: true, {int8OID, float4OID}: false, {int8OID, float8OID}: false, {int8OID, numericOID}: true,
	{int2OID, oidOID}: true, {int4OID, oidOID}: true, {int8OID, oidOID}: true, {oidOID, int4OID}: true, {oidOID, int8OID}: true,
	{int4OID, boolOID}: false, {boolOID, int4OID}: true, {int4OID, charOID}: true, {charOID, int4OID}: true,
	{int4OID, bitOID}: false, {int8OID, bitOID}: false, {bitOID, int4OID}: false, {bitOID, int8OID}: false,
	{bitOID, varbitOID}: true, {varbitOID, bitOID}: false,

	{numericOID, int2OID}: false, {numericOID, int4OID}: false, {numericOID, int8OID}: false, {numericOID, float4OID}: false, {numericOID, float8OID}: false,
	{float4OID, int2OID}: false, {float4OID, int4OID}: false, {float4OID, int8OID}: false, {float4OID, float8OID}: true, {float4OID, numericOID}: false,
	{float8OID, int2OID}: false, {float8OID, int4OID}: false, {float8OID, int8OID}: false, {float8OID, float4OID}: false, {float8OID, numericOID}: false,

	{dateOID, timestampOID}: true, {dateOID, timestamptzOID}: true, {timeOID, intervalOID}: true, {timeOID, timetzOID}: true,
	{timestampOID, dateOID}: false, {timestampOID, timeOID}: false, {timestampOID, timestamptzOID}: true,
	{timestamptzOID, dateOID}: false, {timestamptzOID, timeOID}: false, {timestamptzOID, timestampOID}: true, {timestamptzOID, timetzOID}: false,
	{intervalOID, timeOID}: false, {timetzOID, timeOID}: false,

	{jsonOID, jsonbOID}: false, {jsonbOID, jsonOID}: true,
	{jsonbOID, boolOID}: false, {jsonbOID, int2OID}: false, {jsonbOID, int4OID}: false, {jsonbOID, int8OID}: false,
	{jsonbOID, float4OID}: false, {jsonbOID, float8OID}: false, {jsonbOID, numericOID}: false,

	{cidrOID, inetOID}: true, {inetOID, cidrOID}: false, {macaddrOID, macaddr8OID}: true, {macaddr8OID, macaddrOID}: false,
	{pointOID, boxOID}: false, {lsegOID, pointOID}: false, {pathOID, polygonOID}: false, {boxOID, pointOID}: false, {boxOID, lsegOID}: false,
	{boxOID, polygonOID}: false, {boxOID, circleOID}: false, {polygonOID, pointOID}: false, {polygonOID, pathOID}: false, {polygonOID, boxOID}: false,
	{polygonOID, circleOID}: false, {circleOID, pointOID}: false, {circleOID, boxOID}: false, // circle as polygon depends on the C library's sine

	{3904, 4451}: true, {3906, 4532}: true, {3908, 4533}: true, {3910, 4534}: true, {3912, 4535}: true, {3926, 4536}: true, // a range as a multirange
	{5069, 28}: false, // xid8 as xid
}
