package apply

import (
	"fmt"
	"strings"

	"github.com/pgdrover/pgdrover/sync/catalog"
	"github.com/pgdrover/pgdrover/sync/stream"
)

// OIDs of built-in types that are treated on their own (catalog/pg_type.dat).
const (
	boolOID        = 16
	byteaOID       = 17
	charOID        = 18
	nameOID        = 19
	int8OID        = 20
	int2OID        = 21
	int4OID        = 23
	textOID        = 25
	oidOID         = 26
	xidOID         = 28
	cidrOID        = 650
	float4OID      = 700
	float8OID      = 701
	macaddr8OID    = 774
	moneyOID       = 790
	macaddrOID     = 829
	inetOID        = 869
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
	uuidOID        = 2950
	pgLSNOID       = 3220
	jsonbOID       = 3802
)

// misfit tells why values of a source's type could change on their way into a
// destination's, "" if they cannot. Domains are resolved.
func misfit(sourceTypes catalog.Types, s catalog.Type, sourceModifier int32, destinationTypes catalog.Types, d catalog.Type, destinationModifier int32) string {
	if !sameType(sourceTypes, s, destinationTypes, d) {
		if !widens(s.OID, d.OID, destinationModifier) {
			return fmt.Sprintf("%s is not %s", s.Name.Name, d.Name.Name)
		}
		return ""
	}
	if !contains(d.OID, sourceModifier, destinationModifier) {
		return fmt.Sprintf("the destination's %s is narrower", d.Name.Name)
	}
	return ""
}

func sameType(sourceTypes catalog.Types, s catalog.Type, destinationTypes catalog.Types, d catalog.Type) bool {
	if s.BuiltIn() || d.BuiltIn() {
		return s.OID == d.OID
	}
	if s.Array && d.Array {
		es, okSource := sourceTypes[s.Element]
		ed, okDestination := destinationTypes[d.Element]
		return okSource && okDestination && sameType(sourceTypes, es, destinationTypes, ed)
	}
	// An extension may be in another schema there.
	return s.Kind == d.Kind && s.Name.Name == d.Name.Name && (s.Name.Schema == d.Name.Schema || s.Extension != "" && d.Extension != "")
}

// using is the USING that ALTER COLUMN TYPE needs to give a destination's column
// the source's type, "" if PostgreSQL casts by itself.
func using(sourceTypes catalog.Types, from stream.RelationColumn, destinationTypes catalog.Types, to catalog.Column, name string) string {
	s, okSource := base(sourceTypes, from.Type)
	d, okDestination := base(destinationTypes, to.Type)
	if okSource && okDestination {
		texts := s.OID == textOID || s.OID == varcharOID || s.OID == bpcharOID        // every type is assigned to them
		alike := s.Category == d.Category && (s.Category == 'N' || s.Category == 'D') // numbers, dates and times
		if texts || alike || sameType(destinationTypes, d, sourceTypes, s) {
			return ""
		}
	}
	return " USING " + name + "::" + typeText(sourceTypes, from.Type, from.Modifier)
}

// widens lists the pairs of types of which every value of the first is a value
// of the second, printed and read back the same.
func widens(from, to uint32, modifier int32) bool {
	switch from {
	case int2OID:
		return to == int4OID || to == int8OID || to == float8OID || to == numericOID && modifier == -1
	case int4OID:
		return to == int8OID || to == float8OID || to == numericOID && modifier == -1
	case int8OID:
		return to == numericOID && modifier == -1
	case varcharOID, textOID, nameOID:
		return to == textOID || to == varcharOID && modifier == -1
	case dateOID:
		return to == timestampOID
	}
	return false
}

// contains tells whether a type with the modifier to holds every value of the same
// type with the modifier from.
func contains(oid uint32, from, to int32) bool {
	if to == -1 || from == to {
		return true
	}
	switch oid {
	case varcharOID, bpcharOID, varbitOID:
		return from != -1 && to >= from
	case timeOID, timetzOID, timestampOID, timestamptzOID:
		const most = 6
		return to >= most || from != -1 && to >= from
	case numericOID:
		if from == -1 {
			return false
		}
		// numeric_typmod_precision and _scale (utils/adt/numeric.c).
		fromPrecision, fromScale := (from-4)>>16&0xffff, numericScale(from)
		toPrecision, toScale := (to-4)>>16&0xffff, numericScale(to)
		return toScale >= fromScale && toPrecision-toScale >= fromPrecision-fromScale
	}
	return false
}

func numericScale(modifier int32) int32 { return (((modifier - 4) & 0x7ff) ^ 1024) - 1024 }

// typeText is format_type for messages and hints.
func typeText(types catalog.Types, oid uint32, modifier int32) string {
	t, ok := types[oid]
	if !ok {
		return fmt.Sprintf("type %d", oid)
	}
	if t.Array {
		return typeText(types, t.Element, modifier) + "[]"
	}
	if !t.BuiltIn() {
		return t.SQL()
	}
	name := t.Name.Name
	if spelled, ok := map[uint32]string{
		bpcharOID: "character", varcharOID: "character varying", int2OID: "smallint", int4OID: "integer", int8OID: "bigint",
		float4OID: "real", float8OID: "double precision", boolOID: "boolean", varbitOID: "bit varying", charOID: `"char"`,
		timestampOID: "timestamp", timestamptzOID: "timestamp with time zone", timetzOID: "time with time zone",
	}[oid]; ok {
		name = spelled
	}
	switch {
	case modifier == -1:
		if oid == bpcharOID || oid == bitOID {
			return t.SQL()
		}
		return name
	case oid == numericOID:
		return fmt.Sprintf("numeric(%d,%d)", (modifier-4)>>16&0xffff, numericScale(modifier))
	case oid == varcharOID, oid == bpcharOID:
		return fmt.Sprintf("%s(%d)", name, modifier-4)
	case oid == bitOID, oid == varbitOID:
		return fmt.Sprintf("%s(%d)", name, modifier)
	case oid == timeOID, oid == timetzOID, oid == timestampOID, oid == timestamptzOID:
		word, rest, _ := strings.Cut(name, " ")
		return strings.TrimSpace(fmt.Sprintf("%s(%d) %s", word, modifier, rest))
	}
	return name
}
