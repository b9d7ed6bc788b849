package wire

import (
	"errors"
	"testing"

	"github.com/pgdrover/pgdrover/pgerror"
)

// TestEncryptionTable walks every state with every packet.
func TestEncryptionTable(t *testing.T) {
	t.Parallel()
	packets := map[string]Packet{
		"ssl": SSLRequest{}, "gss": GSSENCRequest{}, "direct": DirectTLS{}, "startup": Startup{}, "cancel": CancelRequest{},
	}
	type key struct {
		state  Encryption
		packet string
	}
	without := map[key]outcome{
		{Undecided, "ssl"}:       {TLSRefused, Refuse},
		{Undecided, "gss"}:       {GSSRefused, Refuse},
		{Undecided, "startup"}:   {Undecided, Proceed},
		{Undecided, "cancel"}:    {Undecided, Proceed},
		{GSSRefused, "ssl"}:      {BothRefused, Refuse},
		{GSSRefused, "startup"}:  {GSSRefused, Proceed},
		{GSSRefused, "cancel"}:   {GSSRefused, Proceed},
		{TLSRefused, "gss"}:      {BothRefused, Refuse},
		{TLSRefused, "startup"}:  {TLSRefused, Proceed},
		{TLSRefused, "cancel"}:   {TLSRefused, Proceed},
		{BothRefused, "startup"}: {BothRefused, Proceed},
		{BothRefused, "cancel"}:  {BothRefused, Proceed},
	}
	with := map[key]outcome{
		{Undecided, "ssl"}:      {Encrypted, AcceptTLS},
		{Undecided, "gss"}:      {GSSRefused, Refuse},
		{Undecided, "direct"}:   {Encrypted, AcceptDirectTLS},
		{Undecided, "startup"}:  {Undecided, Proceed},
		{Undecided, "cancel"}:   {Undecided, Proceed},
		{GSSRefused, "ssl"}:     {Encrypted, AcceptTLS},
		{GSSRefused, "startup"}: {GSSRefused, Proceed},
		{GSSRefused, "cancel"}:  {GSSRefused, Proceed},
		{Encrypted, "startup"}:  {Encrypted, Proceed},
		{Encrypted, "cancel"}:   {Encrypted, Proceed},
	}
	for offered, table := range map[bool]map[key]outcome{false: without, true: with} {
		for state := Undecided; state <= Encrypted; state++ {
			for name, p := range packets {
				got, move, err := state.Next(p, offered)
				want, legal := table[key{state, name}]
				if !legal {
					want = outcome{state, Illegal}
				}
				if got != want.state || move != want.move {
					t.Errorf("TLS %v, state %d, %s: got state %d move %d, want %v", offered, state, name, got, move, want)
				}
				var e *pgerror.Error
				if legal != (err == nil) || err != nil && !errors.As(err, &e) {
					t.Errorf("TLS %v, state %d, %s: error %v", offered, state, name, err)
				}
			}
		}
	}
}

func TestErrorResponseFields(t *testing.T) {
	t.Parallel()
	full := ErrorResponse(Fatal, pgerror.New("28000", "m").WithDetail("d").WithHint("h").WithWhere("w").At(3))
	if full.Severity != "FATAL" || full.SeverityUnlocalized != "FATAL" || full.Code != "28000" || full.Message != "m" ||
		full.Detail != "d" || full.Hint != "h" || full.Where != "w" || full.Position != 3 {
		t.Errorf("%+v", full)
	}
	// What clients need is there even if the error has nothing.
	empty := ErrorResponse(Error, &pgerror.Error{})
	if empty.Code != "XX000" || empty.Message == "" || empty.SeverityUnlocalized != "ERROR" {
		t.Errorf("%+v", empty)
	}
	if notice := NoticeResponse(Notice, &pgerror.Error{Message: "m"}); notice.Code != "00000" || notice.Severity != "NOTICE" {
		t.Errorf("%+v", notice)
	}
}
