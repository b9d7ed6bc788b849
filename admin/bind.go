package admin

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgdrover/pgdrover/pgerror"
)

// OIDs of pg_type that a client may declare for a parameter and send in
// binary, beside those of columns.
const (
	boolOID    = 16
	nameOID    = 19
	int2OID    = 21
	int4OID    = 23
	unknownOID = 705
	bpcharOID  = 1042
	varcharOID = 1043
)

// declareTypes takes over the types that the client gave; 0 leaves the choice
// to the server.
func (s *statement) declareTypes(oids []uint32) {
	for i, oid := range oids {
		if i >= len(s.parameters) {
			s.parameters = append(s.parameters, textOID)
		}
		if oid != 0 {
			s.parameters[i] = oid
		}
	}
}

// errNoParameter is the error of a $n where there is nothing to bind.
func (s *statement) errNoParameter() error {
	t, _ := s.firstParameter()
	return pgerror.New(pgerror.UndefinedParameter, "there is no parameter %s", t.text).At(s.at(t.start))
}

// bindParameters reads the values of a Bind as text.
func bindParameters(p *prepared, m *pgproto3.Bind) (call, error) {
	wanted := 0
	if p.statement != nil {
		wanted = len(p.statement.parameters)
	}
	if len(m.Parameters) != wanted {
		return call{}, pgerror.New(pgerror.ProtocolViolation,
			"bind message supplies %d parameters, but prepared statement \"%s\" requires %d",
			len(m.Parameters), m.PreparedStatement, wanted)
	}
	if n := len(m.ParameterFormatCodes); n > 1 && n != wanted {
		return call{}, pgerror.New(pgerror.ProtocolViolation,
			"bind message has %d parameter formats but %d parameters", n, wanted)
	}
	out := call{statement: p.statement, parameters: make([]*string, wanted)}
	for i, value := range m.Parameters {
		if value == nil {
			continue
		}
		text, err := parameterText(p.statement.parameters[i], formatOf(m.ParameterFormatCodes, i), value)
		if err != nil {
			return call{}, pgerror.New(pgerror.Code(err), "parameter $%d: %w", i+1, err)
		}
		out.parameters[i] = &text
	}
	return out, nil
}

// parameterText gives the text of a value sent in either format.
func parameterText(oid uint32, format int16, value []byte) (string, error) {
	text := string(value)
	if format == pgproto3.BinaryFormat {
		var err error
		if text, err = binaryText(oid, value); err != nil {
			return "", err
		}
	} else if format != pgproto3.TextFormat {
		return "", pgerror.New(pgerror.InvalidParameterValue, "unsupported format code: %d", format)
	}
	if !utf8.ValidString(text) {
		return "", pgerror.New(characterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")
	}
	return text, nil
}

// binaryText gives the text of a binary value of the types that arguments of
// commands can sensibly have.
func binaryText(oid uint32, value []byte) (string, error) {
	size := map[uint32]int{boolOID: 1, int2OID: 2, int4OID: 4, int8OID: 8}[oid]
	if size > 0 && size != len(value) {
		return "", pgerror.New(invalidBinaryRepresentation, "incorrect binary data format")
	}
	switch oid {
	case textOID, varcharOID, bpcharOID, nameOID, unknownOID:
		return string(value), nil
	case boolOID:
		return strconv.FormatBool(value[0] != 0), nil
	case int2OID:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(value)))), nil
	case int4OID:
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(value)))), nil
	case int8OID:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(value)), 10), nil
	}
	return "", pgerror.New(pgerror.FeatureNotSupported, "binary format of type with OID %d is not supported", oid).
		WithHint("Send the parameter as text.")
}
