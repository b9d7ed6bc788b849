package catalog

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Type is what has to be known of a type to pass its values from one database
// to another.
type Type struct {
	OID       uint32
	Name      Name
	Kind      byte   // typtype: 'b', 'c', 'd', 'e', 'r', 'm', 'p'
	Category  byte   // typcategory: 'A' array, 'N' number, 'S' string, ...
	Element   uint32 // of an array or another subscriptable type of fixed form, 0 if none
	Array     bool   // a true array: its binary form names its element's OID
	ArrayOID  uint32 // the type of arrays of it, 0 if there is none
	Base      uint32 // of a domain
	Subtype   uint32 // of a range; the range of a multirange
	Fields    []Field
	Binary    bool   // it has a send and a receive function
	Extension string // "citext 1.6", "" for none
}

// Field is one attribute of a composite type.
type Field struct {
	Name string
	Type uint32
}

// Types are the types of one database by their OID.
type Types map[uint32]Type

// BuiltIn tells whether a type is PostgreSQL's own: its OID is then the same in
// every database and every version (access/transam.h, FirstGenbkiObjectId).
func (t Type) BuiltIn() bool { return t.OID < 10000 }

// SQL is the type's name as SQL spells it where any search_path may be in
// force. In contrast to format_type it never means a length: "bit" is not
// bit(1), "bpchar" not char(1).
func (t Type) SQL() string {
	return `"` + strings.ReplaceAll(t.Name.Schema, `"`, `""`) + `"."` + strings.ReplaceAll(t.Name.Name, `"`, `""`) + `"`
}

// ReadTypes describes the given types and all that they are made of.
func ReadTypes(ctx context.Context, conn *pgx.Conn, oids []uint32) (Types, error) {
	out := Types{}
	for len(oids) > 0 {
		found, err := readTypes(ctx, conn, oids)
		if err != nil {
			return nil, fmt.Errorf("read types: %w", err)
		}
		oids = nil
		for _, t := range found {
			out[t.OID] = t
		}
		for _, t := range found {
			for _, part := range t.parts() {
				if _, known := out[part]; !known {
					oids = append(oids, part)
				}
			}
		}
	}
	return out, nil
}

// parts are the types that t is made of.
func (t Type) parts() []uint32 {
	var out []uint32
	for _, oid := range []uint32{t.Element, t.Base, t.Subtype} {
		if oid != 0 {
			out = append(out, oid)
		}
	}
	for _, f := range t.Fields {
		out = append(out, f.Type)
	}
	return out
}

// readTypes describes types, without what they are made of: types are nested in
// few steps, and a recursive query would be taken for so expensive that
// compiling it (jit) costs more than all of them.
func readTypes(ctx context.Context, conn *pgx.Conn, oids []uint32) ([]Type, error) {
	rows, err := conn.Query(ctx, `
SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, t.typcategory::text, t.typelem,
       t.typsubscript = 'array_subscript_handler'::regproc, t.typarray, t.typbasetype,
       coalesce((SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid),
                (SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid), 0),
       t.typsend <> 0 AND t.typreceive <> 0,
       coalesce((SELECT e.extname::text || ' ' || e.extversion FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                 WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'), ''),
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid = ANY ($1::oid[])`, oids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Type, err error) {
		var kind, category string
		var fields []string
		var fieldTypes []uint32
		err = row.Scan(&t.OID, &t.Name.Schema, &t.Name.Name, &kind, &category, &t.Element, &t.Array, &t.ArrayOID, &t.Base, &t.Subtype,
			&t.Binary, &t.Extension, &fields, &fieldTypes)
		if err != nil {
			return t, err
		}
		t.Kind, t.Category = kind[0], category[0]
		for i := range fields {
			t.Fields = append(t.Fields, Field{Name: fields[i], Type: fieldTypes[i]})
		}
		return t, nil
	})
}

// BinaryUnsafe tells why values of a source's type cannot be passed in binary
// form to a destination's type: "" if they can. Arrays and composites carry the
// OIDs of what they are made of, which differ between databases for types that
// a user made; anything of differing types goes as text.
func BinaryUnsafe(source Types, from uint32, destination Types, to uint32) string {
	s, ok := source[from]
	if !ok {
		return fmt.Sprintf("type %d of the source is not known", from)
	}
	d, ok := destination[to]
	if !ok {
		return fmt.Sprintf("type %d of the destination is not known", to)
	}
	return unsafe(source, s, destination, d)
}

// namesObject has the types whose values are written as the name of a database
// object and sent as its OID, which is another one in another database: regproc,
// regprocedure, regoper, regoperator, regclass, regcollation, regtype,
// regconfig, regdictionary, regnamespace, regrole.
var namesObject = map[uint32]bool{
	24: true, 2202: true, 2203: true, 2204: true, 2205: true, 4191: true, 2206: true, 3734: true, 3769: true, 4089: true, 4096: true,
}

func unsafe(source Types, s Type, destination Types, d Type) string {
	// A domain is sent as what it is made of.
	for s.Kind == 'd' && s.Base != 0 {
		s = source[s.Base]
	}
	for d.Kind == 'd' && d.Base != 0 {
		d = destination[d.Base]
	}
	switch {
	case s.BuiltIn() && s.OID != d.OID, !s.BuiltIn() && (s.Name != d.Name || s.Kind != d.Kind):
		return fmt.Sprintf("%s becomes %s", s.Name.Name, d.Name.Name)
	case !s.Binary || !d.Binary:
		return s.Name.Name + " has no binary form"
	case namesObject[s.OID]:
		return s.Name.Name + " is an OID in binary form"
	case s.OID == 22, s.OID == 30, s.OID == 3615:
		// int2vectorrecv refuses what int2vectorsend makes of an empty one, and
		// tsqueryrecv likewise.
		return s.Name.Name + " cannot be read in binary form when it is empty"
	case s.Extension != d.Extension:
		return fmt.Sprintf("%s is of %s, there of %s", s.Name.Name, s.Extension, d.Extension)
	case s.Array:
		e := source[s.Element]
		if !e.BuiltIn() {
			return fmt.Sprintf("arrays of %s carry its OID", e.Name.Name)
		}
		return unsafe(source, e, destination, destination[d.Element])
	case s.Kind == 'c':
		return unsafeComposite(source, s, destination, d)
	case s.Kind == 'r', s.Kind == 'm':
		return unsafe(source, source[s.Subtype], destination, destination[d.Subtype])
	}
	return ""
}

func unsafeComposite(source Types, s Type, destination Types, d Type) string {
	if len(s.Fields) != len(d.Fields) {
		return fmt.Sprintf("%s has %d fields, there %d", s.Name.Name, len(s.Fields), len(d.Fields))
	}
	for i, f := range s.Fields {
		if field := source[f.Type]; !field.BuiltIn() {
			return fmt.Sprintf("%s carries the OID of %s", s.Name.Name, field.Name.Name)
		}
		if why := unsafe(source, source[f.Type], destination, destination[d.Fields[i].Type]); why != "" {
			return why
		}
	}
	return ""
}
