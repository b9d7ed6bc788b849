package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

// requests are one message of each kind that a server may send.
func requests() map[string]pgproto3.BackendMessage {
	return map[string]pgproto3.BackendMessage{
		"ok": &pgproto3.AuthenticationOk{}, "clear": &pgproto3.AuthenticationCleartextPassword{}, "md5": &pgproto3.AuthenticationMD5Password{},
		"sasl":     &pgproto3.AuthenticationSASL{AuthMechanisms: []string{ScramSHA256}},
		"continue": &pgproto3.AuthenticationSASLContinue{}, "final": &pgproto3.AuthenticationSASLFinal{},
		"gss": &pgproto3.AuthenticationGSS{}, "rows": &pgproto3.DataRow{}, "nothing": nil,
	}
}

// TestResponderStates walks every state with every message: what the table does
// not allow ends the login for good.
func TestResponderStates(t *testing.T) {
	t.Parallel()
	allowed := map[responderState]string{
		awaitRequest: "ok clear md5 sasl", awaitContinue: "continue", awaitFinal: "final", awaitOk: "ok", responded: "", failed: "",
	}
	for state, names := range allowed {
		for name, request := range requests() {
			r := NewResponder(ResponderOptions{User: "u", Credentials: NewCredentials("p"), ClearText: true})
			r.state = state
			if state == awaitContinue || state == awaitFinal {
				r.scram = newScramClient("n,,", nil, nil) // which takes none of the empty messages
			}
			_, err := r.Respond(request)
			var e *pgerror.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("state %d, %s: an error without a type: %v", state, name, err)
			}
			may := strings.Contains(" "+names+" ", " "+name+" ")
			outOfOrder := err != nil && (strings.Contains(err.Error(), "out of order") || e.Code == pgerror.FeatureNotSupported)
			if may == outOfOrder {
				t.Errorf("state %d, %s: %v", state, name, err)
			}
			if err != nil {
				if _, again := r.Respond(&pgproto3.AuthenticationOk{}); again == nil {
					t.Errorf("state %d: the login goes on after %s", state, name)
				}
			}
		}
	}
}

// TestClearTextIsNotSentAsWished: the server's wish is not enough.
func TestClearTextIsNotSentAsWished(t *testing.T) {
	t.Parallel()
	r := NewResponder(ResponderOptions{User: "u", Credentials: NewCredentials("secret")})
	answer, err := r.Respond(&pgproto3.AuthenticationCleartextPassword{})
	if answer != nil || pgerror.Code(err) != pgerror.InvalidAuthorization || !strings.Contains(pgerror.From(err).Hint, "verify_full") {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := r.Respond(&pgproto3.AuthenticationOk{}); err == nil || r.Done() {
		t.Error("a login that failed goes on")
	}
}

// TestMechanisms: which one is taken, and what the server is told of the others.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	endPoint := []byte("hash of a certificate")
	for _, test := range []struct {
		offered   string
		endPoint  []byte
		mechanism string // "" for an error
		header    string
	}{
		{"SCRAM-SHA-256", nil, ScramSHA256, "n,,"},
		{"SCRAM-SHA-256", endPoint, ScramSHA256, "y,,"},
		{"SCRAM-SHA-256-PLUS SCRAM-SHA-256", endPoint, ScramSHA256Plus, bindingHeader},
		{"SCRAM-SHA-256 OTHER SCRAM-SHA-256-PLUS", endPoint, ScramSHA256Plus, bindingHeader},
		{"SCRAM-SHA-256-PLUS", endPoint, ScramSHA256Plus, bindingHeader},
		{"SCRAM-SHA-256-PLUS SCRAM-SHA-256", nil, ScramSHA256, "n,,"}, // a certificate that cannot be bound to
		{"SCRAM-SHA-256-PLUS", nil, "", ""},
		{"OTHER", endPoint, "", ""},
	} {
		r := NewResponder(ResponderOptions{User: "u", Credentials: NewCredentials("p"), EndPoint: test.endPoint})
		answer, err := r.Respond(&pgproto3.AuthenticationSASL{AuthMechanisms: strings.Fields(test.offered)})
		initial, _ := answer.(*pgproto3.SASLInitialResponse)
		switch {
		case test.mechanism == "":
			if pgerror.Code(err) != pgerror.FeatureNotSupported {
				t.Errorf("%s: %v", test.offered, err)
			}
		case err != nil || initial.AuthMechanism != test.mechanism || !strings.HasPrefix(string(initial.Data), test.header+"n=,r="):
			t.Errorf("%s: %+v, %v", test.offered, initial, err)
		}
	}
}

