package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pgdrover/pgdrover/pgerror"
)

// The exchange of RFC 7677, section 3: user "user", password "pencil".
const (
	rfcSalt        = "W22ZaJ0SNY7soEsUEjb6gQ=="
	rfcClientNonce = "rOprNGfwEbeRWgbNEkqO"
	rfcServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcClientFirst = "n,,n=user,r=" + rfcClientNonce
	rfcServerFirst = "r=" + rfcClientNonce + rfcServerNonce + ",s=" + rfcSalt + ",i=4096"
	rfcClientFinal = "c=biws,r=" + rfcClientNonce + rfcServerNonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcExchange(t testing.TB, passwords ...string) *scramExchange {
	salt, err := base64.StdEncoding.DecodeString(rfcSalt)
	if err != nil {
		t.Fatal(err)
	}
	x := newScramExchange(salt, 4096, func() []Keys {
		var keys []Keys
		for _, p := range passwords {
			v, err := BuildVerifier(p, salt, 4096)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, v.Keys)
		}
		return keys
	}, bindingOffer{})
	x.newNonceText = func() string { return rfcServerNonce }
	return x
}

func TestScramOfTheRFC(t *testing.T) {
	t.Parallel()
	for _, passwords := range [][]string{{"pencil"}, {"other", "pencil"}, {"pencil", "other"}} {
		x := rfcExchange(t, passwords...)
		first, err := x.First([]byte(rfcClientFirst))
		if err != nil || string(first) != rfcServerFirst {
			t.Fatalf("%q, %v", first, err)
		}
		final, _, err := x.Final([]byte(rfcClientFinal))
		if err != nil || string(final) != rfcServerFinal {
			t.Fatalf("%q, %v", final, err)
		}
	}
}

func TestScramRefusesWrongProofs(t *testing.T) {
	t.Parallel()
	// Changes of the client-final-message that keep its form.
	proof := "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	tests := map[string]struct {
		passwords []string
		final     string
		want      string // SQLSTATE, "" for ErrWrongPassword
	}{
		"wrong password":        {[]string{"pencils"}, rfcClientFinal, ""},
		"no password":           {nil, rfcClientFinal, ""},
		"proof of zeros":        {[]string{"pencil"}, strings.Replace(rfcClientFinal, proof, base64.StdEncoding.EncodeToString(make([]byte, 32)), 1), ""},
		"another extension":     {[]string{"pencil"}, strings.Replace(rfcClientFinal, ",p=", ",x=1,p=", 1), ""},
		"other flag":            {[]string{"pencil"}, strings.Replace(rfcClientFinal, "biws", "eSws", 1), pgerror.ProtocolViolation},
		"binding with data":     {[]string{"pencil"}, strings.Replace(rfcClientFinal, "biws", "biwsQQ==", 1), pgerror.ProtocolViolation},
		"only client's nonce":   {[]string{"pencil"}, strings.Replace(rfcClientFinal, rfcServerNonce, "", 1), pgerror.ProtocolViolation},
		"longer nonce":          {[]string{"pencil"}, strings.Replace(rfcClientFinal, rfcServerNonce, rfcServerNonce+"x", 1), pgerror.ProtocolViolation},
		"short proof":           {[]string{"pencil"}, strings.Replace(rfcClientFinal, proof, "AAAA", 1), pgerror.ProtocolViolation},
		"proof with line break": {[]string{"pencil"}, strings.Replace(rfcClientFinal, proof, proof+"\n", 1), pgerror.ProtocolViolation},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := rfcExchange(t, test.passwords...)
			if _, err := x.First([]byte(rfcClientFirst)); err != nil {
				t.Fatal(err)
			}
			_, _, err := x.Final([]byte(test.final))
			checkScramError(t, err, test.want)
		})
	}
}

func checkScramError(t *testing.T, err error, code string) {
	t.Helper()
	var e *pgerror.Error
	if code == "" && !errors.Is(err, ErrWrongPassword) || code != "" && (!errors.As(err, &e) || e.Code != code) {
		t.Errorf("got %v, want code %q", err, code)
	}
}

