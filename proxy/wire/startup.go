// Package wire reads and writes the parts of PostgreSQL's protocol that come
// before and around messages: startup packets and error fields. It knows no
// sockets and starts no goroutine.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pgdrover/pgdrover/pgerror"
)

// The lengths of a startup packet, in bytes, with its own length field. The
// upper bound is PostgreSQL's MAX_STARTUP_PACKET_LENGTH.
const (
	MinPacketLength = 8
	MaxPacketLength = 10000
)

const (
	// maxNameLength is PostgreSQL's NAMEDATALEN without the final zero.
	maxNameLength = 63
	// maxParameters is the number of startup parameters that is accepted.
	maxParameters = 256
)

// The length in bytes of the key of a cancel request: 4 before protocol 3.2, up
// to 256 since.
const (
	MinCancelKeyLength = 4
	MaxCancelKeyLength = 256
)

// Request codes take the place of a protocol version in a startup packet:
// major 1234 and these minors.
const (
	requestMajor  = 1234
	cancelMinor   = 5678
	sslMinor      = 5679
	gssencMinor   = 5680
	tlsRecordType = 0x16 // the first byte of a TLS ClientHello
)

// The protocol versions served: 3.0 to 3.2.
const (
	Major       = 3
	LatestMinor = 2
)

// protocolOptionPrefix starts the names of startup parameters that are options
// of the protocol itself.
const protocolOptionPrefix = "_pq_."

// Packet is what a client may send before it is logged in: SSLRequest,
// GSSENCRequest, CancelRequest, Startup or DirectTLS.
type Packet interface{ packet() }

// SSLRequest asks for TLS; the answer is one byte, 'S' or 'N'.
type SSLRequest struct{}

// GSSENCRequest asks for GSSAPI encryption; the answer is one byte.
type GSSENCRequest struct{}

// CancelRequest asks to cancel what another connection is running.
type CancelRequest struct {
	ProcessID uint32
	SecretKey []byte // 4 to 256 bytes
}

// DirectTLS is the start of a TLS handshake without SSLRequest
// (sslnegotiation=direct). Head is what has been read of it.
type DirectTLS struct{ Head [4]byte }

// Startup is a StartupMessage of protocol 3.
type Startup struct {
	Minor int // as asked for; see Negotiate for the one to use

	User     string // never empty; cut to 63 bytes, as in PostgreSQL
	Database string // User if the client named none; cut likewise

	// Parameters are all parameters but user, database and protocol options.
	Parameters map[string]string

	// ProtocolOptions are the names of the protocol options asked for, in
	// order, each with its "_pq_." prefix. None is known to this release.
	ProtocolOptions []string
}

func (SSLRequest) packet()    {}
func (GSSENCRequest) packet() {}
func (CancelRequest) packet() {}
func (DirectTLS) packet()     {}
func (Startup) packet()       {}

// ReadPacket reads one startup packet and not a byte more: what follows it in
// r belongs to whoever reads next, so bytes that came before a TLS handshake
// can never be taken for bytes that came through it.
//
// Malformed packets give a *pgerror.Error; errors of r are passed on, io.EOF
// only when nothing was read.
func ReadPacket(r io.Reader) (Packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] == tlsRecordType {
		return DirectTLS{Head: head}, nil
	}
	length := binary.BigEndian.Uint32(head[:])
	if length < MinPacketLength || length > MaxPacketLength {
		return nil, pgerror.New(pgerror.ProtocolViolation, "invalid length of startup packet").
			WithDetail("The length is %d bytes; %d to %d are allowed.", length, MinPacketLength, MaxPacketLength)
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read startup packet: %w", err)
	}
	return ParsePacket(body)
}

// ParsePacket parses a startup packet without its length field.
func ParsePacket(body []byte) (Packet, error) {
	if len(body) < MinPacketLength-4 || len(body) > MaxPacketLength-4 {
		return nil, pgerror.New(pgerror.ProtocolViolation, "invalid length of startup packet")
	}
	major, minor := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	rest := body[4:]
	switch {
	case major == requestMajor && minor == cancelMinor:
		return parseCancel(rest)
	case major == requestMajor && minor == sslMinor:
		if len(rest) != 0 {
			return nil, pgerror.New(pgerror.ProtocolViolation, "invalid length of SSLRequest")
		}
		return SSLRequest{}, nil
	case major == requestMajor && minor == gssencMinor:
		if len(rest) != 0 {
			return nil, pgerror.New(pgerror.ProtocolViolation, "invalid length of GSSENCRequest")
		}
		return GSSENCRequest{}, nil
	case major == Major:
		return parseStartup(int(minor), rest)
	}
	return nil, pgerror.New(pgerror.FeatureNotSupported,
		"unsupported frontend protocol %d.%d: this server supports %d.0 to %d.%d", major, minor, Major, Major, LatestMinor)
}

func parseCancel(body []byte) (Packet, error) {
	keyLength := len(body) - 4
	if keyLength < MinCancelKeyLength || keyLength > MaxCancelKeyLength {
		return nil, pgerror.New(pgerror.ProtocolViolation, "invalid length of CancelRequest")
	}
	return CancelRequest{
		ProcessID: binary.BigEndian.Uint32(body),
		SecretKey: bytes.Clone(body[4:]),
	}, nil
}

// parseStartup reads names and values, each ended by a zero byte, and the zero
// byte that ends the list. As in PostgreSQL the last of repeated names wins.
func parseStartup(minor int, body []byte) (Packet, error) {
	s := Startup{Minor: minor, Parameters: make(map[string]string)}
	for count := 0; ; count++ {
		name, rest, ok := cutString(body)
		if !ok {
			return nil, invalidLayout()
		}
		if name == "" {
			if len(rest) != 0 {
				return nil, invalidLayout()
			}
			break
		}
		if count == maxParameters {
			return nil, pgerror.New(pgerror.ProtocolViolation, "too many startup parameters").
				WithDetail("At most %d are accepted.", maxParameters)
		}
		value, rest, ok := cutString(rest)
		if !ok {
			return nil, invalidLayout()
		}
		s.set(name, value)
		body = rest
	}
	if s.User == "" {
		return nil, pgerror.New(pgerror.InvalidAuthorization, "no PostgreSQL user name specified in startup packet")
	}
	if s.Database == "" {
		s.Database = s.User
	}
	return s, nil
}

func (s *Startup) set(name, value string) {
	switch {
	case name == "user":
		s.User = value[:min(len(value), maxNameLength)]
	case name == "database":
		s.Database = value[:min(len(value), maxNameLength)]
	case strings.HasPrefix(name, protocolOptionPrefix):
		s.ProtocolOptions = append(s.ProtocolOptions, name)
	default:
		s.Parameters[name] = value
	}
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	before, after, ok := bytes.Cut(b, []byte{0})
	return string(before), after, ok
}

func invalidLayout() error {
	return pgerror.New(pgerror.ProtocolViolation, "invalid startup packet layout: expected terminator as last byte")
}