// TestBothSidesAgree has the client's side log in at the server's, with and
// without channel binding, by a password or by keys that were shown before.
func TestBothSidesAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringN(1, 40, -1).Draw(t, "password")
		salt := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "salt")
		iterations := rapid.IntRange(1, 50).Draw(t, "iterations")
		endPoint := rapid.SampledFrom([][]byte{nil, []byte("certificate"), {0, ',', 0xff}}).Draw(t, "end point")
		v, err := BuildVerifier(password, salt, iterations)
		if err != nil {
			t.Fatal(err)
		}
		shown := exchange(t, v, NewCredentials(password), endPoint, endPoint, "")
		if again := exchange(t, v, Credentials{}.WithClientKeys(shown), endPoint, endPoint, ""); again.Client != shown.Client || again.Server != shown.Server {
			t.Error("the keys are not those that were shown")
		}
		exchange(t, v, NewCredentials(password+"x"), endPoint, endPoint, "password")
		if endPoint != nil {
			exchange(t, v, NewCredentials(password), endPoint, []byte("another"), pgerror.InvalidAuthorization)
		}
	})
}

// exchange runs a whole login; want is what the server's side fails with.
func exchange(t *rapid.T, v Verifier, c Credentials, ours, theirs []byte, want string) ClientKeys {
	r := NewResponder(ResponderOptions{User: "u", Credentials: c, EndPoint: ours})
	offered := []string{ScramSHA256}
	if theirs != nil {
		offered = []string{ScramSHA256Plus, ScramSHA256}
	}
	answer, err := r.Respond(&pgproto3.AuthenticationSASL{AuthMechanisms: offered})
	if err != nil {
		t.Fatal(err)
	}
	initial := answer.(*pgproto3.SASLInitialResponse)
	x := newScramExchange(v.Salt, v.Iterations, func() []Keys { return []Keys{v.Keys} },
		bindingOffer{endPoint: theirs, chosen: initial.AuthMechanism == ScramSHA256Plus})
	first, err := x.First(initial.Data)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err = r.Respond(&pgproto3.AuthenticationSASLContinue{Data: first}); err != nil {
		t.Fatal(err)
	}
	final, shown, err := x.Final(answer.(*pgproto3.SASLResponse).Data)
	switch want {
	case "password":
		if !errors.Is(err, ErrWrongPassword) {
			t.Errorf("a wrong password gives %v", err)
		}
		return ClientKeys{}
	case "":
	default:
		if pgerror.Code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
		return ClientKeys{}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Respond(&pgproto3.AuthenticationSASLFinal{Data: final}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Respond(&pgproto3.AuthenticationOk{}); err != nil || !r.Done() || !r.Asked() {
		t.Errorf("the login is not over: %v", err)
	}
	return shown
}

// TestChannelBindingOfClients: what a client says has to go with what it was
// offered.
func TestChannelBindingOfClients(t *testing.T) {
	t.Parallel()
	endPoint := []byte("hash")
	for _, test := range []struct {
		first string
		offer bindingOffer
		code  string
	}{
		{"n,,n=,r=abc", bindingOffer{}, ""},
		{"y,,n=,r=abc", bindingOffer{}, ""},
		{"n,,n=,r=abc", bindingOffer{endPoint: endPoint}, ""},
		{"y,,n=,r=abc", bindingOffer{endPoint: endPoint}, pgerror.InvalidAuthorization}, // somebody has hidden the offer
		{"p=tls-server-end-point,,n=,r=abc", bindingOffer{endPoint: endPoint, chosen: true}, ""},
		{"p=tls-server-end-point,,n=,r=abc", bindingOffer{endPoint: endPoint}, pgerror.ProtocolViolation},
		{"p=tls-server-end-point,,n=,r=abc", bindingOffer{}, pgerror.ProtocolViolation},
		{"n,,n=,r=abc", bindingOffer{endPoint: endPoint, chosen: true}, pgerror.ProtocolViolation},
		{"y,,n=,r=abc", bindingOffer{endPoint: endPoint, chosen: true}, pgerror.ProtocolViolation},
		{"p=tls-unique,,n=,r=abc", bindingOffer{endPoint: endPoint, chosen: true}, pgerror.ProtocolViolation},
	} {
		x := newScramExchange([]byte("salt"), 1, func() []Keys { return nil }, test.offer)
		if _, err := x.First([]byte(test.first)); pgerror.Code(err) != test.code {
			t.Errorf("%s to %+v: %v", test.first, test.offer, err)
		}
	}
}

func TestParseServerFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		message string
		ok      bool
	}{
		{"r=abcX,s=AA==,i=1", true},
		{"r=abcX,s=AA==,i=1000000", true},
		{"r=abcX,s=AA==,i=4096,x=1,Y=2", true},
		{"", false}, {"r", false}, {"r=abcX", false}, {"r=abcX,s=AA==", false}, {"s=AA==,r=abcX,i=1", false},
		{"r=abc,s=AA==,i=1", false}, {"r=xabc,s=AA==,i=1", false}, {"r=abc ,s=AA==,i=1", false}, {"r=abcä,s=AA==,i=1", false},
		{"r=abcX,s=,i=1", false}, {"r=abcX,s=A,i=1", false}, {"r=abcX,s=AA\n==,i=1", false}, {"r=abcX,s=AB==,i=1", false},
		{"r=abcX,s=AA==,i=", false}, {"r=abcX,s=AA==,i=0", false}, {"r=abcX,s=AA==,i=-1", false}, {"r=abcX,s=AA==,i=+1", false},
		{"r=abcX,s=AA==,i=1_0", false}, {"r=abcX,s=AA==,i=0x10", false}, {"r=abcX,s=AA==,i=1000001", false}, {"r=abcX,s=AA==,i=99999999999999999999", false},
		{"r=abcX,s=AA==,i=1,", false}, {"r=abcX,s=AA==,i=1,xx", false}, {"m=x,r=abcX,s=AA==,i=1", false},
		{"r=abc" + strings.Repeat("x", maxServerNonce-3) + ",s=AA==,i=1", true},
		{"r=abc" + strings.Repeat("x", maxServerNonce-2) + ",s=AA==,i=1", false},
		{"r=abcX,s=" + base64.StdEncoding.EncodeToString(make([]byte, maxSaltLength)) + ",i=1", true},
		{"r=abcX,s=" + base64.StdEncoding.EncodeToString(make([]byte, maxSaltLength+1)) + ",i=1", false},
		{"r=abcX,s=AA==,i=1" + strings.Repeat(",x=1", maxScramMessage), false},
	} {
		first, err := parseServerFirst([]byte(test.message), "abc")
		if (err == nil) != test.ok {
			t.Errorf("%.80q: %+v, %v", test.message, first, err)
		}
	}
}