// TestScramStates walks the messages in every order: a state is left once.
func TestScramStates(t *testing.T) {
	t.Parallel()
	first := func(x *scramExchange) error { _, err := x.First([]byte(rfcClientFirst)); return err }
	final := func(x *scramExchange) error { _, _, err := x.Final([]byte(rfcClientFinal)); return err }
	bad := func(x *scramExchange) error { _, err := x.First([]byte("?")); return err }
	tests := []struct {
		name  string
		steps []func(*scramExchange) error
		ok    []bool
	}{
		{"in order", []func(*scramExchange) error{first, final}, []bool{true, true}},
		{"final first", []func(*scramExchange) error{final, first}, []bool{false, true}},
		{"first twice", []func(*scramExchange) error{first, first, final}, []bool{true, false, true}},
		{"final twice", []func(*scramExchange) error{first, final, final}, []bool{true, true, false}},
		{"after a bad first", []func(*scramExchange) error{bad, first, final}, []bool{false, false, false}},
	}
	for _, test := range tests {
		x := rfcExchange(t, "pencil")
		for i, step := range test.steps {
			if err := step(x); (err == nil) != test.ok[i] {
				t.Errorf("%s: step %d gives %v", test.name, i, err)
			}
		}
	}
}

func TestParseClientFirst(t *testing.T) {
	t.Parallel()
	tests := []struct{ message, code string }{
		{"n,,n=,r=abc", ""},
		{"y,,n=,r=abc", ""},
		{"n,,n=,r=abc,x=ignored,Y=too", ""},
		{"", pgerror.ProtocolViolation},
		{"n", pgerror.ProtocolViolation},
		{"n,", pgerror.ProtocolViolation},
		{"n,,", pgerror.ProtocolViolation},
		{"n,,n=", pgerror.ProtocolViolation},
		{"n,,r=abc", pgerror.ProtocolViolation},
		{"n,,n=,r=", pgerror.ProtocolViolation},
		{"n,,n=,r=a b", pgerror.ProtocolViolation},
		{"n,,n=,r=ä", pgerror.ProtocolViolation},
		{"n,,n=,r=abc,", pgerror.ProtocolViolation},
		{"n,,n=,r=abc,1=x", pgerror.ProtocolViolation},
		{"n,,n=,r=abc,xx", pgerror.ProtocolViolation},
		{"n,,n=,r=" + strings.Repeat("r", maxClientNonce), ""},
		{"n,,n=,r=" + strings.Repeat("r", maxClientNonce+1), pgerror.ProtocolViolation},
		{"n,,n=,r=a" + strings.Repeat(",x=1", maxScramMessage), pgerror.ProtocolViolation},
		{"x,,n=,r=abc", pgerror.ProtocolViolation},
		{"nn,,n=,r=abc", pgerror.ProtocolViolation},
		{"p=tls-server-end-point,,n=,r=abc", ""},
		{"p=tls-unique,,n=,r=abc", pgerror.ProtocolViolation},
		{"p=,,n=,r=abc", pgerror.ProtocolViolation},
		{"n,a=other,n=,r=abc", pgerror.FeatureNotSupported},
		{"n,,m=x,n=,r=abc", pgerror.FeatureNotSupported},
	}
	for _, test := range tests {
		_, err := parseClientFirst([]byte(test.message))
		var e *pgerror.Error
		if test.code == "" && err != nil || test.code != "" && (!errors.As(err, &e) || e.Code != test.code) {
			t.Errorf("%.80q: got %v, want code %q", test.message, err, test.code)
		}
	}
}

// TestScramTakesEveryPassword logs in with a client written from the RFC.
func TestScramTakesEveryPassword(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		password := rapid.StringN(1, 40, -1).Draw(t, "password")
		salt := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "salt")
		iterations := rapid.IntRange(1, 50).Draw(t, "iterations")
		header := rapid.SampledFrom([]string{"n,,", "y,,"}).Draw(t, "header")
		v, err := BuildVerifier(password, salt, iterations)
		if err != nil {
			t.Fatal(err)
		}
		x := newScramExchange(salt, iterations, func() []Keys { return []Keys{v.Keys} }, bindingOffer{})
		bare := "n=ignored,r=nonce"
		serverFirst, err := x.First([]byte(header + bare))
		if err != nil {
			t.Fatal(err)
		}
		withoutProof := fmt.Sprintf("c=%s,r=%s", base64.StdEncoding.EncodeToString([]byte(header)), x.nonce)
		message := bare + "," + string(serverFirst) + "," + withoutProof
		if _, _, err := x.Final([]byte(withoutProof + ",p=" + clientProof(t, password, salt, iterations, message))); err != nil {
			t.Fatal(err)
		}
	})
}

