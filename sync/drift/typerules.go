package drift

// Reasons that several pairs of types share.
const (
	everyValueFits = "every value fits"
	outOfRange     = "values beyond the range of the destination's type are refused"
	zone           = "the text carries no zone on one side: what it means depends on the TimeZone of a session"
	longValues     = "longer values are refused, and trailing blanks beyond the length are cut without an error"
	ownText        = "the text arrives as it is; it sorts and compares as text"
	ifItParses     = "text that is no value of the destination's type is refused, row by row; of the others the spelling is lost"
)

// TypeRules has the rule of every pair of types; the first one that matches
// counts. See TypeRule for which side is which.
var TypeRules = []TypeRule{
	// Whole numbers.
	{From: "int2", To: "int4 int8", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "int4", To: "int8", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "int4", To: "int2", Fit: FitRefuses, Reason: outOfRange, Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "int8", To: "int2 int4", Fit: FitRefuses, Reason: outOfRange, Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "int2 int4 int8", To: "numeric", When: "without precision", holds: unconstrained, Fit: FitSafe, Reason: "exact", Cost: Alter{Rewrite: true}},
	{From: "int2 int4 int8", To: "numeric", When: "with room for all digits", holds: room, Fit: FitSafe, Reason: "exact", Cost: Alter{Rewrite: true}},
	{From: "int2 int4 int8", To: "numeric", When: "too small", Fit: FitRefuses, Reason: "numbers of more digits than the precision allows are refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "int2", To: "float4 float8", Fit: FitSafe, Reason: "exact below 2^24", Cost: Alter{Rewrite: true}},
	{From: "int4", To: "float8", Fit: FitSafe, Reason: "exact below 2^53", Cost: Alter{Rewrite: true}},
	{From: "int4 int8", To: "float4", Fit: FitLoses, Reason: "digits are lost above 2^24: 16777217 becomes 16777216", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "int8", To: "float8", Fit: FitLoses, Reason: "digits are lost above 2^53: 9007199254740993 becomes 9007199254740992", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "int4", To: "oid", Fit: FitLoses, Reason: "negative numbers become large ones", Cost: Alter{Reindex: true, Changes: true}},
	{From: "int2 int8", To: "oid", Fit: FitLoses, Reason: "negative numbers become large ones, numbers from 2^32 are refused", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "oid", To: "int8", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "oid", To: "int4", Fit: FitRefuses, Reason: "numbers from 2^31 are refused in the stream; ALTER makes them negative", Cost: Alter{Reindex: true, Changes: true}},
	{From: "int4", To: "bool", Fit: FitRefuses, Reason: "numbers other than 0 and 1 are refused", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.bool", Changes: true}},
	{From: "int2 int8", To: "bool", Fit: FitRefuses, Reason: "numbers other than 0 and 1 are refused", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.int4::pg_catalog.bool", Changes: true, Refuses: true}},
	{From: "bool", To: "int4", Fit: FitRefuses, Reason: "t and f are no numbers", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.int4"}},
	{From: "bool", To: "int2 int8 numeric", Fit: FitRefuses, Reason: "t and f are no numbers", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.int4::@"}},
	{From: "int2", To: "money", Fit: FitLoses, Reason: "how money is read depends on lc_monetary of the server", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.int4::@", Changes: true}},
	{From: "int4 int8 numeric", To: "money", Fit: FitLoses, Reason: "how money is read depends on lc_monetary of the server", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "money", To: "numeric", Fit: FitRefuses, Reason: "the text of money depends on lc_monetary and is no number", Cost: Alter{Rewrite: true}},
	{From: "money", To: "int2 int4 int8 float4 float8", Fit: FitRefuses, Reason: "the text of money depends on lc_monetary and is no number", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.numeric::@", Changes: true, Refuses: true}},

	// Numbers with a point.
	{From: "numeric", To: "numeric", When: "without precision", holds: unconstrained, Fit: FitSafe, Reason: "exact"},
	{From: "numeric", To: "numeric", When: "of a larger precision", holds: sameScale, Fit: FitSafe, Reason: "exact"},
	{From: "numeric", To: "numeric", When: "of a larger scale", holds: largerScale, Fit: FitSafe, Reason: "the number is equal, it is printed with more digits", Cost: Alter{Rewrite: true}},
	{From: "numeric", To: "numeric", When: "narrower", Fit: FitLoses, Reason: "digits beyond the scale are rounded without an error (19.999 becomes 20.00), larger numbers are refused", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "numeric", To: "int2 int4 int8", When: "whole and small enough", holds: whole, Fit: FitWarn, Reason: "every number arrives, NaN would be refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "numeric", To: "int2 int4 int8", When: "with fractions or too large", Fit: FitRefuses, Reason: "19.99 is refused as text; as a cast it becomes 20", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "numeric", To: "float4 float8", Fit: FitLoses, Reason: "digits beyond the type's 6 or 15 are lost", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "float4", To: "float8", Fit: FitWarn, Reason: "the stream's text gives 0.1, a cast 0.10000000149011612: copy the table again after an ALTER", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "float8", To: "float4", Fit: FitLoses, Reason: "digits are lost", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "float4 float8", To: "numeric", When: "without precision", holds: unconstrained, Fit: FitWarn, Reason: "the printed digits arrive; Infinity needs PostgreSQL 14, and a cast keeps 6 or 15 digits only", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "float4 float8", To: "numeric", When: "with precision", Fit: FitLoses, Reason: "digits beyond the scale are rounded without an error, larger numbers are refused", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "float4 float8", To: "int2 int4 int8", Fit: FitRefuses, Reason: "1.5 is refused as text; as a cast it becomes 2", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},

	// Text.
	{From: "varchar", To: "varchar", When: "not shorter", holds: longer, Fit: FitSafe, Reason: everyValueFits},
	{From: "varchar", To: "varchar", When: "shorter", Fit: FitLoses, Reason: longValues, Cost: Alter{Rewrite: true, Refuses: true, Changes: true}},
	{From: "varchar", To: "text", Fit: FitSafe, Reason: everyValueFits},
	{From: "text", To: "varchar", When: "without length", holds: unconstrained, Fit: FitSafe, Reason: everyValueFits},
	{From: "text", To: "varchar", When: "with length", Fit: FitLoses, Reason: longValues, Cost: Alter{Rewrite: true, Refuses: true, Changes: true}},
	{From: "bpchar", To: "bpchar", When: "without length", holds: unconstrained, Fit: FitWarn, Reason: "equal, but padding is kept where new rows have none"},
	{From: "bpchar", To: "bpchar", When: "not shorter", holds: longer, Fit: FitWarn, Reason: "equal, padded to another length", Cost: Alter{Rewrite: true}},
	{From: "bpchar", To: "bpchar", When: "shorter", Fit: FitRefuses, Reason: "longer values are refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "bpchar", To: "text varchar", Fit: FitLoses, Reason: "the stream's text keeps the padding, a cast strips it: what is equal changes", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "text varchar", To: "bpchar", Fit: FitLoses, Reason: "trailing blanks are no longer data, longer values are refused", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "text varchar", To: "citext", Fit: FitWarn, Reason: "values are the same; a unique constraint may refuse what differs in case only", Cost: Alter{Reindex: true}},
	{From: "citext", To: "text", Fit: FitWarn, Reason: "values are the same; a unique constraint lets through what differs in case only", Cost: Alter{Reindex: true}},
	{From: "citext", To: "varchar", When: "without length", holds: unconstrained, Fit: FitWarn, Reason: "values are the same; a unique constraint lets through what differs in case only", Cost: Alter{Reindex: true}},
	{From: "name", To: "text varchar", When: "without length", holds: unconstrained, Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "text varchar", To: "name", Fit: FitLoses, Reason: "text is cut at 63 bytes without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "char", To: "text", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "text varchar", To: "char", Fit: FitLoses, Reason: "text is cut at one byte without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "bytea", To: "text varchar", Fit: FitLoses, Reason: "the text is that of bytea_output, not the bytes", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "text varchar", To: "bytea", Fit: FitLoses, Reason: "backslashes are taken for escapes, or refused", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.bytea", Changes: true, Refuses: true}},
	{From: "bool", To: "text varchar", Fit: FitLoses, Reason: "the stream brings t and f, ALTER makes true and false: rows of both forms would be mixed", Cost: Alter{Rewrite: true, Changes: true}},

	// Dates and times.
	{From: "timestamp", To: "timestamp", When: "not coarser", holds: finer, Fit: FitSafe, Reason: everyValueFits},
	{From: "timestamptz", To: "timestamptz", When: "not coarser", holds: finer, Fit: FitSafe, Reason: everyValueFits},
	{From: "time", To: "time", When: "not coarser", holds: finer, Fit: FitSafe, Reason: everyValueFits},
	{From: "timetz", To: "timetz", When: "not coarser", holds: finer, Fit: FitSafe, Reason: everyValueFits},
	{From: "timestamp timestamptz time timetz", To: "timestamp timestamptz time timetz", When: "coarser", holds: sameClass, Fit: FitLoses, Reason: "fractions of seconds are rounded without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "timestamp", To: "timestamptz", Fit: FitLoses, Reason: zone, Cost: Alter{Reindex: true, Changes: true}},
	{From: "timestamptz", To: "timestamp", Fit: FitLoses, Reason: zone, Cost: Alter{Reindex: true, Changes: true}},
	{From: "timestamp timestamptz", To: "date", Fit: FitLoses, Reason: "the time of day is cut without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "timestamp timestamptz", To: "time", Fit: FitLoses, Reason: "the day is cut without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "timestamptz", To: "timetz", Fit: FitLoses, Reason: "the day is cut without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "timestamp", To: "timetz", Fit: FitLoses, Reason: zone, Cost: Alter{Rewrite: true, Using: "$::pg_catalog.timestamptz::@", Changes: true}},
	{From: "date", To: "timestamp", Fit: FitWarn, Reason: "days after the year 294276 are refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "date", To: "timestamptz", Fit: FitLoses, Reason: zone, Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "time", To: "timetz", Fit: FitLoses, Reason: zone, Cost: Alter{Rewrite: true, Changes: true}},
	{From: "timetz", To: "time", Fit: FitLoses, Reason: "the zone is cut without an error", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "time", To: "interval", When: "of all fields and digits", holds: unconstrained, Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "interval", To: "time", Fit: FitRefuses, Reason: "a day or more is refused; a cast cuts days", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "interval", To: "interval", When: "with all its fields and digits", holds: intervalHolds, Fit: FitSafe, Reason: everyValueFits},
	{From: "interval", To: "interval", When: "with fewer fields or digits", Fit: FitLoses, Reason: "fields and digits are cut without an error", Cost: Alter{Rewrite: true, Changes: true}},

	// Documents.
	{From: "json", To: "jsonb", Fit: FitWarn, Reason: "duplicate keys, the order of keys and spaces are lost; \\u0000 is refused", Cost: Alter{Rewrite: true, Changes: true, Refuses: true}},
	{From: "jsonb", To: "json", Fit: FitSafe, Reason: "every document arrives as it is printed", Cost: Alter{Rewrite: true}},
	{From: "json jsonb", To: "text", Fit: FitWarn, Reason: ownText, Cost: Alter{Rewrite: true}},
	{From: "xml", To: "text", Fit: FitSafe, Reason: "the text is the same"},

	// Networks, bits.
	{From: "cidr", To: "inet", Fit: FitSafe, Reason: everyValueFits},
	{From: "inet", To: "cidr", Fit: FitRefuses, Reason: "addresses with bits right of the mask are refused; ALTER zeroes them", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "macaddr", To: "macaddr8", Fit: FitLoses, Reason: "the address gets two bytes more: it is printed and compared otherwise", Cost: Alter{Rewrite: true, Changes: true}},
	{From: "macaddr8", To: "macaddr", Fit: FitRefuses, Reason: "addresses of eight bytes are refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "bit", To: "bit", Fit: FitRefuses, Reason: "only strings of exactly that many bits are taken", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "varbit", To: "varbit", When: "not shorter", holds: longer, Fit: FitSafe, Reason: everyValueFits},
	{From: "varbit", To: "varbit", When: "shorter", Fit: FitRefuses, Reason: "longer strings are refused", Cost: Alter{Rewrite: true, Refuses: true}},
	{From: "bit", To: "varbit", When: "without length", holds: unconstrained, Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Reindex: true}},
	{From: "bit", To: "varbit", When: "not shorter", holds: longer, Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true}},
	{From: "varbit", To: "bit", Fit: FitRefuses, Reason: "only strings of exactly that many bits are taken", Cost: Alter{Rewrite: true, Refuses: true}},

	// Ranges over whole numbers: the text is that of the wider type too.
	{From: "int4range", To: "int8range", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@"}},
	{From: "int4multirange", To: "int8multirange", Fit: FitSafe, Reason: everyValueFits, Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@"}},
	{From: "tsrange", To: "tstzrange", Fit: FitLoses, Reason: zone, Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@", Changes: true}},

	// Labels.
	{From: "enum", To: "text", Fit: FitSafe, Reason: "labels arrive as text; they sort by letters", Cost: Alter{Rewrite: true}},
	{From: "enum", To: "varchar", When: "without length", holds: unconstrained, Fit: FitSafe, Reason: "labels arrive as text; they sort by letters", Cost: Alter{Rewrite: true}},
	{From: "enum", To: "enum", When: "with all labels", holds: allLabels, Fit: FitWarn, Reason: "every label is known; they may sort otherwise", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@"}},
	{From: "any", To: "enum", Fit: FitRefuses, Reason: "labels that the destination's type does not have are refused", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@", Refuses: true}},

	// What is left.
	{From: "any", To: "text", Fit: FitWarn, Reason: ownText, Cost: Alter{Rewrite: true}},
	{From: "any", To: "varchar", When: "without length", holds: unconstrained, Fit: FitWarn, Reason: ownText, Cost: Alter{Rewrite: true}},
	{From: "any", To: "varchar bpchar", Fit: FitLoses, Reason: longValues, Cost: Alter{Rewrite: true, Refuses: true, Changes: true}},
	{From: "text varchar bpchar citext", To: "any", Fit: FitLoses, Reason: ifItParses, Cost: Alter{Rewrite: true, Using: "$::@", Refuses: true, Changes: true}},
	{From: "any", To: "any", Fit: FitLoses, Reason: "the text of one type is refused by the other, or means something else there (1 is a second for interval)", Cost: Alter{Rewrite: true, Using: "$::pg_catalog.text::@", Refuses: true, Changes: true}},
}

func sameClass(from, to Type) bool { return from.class() == to.class() }
