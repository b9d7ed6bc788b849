package wire

import "github.com/jackc/pgx/v5/pgproto3"

// Negotiate gives the minor protocol version to speak with the client and the
// NegotiateProtocolVersion message that has to tell it so; nil if the client
// gets what it asked for.
//
// The message carries a whole version, major and minor, as PostgreSQL sends it
// and libpq reads it. It is never higher than the one asked for.
func (s Startup) Negotiate() (minor int, answer *pgproto3.NegotiateProtocolVersion) {
	minor = min(s.Minor, LatestMinor)
	if s.Minor <= LatestMinor && len(s.ProtocolOptions) == 0 {
		return minor, nil
	}
	return minor, &pgproto3.NegotiateProtocolVersion{
		NewestMinorProtocol: uint32(Major<<16 | minor),
		UnrecognizedOptions: s.ProtocolOptions,
	}
}

// CancelKeyLength is the length in bytes of the secret key that belongs into
// BackendKeyData: clients before protocol 3.2 know keys of 4 bytes only.
func CancelKeyLength(minor int) int {
	if minor < 2 {
		return 4
	}
	return 32
}