func TestParseVerifierRefuses(t *testing.T) {
	t.Parallel()
	good, err := NewVerifier("p")
	if err != nil {
		t.Fatal(err)
	}
	text := good.Text()
	for _, bad := range []string{
		"", "p", "md5" + strings.Repeat("0", 32), "SCRAM-SHA-256$", text + "=", text[:len(text)-4], text + ":",
		strings.Replace(text, "4096", "0", 1), strings.Replace(text, "4096", "-1", 1),
		strings.Replace(text, "4096", "10000001", 1), strings.Replace(text, "4096", "x", 1),
		strings.Replace(text, "SHA-256", "SHA-1", 1), strings.ReplaceAll(text, "$", ":"),
		"SCRAM-SHA-256$4096:$" + strings.SplitN(text, "$", 3)[2],
	} {
		if _, err := ParseVerifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		} else if len(bad) > len(text)/2 && strings.Contains(err.Error(), bad[len(bad)/2:]) {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	v, err := NewVerifier("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	account, err := New().NewAccount("alice", []string{"hunter2"}, v.Text())
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Account: account}
	for _, secret := range []any{v, &v, v.Keys, account, request} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			shown := fmt.Sprintf(verb, secret)
			if strings.Contains(shown, "hunter2") || strings.Contains(shown, string(v.Keys.Stored[:])) ||
				strings.Contains(shown, strings.Trim(fmt.Sprintf("%d", v.Keys.Stored[:8]), "[]")) {
				t.Errorf("%T with %s shows %s", secret, verb, shown)
			}
		}
	}
}

func FuzzClientFirst(f *testing.F) {
	f.Add([]byte(rfcClientFirst))
	f.Add([]byte("y,,n=,r=abc,x=1"))
	f.Add([]byte("p=tls-unique,,n=,r=abc"))
	f.Add([]byte("n,a=z,m=1,n=,r="))
	f.Fuzz(func(t *testing.T, message []byte) {
		first, err := parseClientFirst(message)
		var e *pgerror.Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		if joined := first.gs2Header + string(first.bare); joined != string(message) {
			t.Errorf("%q was read as %q", message, joined)
		}
		if len(first.nonce) == 0 || !bytes.Contains(message, []byte("r="+first.nonce)) {
			t.Errorf("nonce %q of %q", first.nonce, message)
		}
	})
}

func FuzzClientFinal(f *testing.F) {
	f.Add([]byte(rfcClientFinal))
	f.Add([]byte("c=biws,r=abc,x=1,p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))))
	f.Add([]byte("c=,r=,p="))
	f.Add([]byte(",p=,p="))
	f.Fuzz(func(t *testing.T, message []byte) {
		final, err := parseClientFinal(message)
		var e *pgerror.Error
		if err != nil {
			if !errors.As(err, &e) {
				t.Errorf("an error without a type: %v", err)
			}
			return
		}
		whole := string(final.withoutProof) + ",p=" + base64.StdEncoding.EncodeToString(final.proof[:])
		if whole != string(message) {
			t.Errorf("%q was read as %q", message, whole)
		}
		// Nobody gets in without the keys.
		x := rfcExchange(t)
		x.First([]byte(rfcClientFirst))
		if _, _, err := x.Final(message); err == nil {
			t.Errorf("%q logs in without a password", message)
		}
	})
}

func FuzzParseVerifier(f *testing.F) {
	for _, v := range postgresVerifiers {
		f.Add(v.verifier)
	}
	f.Add("SCRAM-SHA-256$1:AA==$:")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVerifier(text)
		if err != nil {
			return
		}
		again, err := ParseVerifier(v.Text())
		if err != nil || again.Text() != v.Text() {
			t.Errorf("%q: %v", text, err)
		}
	})
}
