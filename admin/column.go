package admin

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ColumnType is a PostgreSQL type of a result column.
type ColumnType string

// The types of the commands' columns.
const (
	Text        ColumnType = "text"
	Int8        ColumnType = "int8"
	Bool        ColumnType = "bool"
	Timestamptz ColumnType = "timestamptz"
	Float8      ColumnType = "float8"
)

// Types that only the answers to drivers' own questions have.
const (
	int2Type ColumnType = "int2"
	int4Type ColumnType = "int4"
	oidType  ColumnType = "oid"
	nameType ColumnType = "name"
	charType ColumnType = "char"
)

// columnTypes has the OID of pg_type and its typlen.
var columnTypes = map[ColumnType]struct {
	oid  uint32
	size int16
}{
	Text: {textOID, -1}, Int8: {int8OID, 8}, Bool: {16, 1}, Timestamptz: {1184, 8}, Float8: {701, 8},
	int2Type: {21, 2}, int4Type: {23, 4}, oidType: {26, 4}, nameType: {19, 64}, charType: {18, 1},
}

// Column is one column of a result.
type Column struct {
	Name    string
	Type    ColumnType
	Meaning string // for SHOW HELP and the reference
}

// rowDescription describes columns as they will be sent in formats.
func rowDescription(columns []Column, formats []int16) *pgproto3.RowDescription {
	fields := make([]pgproto3.FieldDescription, len(columns))
	for i, c := range columns {
		t := columnTypes[c.Type]
		fields[i] = pgproto3.FieldDescription{
			Name: []byte(c.Name), DataTypeOID: t.oid, DataTypeSize: t.size, TypeModifier: -1, Format: formatOf(formats, i),
		}
	}
	return &pgproto3.RowDescription{Fields: fields}
}

// formatOf gives the format of field i by the protocol's rule: no code means
// text for all, one code holds for all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return pgproto3.TextFormat
	case len(formats) == 1:
		return formats[0]
	}
	return formats[i]
}

// encodeRow gives a row's bytes in formats.
func encodeRow(columns []Column, row []any, formats []int16) (*pgproto3.DataRow, error) {
	if len(row) != len(columns) {
		return nil, fmt.Errorf("row has %d values for %d columns", len(row), len(columns))
	}
	values := make([][]byte, len(row))
	for i, v := range row {
		if v == nil {
			continue
		}
		var err error
		if formatOf(formats, i) == pgproto3.BinaryFormat {
			values[i], err = encodeBinary(columns[i].Type, v)
		} else {
			values[i], err = encodeText(v)
		}
		if err != nil {
			return nil, fmt.Errorf("encode column %s: %w", columns[i].Name, err)
		}
	}
	return &pgproto3.DataRow{Values: values}, nil
}

// encodeText gives v as the server's output functions do.
func encodeText(v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(clean(v)), nil
	case int64:
		return strconv.AppendInt(nil, v, 10), nil
	case int32:
		return strconv.AppendInt(nil, int64(v), 10), nil
	case float64:
		return strconv.AppendFloat(nil, v, 'f', -1, 64), nil
	case bool:
		if v {
			return []byte("t"), nil
		}
		return []byte("f"), nil
	case time.Time:
		return v.UTC().AppendFormat(nil, "2006-01-02 15:04:05.999999+00"), nil
	}
	return nil, fmt.Errorf("no text form of %T", v)
}

// postgresEpoch is where timestamptz counts its microseconds from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// encodeBinary gives v as the send function of the column's type does.
func encodeBinary(t ColumnType, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return []byte(clean(v)), nil
	case int64:
		return binary.BigEndian.AppendUint64(nil, uint64(v)), wrongType(t, Int8)
	case int32:
		return binary.BigEndian.AppendUint32(nil, uint32(v)), wrongType(t, int4Type)
	case float64:
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(v)), wrongType(t, Float8)
	case bool:
		if v {
			return []byte{1}, wrongType(t, Bool)
		}
		return []byte{0}, wrongType(t, Bool)
	case time.Time:
		return binary.BigEndian.AppendUint64(nil, uint64(v.Sub(postgresEpoch).Microseconds())), wrongType(t, Timestamptz)
	}
	return nil, fmt.Errorf("no binary form of %T", v)
}

// wrongType guards against a command whose rows do not fit its columns: in text
// that would pass unseen.
func wrongType(declared, actual ColumnType) error {
	if declared == actual {
		return nil
	}
	return fmt.Errorf("column is declared %s and has a value of %s", declared, actual)
}

// clean makes text fit to be sent: the protocol ends strings with NUL, and the
// client was promised UTF-8.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
}

// orNull gives text, or NULL when it is empty.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
