package wire

import "github.com/pgdrover/pgdrover/pgerror"

// Encryption is how far a connection has come in agreeing on encryption,
// before its StartupMessage.
type Encryption int

const (
	// Undecided is a new connection.
	Undecided Encryption = iota
	// GSSRefused has been told that there is no GSSAPI encryption.
	GSSRefused
	// TLSRefused has been told that there is no TLS.
	TLSRefused
	// BothRefused has been told both.
	BothRefused
	// Encrypted speaks TLS.
	Encrypted
)

// Move is what has to be done with a packet.
type Move int

const (
	// Illegal packets end the connection.
	Illegal Move = iota
	// Refuse is to answer 'N' and read on.
	Refuse
	// AcceptTLS is to answer 'S' and shake hands.
	AcceptTLS
	// AcceptDirectTLS is to shake hands at once.
	AcceptDirectTLS
	// Proceed is to go on with the packet: a startup or a cancel request.
	Proceed
)

// moves is the whole table of what a client may send before it logs in, with
// TLS offered or not. What is not here is Illegal.
var moves = map[step]outcome{
	{Undecided, gssenc, false}:  {GSSRefused, Refuse},
	{Undecided, gssenc, true}:   {GSSRefused, Refuse},
	{TLSRefused, gssenc, false}: {BothRefused, Refuse},

	{Undecided, ssl, false}:  {TLSRefused, Refuse},
	{Undecided, ssl, true}:   {Encrypted, AcceptTLS},
	{GSSRefused, ssl, false}: {BothRefused, Refuse},
	{GSSRefused, ssl, true}:  {Encrypted, AcceptTLS},

	// A client that asked for anything before cannot have begun with TLS.
	{Undecided, direct, true}: {Encrypted, AcceptDirectTLS},

	{Undecided, login, false}:   {Undecided, Proceed},
	{Undecided, login, true}:    {Undecided, Proceed},
	{GSSRefused, login, false}:  {GSSRefused, Proceed},
	{GSSRefused, login, true}:   {GSSRefused, Proceed},
	{TLSRefused, login, false}:  {TLSRefused, Proceed},
	{BothRefused, login, false}: {BothRefused, Proceed},
	{Encrypted, login, true}:    {Encrypted, Proceed},
}

type step struct {
	state      Encryption
	packet     packetKind
	tlsOffered bool
}

type outcome struct {
	state Encryption
	move  Move
}

type packetKind int

const (
	ssl packetKind = iota
	gssenc
	direct
	login // StartupMessage or CancelRequest
)

func kindOf(p Packet) packetKind {
	switch p.(type) {
	case SSLRequest:
		return ssl
	case GSSENCRequest:
		return gssenc
	case DirectTLS:
		return direct
	}
	return login
}

// Next is the transition of a connection that receives p. tlsOffered must be
// the same for all packets of a connection. The error is a *pgerror.Error.
func (e Encryption) Next(p Packet, tlsOffered bool) (Encryption, Move, error) {
	kind := kindOf(p)
	if to, ok := moves[step{e, kind, tlsOffered}]; ok {
		return to.state, to.move, nil
	}
	switch {
	case kind == direct && !tlsOffered:
		return e, Illegal, pgerror.New(pgerror.ProtocolViolation, "TLS is not configured on this server").
			WithHint("Connect with sslmode=disable, or set general.tls_certificate and general.tls_private_key.")
	case kind == direct:
		return e, Illegal, pgerror.New(pgerror.ProtocolViolation, "invalid length of startup packet")
	case kind == gssenc:
		return e, Illegal, pgerror.New(pgerror.ProtocolViolation, "unexpected GSSENCRequest: encryption has already been negotiated")
	}
	return e, Illegal, pgerror.New(pgerror.ProtocolViolation, "unexpected SSLRequest: encryption has already been negotiated")
}
