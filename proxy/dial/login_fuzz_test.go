package dial

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
	"github.com/pgdrover/pgdrover/pgerror"
	"github.com/pgdrover/pgdrover/proxy/auth"
)

// recording is a server whose answers are known beforehand.
type recording struct {
	net.Conn // nil: nothing else is called
	answers  *bytes.Reader
	asked    bytes.Buffer
}

func (r *recording) Read(p []byte) (int, error)  { return r.answers.Read(p) }
func (r *recording) Write(p []byte) (int, error) { return r.asked.Write(p) }

func FuzzLogin(f *testing.F) {
	encode := func(messages ...pgproto3.BackendMessage) []byte {
		var out []byte
		for _, m := range messages {
			encoded, err := m.Encode(nil)
			if err != nil {
				f.Fatal(err)
			}
			out = append(out, encoded...)
		}
		return out
	}
	end := []pgproto3.BackendMessage{
		&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "a", Value: "b"}, &pgproto3.NoticeResponse{Message: "m"},
		&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
	}
	f.Add(encode(end...))
	f.Add(append(encode(end...), "behind"...))
	f.Add(encode(append([]pgproto3.BackendMessage{&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3 << 16}, &pgproto3.AuthenticationMD5Password{}}, end...)...))
	f.Add(encode(append([]pgproto3.BackendMessage{&pgproto3.AuthenticationCleartextPassword{}}, end...)...))
	f.Add(encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}, &pgproto3.AuthenticationSASLContinue{Data: []byte("r=x,s=AA==,i=1")}))
	f.Add(encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "no"}))
	const password = "the password of the fuzz test"
	f.Fuzz(func(t *testing.T, answers []byte) {
		server := &recording{answers: bytes.NewReader(answers)}
		l := newLogin(&channel{Conn: server}, Options{User: "u", Database: "d", ProtocolMinor: 2, TLS: &TLS{mode: config.TLSPrefer}}, auth.NewCredentials(password))
		err := l.run()
		if bytes.Contains(server.asked.Bytes(), []byte(password)) {
			t.Error("the password was sent in clear text")
		}
		if len(l.result.Notices) > maxNotices || len(l.result.Parameters) > maxMessages/8 {
			t.Error("what is kept is not bounded")
		}
		if err != nil {
			var e *pgerror.Error
			if !errors.As(err, &e) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		taken := answers[:len(answers)-server.answers.Len()]
		if !bytes.HasSuffix(taken, []byte{'Z', 0, 0, 0, 5, 'I'}) || !strings.Contains(string(taken), "R\x00\x00\x00\x08\x00\x00\x00\x00") {
			t.Errorf("%q logs in", taken)
		}
	})
}
