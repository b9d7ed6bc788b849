package dial

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
	"github.com/pgdrover/pgdrover/proxy/wire"
)

const (
	maxNotices = 16
	// protocolOption begins the names of startup parameters that are options of
	// the protocol itself; none is asked for.
	protocolOption = "_pq_."
)

// loginState is where a login stands.
type loginState int

const (
	greeting       loginState = iota // StartupMessage was sent
	authenticating                   // the server has asked, or agreed on a version
	settingUp                        // AuthenticationOk
	ready                            // ReadyForQuery
)

// allowed is the table of the messages that a server may send, by state. It
// is libpq's.
var allowed = map[loginState]string{
	greeting:       "RvE",
	authenticating: "RE",
	settingUp:      "SKNEZ",
}

// login is one login, from StartupMessage to ReadyForQuery.
type login struct {
	conn      *channel
	options   Options
	responder *auth.Responder
	messages  messageReader
	state     loginState
	result    *Connection
}

func newLogin(c *channel, o Options, credentials auth.Credentials) *login {
	return &login{
		conn: c, options: o, messages: messageReader{from: c},
		responder: auth.NewResponder(auth.ResponderOptions{
			User: o.User, Credentials: credentials, EndPoint: c.endPoint(),
			ClearText: c.tls != nil || c.local || o.TLS.mode == config.TLSDisabled,
		}),
		result: &Connection{Conn: c.Conn, Parameters: make(map[string]string), ProtocolMinor: o.ProtocolMinor, TLSVersion: c.tlsVersion()},
	}
}

func (c *channel) tlsVersion() string {
	if c.tls == nil {
		return ""
	}
	return tls.VersionName(c.tls.Version)
}

// run logs in.
func (l *login) run() error {
	if err := l.sendStartup(); err != nil {
		return err
	}
	for l.state != ready {
		kind, body, err := l.messages.next(allowed[l.state])
		if err != nil {
			return err
		}
		if l.state, err = l.take(kind, body); err != nil {
			return err
		}
	}
	return nil
}

func (l *login) sendStartup() error {
	parameters := maps.Clone(l.options.Parameters)
	if parameters == nil {
		parameters = make(map[string]string)
	}
	maps.DeleteFunc(parameters, func(name, _ string) bool {
		return name == "replication" || strings.HasPrefix(name, protocolOption)
	})
	parameters["user"], parameters["database"] = l.options.User, l.options.Database
	if l.options.Replication != "" {
		parameters["replication"] = l.options.Replication
	}
	message := &pgproto3.StartupMessage{ProtocolVersion: uint32(wire.Major<<16 | l.options.ProtocolMinor), Parameters: parameters}
	packet, err := message.Encode(nil)
	if err != nil {
		return pgerror.New(pgerror.InvalidParameterValue, "a startup parameter cannot be sent: %w", err)
	}
	if len(packet) > wire.MaxPacketLength {
		return pgerror.New(pgerror.InvalidParameterValue, "the startup parameters are too long").
			WithDetail("They have %d bytes; PostgreSQL takes %d.", len(packet), wire.MaxPacketLength)
	}
	_, err = l.conn.Write(packet)
	return err
}

// take acts on a message and gives the state that follows.
func (l *login) take(kind byte, body []byte) (loginState, error) {
	switch kind {
	case 'v':
		return authenticating, l.negotiate(body)
	case 'R':
		return l.authenticate(body)
	case 'E':
		return l.state, serverError(body)
	case 'N':
		return l.state, l.notice(body)
	case 'S':
		var status pgproto3.ParameterStatus
		if err := status.Decode(body); err != nil {
			return l.state, malformed(kind, err)
		}
		l.result.Parameters[status.Name] = status.Value
	case 'K':
		return l.state, l.keyData(body)
	case 'Z':
		if len(body) != 1 || body[0] != 'I' {
			return l.state, malformed(kind, errors.New("the transaction status is not idle"))
		}
		l.result.PasswordChecked = l.responder.Asked()
		return ready, nil
	}
	return l.state, nil
}

// negotiate takes the version that the server wants to speak. Servers send it
// with the major version in the upper half; the documentation says minor alone.
func (l *login) negotiate(body []byte) error {
	var m pgproto3.NegotiateProtocolVersion
	if err := m.Decode(body); err != nil {
		return malformed('v', err)
	}
	major, minor := m.NewestMinorProtocol>>16, int(m.NewestMinorProtocol&0xffff)
	if major != 0 && major != wire.Major || minor > l.options.ProtocolMinor {
		return malformed('v', fmt.Errorf("version %d.%d was not asked for", major, minor))
	}
	if len(m.UnrecognizedOptions) > 0 {
		return malformed('v', errors.New("it refuses protocol options that were not asked for"))
	}
	l.result.ProtocolMinor = minor
	return nil
}

func (l *login) authenticate(body []byte) (loginState, error) {
	request, err := decodeAuthentication(body)
	if err != nil {
		return l.state, err
	}
	answer, err := l.responder.Respond(request)
	if err != nil {
		return l.state, err
	}
	if answer != nil {
		encoded, err := answer.Encode(nil)
		if err != nil {
			return l.state, fmt.Errorf("answer the server: %w", err)
		}
		if _, err := l.conn.Write(encoded); err != nil {
			return l.state, err
		}
	}
	if l.responder.Done() {
		return settingUp, nil
	}
	return authenticating, nil
}

func (l *login) keyData(body []byte) error {
	var m pgproto3.BackendKeyData
	if err := m.Decode(body); err != nil {
		return malformed('K', err)
	}
	if len(m.SecretKey) > wire.MaxCancelKeyLength || l.result.ProtocolMinor < 2 && len(m.SecretKey) != wire.MinCancelKeyLength {
		return malformed('K', fmt.Errorf("the secret key has %d bytes", len(m.SecretKey)))
	}
	l.result.ProcessID, l.result.SecretKey = m.ProcessID, m.SecretKey
	return nil
}

func (l *login) notice(body []byte) error {
	var m pgproto3.NoticeResponse
	if err := m.Decode(body); err != nil {
		return malformed('N', err)
	}
	if len(l.result.Notices) < maxNotices {
		response := pgproto3.ErrorResponse(m)
		l.result.Notices = append(l.result.Notices, fromServer(&response))
	}
	return nil
}

// serverError is the server's refusal.
func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return malformed('E', err)
	}
	return fromServer(&m)
}

// fromServer keeps all fields: those that pgerror does not have are in the
// cause.
func fromServer(m *pgproto3.ErrorResponse) *pgerror.Error {
	clean := func(s string) string { return strings.ToValidUTF8(s, "?") }
	out := &pgerror.Error{
		Code: m.Code, Message: clean(m.Message), Detail: clean(m.Detail), Hint: clean(m.Hint),
		Where: clean(m.Where), Position: int(m.Position), Cause: pgconn.ErrorResponseToPgError(m),
	}
	if !isSQLState(m.Code) {
		out.Code = pgerror.ConnectionException
	}
	if out.Message == "" {
		out.Message = "the server sent an error without a message"
	}
	return out
}

func isSQLState(code string) bool {
	for _, c := range []byte(code) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(code) == 5
}