func FuzzServerFirst(f *testing.F) {
	f.Add([]byte(rfcServerFirst))
	f.Add([]byte("r=" + rfcClientNonce + "x,s=AA==,i=1,x=y"))
	f.Add([]byte("m=1,r=,s=,i="))
	f.Fuzz(func(t *testing.T, message []byte) {
		first, err := parseServerFirst(message, rfcClientNonce)
		var e *pgerror.Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		whole := fmt.Sprintf("r=%s,s=%s,i=", first.nonce, base64.StdEncoding.EncodeToString(first.salt))
		if !strings.HasPrefix(string(message), whole) || first.iterations < 1 || first.iterations > maxServerIterations || len(first.salt) == 0 {
			t.Errorf("%q was read as %+v", message, first)
		}
		if !strings.HasPrefix(first.nonce, rfcClientNonce) || first.nonce == rfcClientNonce {
			t.Errorf("nonce %q", first.nonce)
		}
	})
}

func FuzzServerFinal(f *testing.F) {
	f.Add([]byte(rfcServerFinal))
	f.Add([]byte("e=other-error"))
	f.Add([]byte("v=,x=1"))
	f.Fuzz(func(t *testing.T, message []byte) {
		signature, err := parseServerFinal(message)
		var e *pgerror.Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		if !strings.HasPrefix(string(message), "v="+base64.StdEncoding.EncodeToString(signature[:])) {
			t.Errorf("%q was read as %x", message, signature)
		}
		// No server that does not have the keys is believed.
		x := newScramClient("n,,", nil, NewCredentials("pencil").scramKeys)
		first := x.First()
		if _, err := x.Final([]byte(strings.TrimPrefix(string(first), "n,,n=,") + "x,s=AA==,i=1")); err != nil {
			t.Fatal(err)
		}
		if x.Verify(message) == nil {
			t.Errorf("%q proves that the server knows the password", message)
		}
	})
}

