package shard

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/jackc/pgx/v5/pgtype"
)

// Format is the form in which a value comes from PostgreSQL. The letters are
// those of the protocol's tuple data.
type Format byte

// The formats of a value.
const (
	Text   Format = 't' // what the type's output function writes, with COPY's escapes taken off
	Binary Format = 'b' // what its send function writes
)

// kind is how values of a column's type are read and hashed.
type kind byte

const (
	smallint kind = iota + 1
	integer
	bigint
	uuid
	text  // text, varchar, name: all bytes count
	blank // character(n): blanks at the end do not count
)

// kinds are the column types that a data_type of the configuration fits.
// PgDog's bigint stands for every integer: as PostgreSQL does, it gives an int
// or smallint the hash of the same number as bigint.
var kinds = map[string]map[uint32]kind{
	"bigint":  {pgtype.Int2OID: smallint, pgtype.Int4OID: integer, pgtype.Int8OID: bigint},
	"uuid":    {pgtype.UUIDOID: uuid},
	"varchar": {pgtype.TextOID: text, pgtype.VarcharOID: text, pgtype.NameOID: text, pgtype.BPCharOID: blank},
}

// dataTypeFor is the data_type that fits a column's type, "" if none does.
func dataTypeFor(oid uint32) string {
	for name, fitting := range kinds {
		if fitting[oid] != 0 {
			return name
		}
	}
	return ""
}

// bytes is the width of an integer kind, 0 for the others.
func (k kind) bytes() int {
	switch k {
	case smallint:
		return 2
	case integer:
		return 4
	case bigint:
		return 8
	}
	return 0
}

// name is the SQL type in messages.
func (k kind) name() string {
	return [...]string{smallint: "smallint", integer: "integer", bigint: "bigint", uuid: "uuid", text: "text", blank: "character"}[k]
}

// parseInteger reads an integer of a width in bytes, in the only spelling that
// PostgreSQL writes: no sign but a minus, no zero at the front, no blanks.
func parseInteger(b []byte, width int) (int64, bool) {
	digits := b
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		digits = b[1:]
	}
	// 19 digits cannot overflow a uint64.
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var v uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	limit := uint64(1) << (8*width - 1) // the smallest number's absolute value
	if negative {
		return -int64(v), v <= limit
	}
	return int64(v), v < limit
}

// receiveInteger reads the binary form of an integer of a width in bytes.
func receiveInteger(b []byte, width int) (int64, bool) {
	if len(b) != width {
		return 0, false
	}
	switch width {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(b))), true
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b))), true
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

// parseUUID reads a uuid in the only spelling that PostgreSQL writes: lower
// case, with four hyphens.
func parseUUID(b []byte) (u [16]byte, ok bool) {
	if len(b) != 36 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return u, false
	}
	for i, at := range uuidDigits {
		high, low := hexDigit(b[at]), hexDigit(b[at+1])
		if high > 15 || low > 15 {
			return u, false
		}
		u[i] = high<<4 | low
	}
	return u, true
}

// uuidDigits are where the pairs of digits are in a uuid's text.
var uuidDigits = [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexDigit is the value of a digit as PostgreSQL writes it, 16 for all else.
func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

// formatUUID is the opposite of parseUUID.
func formatUUID(u []byte) string {
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// trimBlanks takes off what does not count in a character(n) (bpchartruelen).
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}