// TestClientStates: each message is taken once, in order.
func TestClientStates(t *testing.T) {
	t.Parallel()
	x := newScramClient("n,,", nil, NewCredentials("p").scramKeys)
	if err := x.Verify([]byte("v=")); err == nil {
		t.Error("the end comes first")
	}
	if _, err := x.Final([]byte("r=x,s=AA==,i=1")); err == nil {
		t.Error("the server speaks first")
	}
	first := strings.TrimPrefix(string(x.First()), "n,,n=,") + "x,s=AA==,i=1"
	if _, err := x.Final([]byte(first)); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Final([]byte(first)); err == nil {
		t.Error("the salt is taken twice")
	}
	y := newScramClient("n,,", nil, NewCredentials("p").scramKeys)
	y.First()
	if _, err := y.Final([]byte("?")); err == nil || y.state != clientFailed {
		t.Error("a bad message is taken")
	}
	if _, err := y.Final([]byte(first)); err == nil {
		t.Error("the exchange goes on after a bad message")
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	md5, err := Credentials{}.WithMD5Hash("md5" + strings.Repeat("0", 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Credentials{}).WithMD5Hash("SCRAM-SHA-256$x"); err == nil {
		t.Error("a verifier is taken for an md5 hash")
	}
	keys := Credentials{}.WithClientKeys(ClientKeys{Salt: []byte("salt"), Iterations: 1})
	other := Credentials{}.WithClientKeys(ClientKeys{Salt: []byte("salt"), Iterations: 2})
	all := []Credentials{{}, NewCredentials("a"), NewCredentials("a", "b"), NewCredentials("b", "a"), md5, keys, other}
	for i, c := range all {
		for j, d := range all {
			if c.Equal(d) != (i == j) {
				t.Errorf("%d equals %d: %t", i, j, i != j)
			}
		}
		if c.IsZero() != (i == 0) {
			t.Errorf("%d is zero: %t", i, i != 0)
		}
	}
	if !NewCredentials("", "").IsZero() || !NewCredentials("a", "", "a").Equal(NewCredentials("a")) {
		t.Error("empty and repeated passwords count")
	}
	three := NewCredentials("a", "b", "c")
	for _, accepted := range []string{"", "c", "b", "b"} {
		var order []string
		for c := range three.Each() {
			order = append(order, c.passwords...)
			if c.passwords[0] == accepted {
				c.Accepted()
			}
		}
		want := map[string]string{"": "a b c", "c": "a b c", "b": "c a b"}[accepted]
		if accepted == "b" && order[0] == "b" {
			want = "b c a"
		}
		if got := strings.Join(order, " "); got != want {
			t.Errorf("tried %s, want %s", got, want)
		}
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	t.Parallel()
	c := NewCredentials("hunter2").WithClientKeys(ClientKeys{Salt: []byte("hunter2"), Client: [32]byte([]byte("hunter2hunter2hunter2hunter2hunt"))})
	for _, secret := range []any{c, &c, *c.keys, struct{ C Credentials }{c}, ResponderOptions{Credentials: c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			shown := fmt.Sprintf(verb, secret)
			if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e74") || strings.Contains(shown, "104 117") {
				t.Errorf("%T with %s shows %s", secret, verb, shown)
			}
		}
	}
	if shown := c.LogValue().String(); strings.Contains(shown, "hunter2") {
		t.Error(shown)
	}
}
