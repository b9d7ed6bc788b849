package relay_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdrover/pgdrover/config"
)

// rawMessage is a message with any type and length field.
func rawMessage(kind byte, length uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, length)
	return append(b, body...)
}

func TestViolations(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode, general: "default_pool_size = 2"})
		s.database.Exec(t, "CREATE TABLE item (id int)")
		for name, b := range map[string][]byte{
			"unknown type":            rawMessage('!', 4, ""),
			"password after login":    rawMessage('p', 5, "\x00"),
			"length too short":        rawMessage('Q', 3, ""),
			"length negative":         rawMessage('Q', 0xffffffff, ""),
			"length beyond all":       rawMessage('Q', 0x7fffffff, ""),
			"bind without names":      rawMessage('B', 8, "abcd"),
			"parse without end":       rawMessage('P', 8, "abcd"),
			"parse without text":      rawMessage('P', 8, "a\x00bc"),
			"describe of nothing":     rawMessage('D', 6, "X\x00"),
			"describe without end":    rawMessage('D', 6, "Sx"),
			"close that is huge":      rawMessage('C', 1<<20, strings.Repeat("S", 100)),
			"execute without a name":  rawMessage('E', 8, "abcd"),
			"a name without end":      rawMessage('B', 1<<20, strings.Repeat("x", 20000)),
			"query during COPY":       append(rawMessage('Q', 4+len32("COPY item FROM STDIN\x00"), "COPY item FROM STDIN\x00"), rawMessage('Q', 4+len32("SELECT 1\x00"), "SELECT 1\x00")...),
			"sync that is huge":       rawMessage('S', 1<<20, strings.Repeat("x", 20000)),
			"query that never ends":   rawMessage('Q', 1<<29, strings.Repeat(" ", 100)),
			"nothing but copy data":   append(rawMessage('d', 1000, strings.Repeat("x", 996)), rawMessage('!', 4, "")...),
			"flush, flush, unknown":   append(append(rawMessage('H', 4, ""), rawMessage('H', 4, "")...), rawMessage('!', 4, "")...),
			"startup packet again":    {0, 0, 0, 8, 4, 210, 22, 47},
			"terminate with pipeline": append(rawMessage('X', 4, ""), rawMessage('Q', 4+len32("SELECT 1\x00"), "SELECT 1\x00")...),
		} {
			f := s.speak()
			f.bytes(b)
			closeWrite(f.conn)
			if left, err := io.ReadAll(f.conn); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%s: %v after %q", name, err, left)
			}
			f.conn.Close()
			next := s.connect()
			if got := value(t, next, "SELECT count(*) FROM item"); got != "0" {
				t.Errorf("after %s: %q", name, got)
			}
			closeConn(next.PgConn())
		}
	})
}

func len32(s string) uint32 { return uint32(len(s)) }

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may be closed
	}
}

// A client that sends byte by byte, and one that sends random bytes, harm nobody.
func TestSlowAndRandomSenders(t *testing.T) {
	t.Parallel()
	s := newStand(t, setup{general: "default_pool_size = 2"})
	slow := s.speak()
	var b []byte
	for _, m := range []pgproto3.FrontendMessage{parse("a", "SELECT 'a'::text"), bind("a"), &pgproto3.Describe{ObjectType: 'P'}, execute, syncing, query("SELECT 1")} {
		b, _ = m.Encode(b)
	}
	for i := range b {
		slow.bytes(b[i : i+1])
	}
	if got := slow.hear(2); got != "1 2 T D[a] C[SELECT 1] Z T D[1] C[SELECT 1] Z" {
		t.Errorf("byte by byte: %q", got)
	}
	random := rand.New(rand.NewPCG(1, 2))
	n := 50
	if os.Getenv("PGDROVER_LONG_TESTS") != "" {
		n = 2000
	}
	for range n {
		f := s.speak()
		var b []byte
		for range 20 {
			body := make([]byte, random.IntN(40))
			for i := range body {
				body[i] = "SP\x00\x00\x01aSELECT 1;"[random.IntN(15)]
			}
			b = append(b, rawMessage("QPBDECSHFdcfX"[random.IntN(13)], uint32(len(body)+4-random.IntN(2)*random.IntN(2)*random.IntN(3)), string(body))...)
		}
		f.bytes(b)
		closeWrite(f.conn)
		_, _ = io.ReadAll(f.conn) // whatever it says
		f.conn.Close()
	}
	if got := value(t, s.connect(), "SELECT 1"); got != "1" {
		t.Error(got)
	}
}

// Both sides send more than sockets hold, at the same time.
func TestBothSidesSendAtOnce(t *testing.T) {
	t.Parallel()
	each(t, []config.PoolerMode{config.ModeTransaction, config.ModeSession}, func(t *testing.T, mode config.PoolerMode) {
		s := newStand(t, setup{mode: mode})
		s.database.Exec(t, "CREATE TABLE item (id int)")
		f := s.speak()
		if err := f.conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			t.Fatal(err)
		}
		const n = 3000
		sent := make(chan error, 1)
		go func() { // nothing is read before all is sent, but by the other goroutine
			var b []byte
			for i := range n {
				b, _ = parse("", "SELECT repeat('x', 5000)").Encode(b)
				b, _ = bind("").Encode(b)
				b, _ = execute.Encode(b)
				if i%1000 == 999 {
					b, _ = syncing.Encode(b)
				}
			}
			_, err := f.conn.Write(b)
			sent <- err
		}()
		for rows, ready := 0, 0; ready < 3; {
			m, err := f.Receive()
			if err != nil {
				t.Fatalf("after %d rows: %v", rows, err)
			}
			switch m.(type) {
			case *pgproto3.DataRow:
				rows++
			case *pgproto3.ReadyForQuery:
				if ready++; rows != ready*1000 {
					t.Fatalf("%d rows", rows)
				}
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		// COPY that the server gives up, while the client goes on sending.
		copying := make(chan error, 1)
		go func() {
			b, _ := query("COPY item FROM STDIN").Encode(nil)
			data, _ := (&pgproto3.CopyData{Data: []byte("1\nnot a number\n")}).Encode(nil)
			more, _ := (&pgproto3.CopyData{Data: []byte(strings.Repeat("1\n", 4000))}).Encode(nil)
			b = append(b, data...)
			for range 500 {
				b = append(b, more...)
			}
			b, _ = (&pgproto3.CopyDone{}).Encode(b)
			_, err := f.conn.Write(b)
			copying <- err
		}()
		if got := f.hear(1); got != "G E22P02 Z" {
			t.Errorf("COPY: %q", got)
		}
		if err := <-copying; err != nil {
			t.Fatal(err)
		}
		if got := f.say(1, query("SELECT count(*) FROM item")); got != "T D[0] C[SELECT 1] Z" {
			t.Errorf("after COPY: %q", got)
		}
	})
}

// An idle client costs little, also after it has moved much.
func TestIdleClientsAreSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted")
	}
	s := newStand(t, setup{})
	heap, stacks := memoryInUse()
	n := 300
	if os.Getenv("PGDROVER_LONG_TESTS") != "" {
		n = 1000
	}
	for range n {
		conn, err := net.Dial("tcp", s.address.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		b, _ := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "postgres", "database": "app"}}).Encode(nil)
		b, _ = query("SELECT repeat('x', 100000)").Encode(b)
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		readyTwice(t, conn)
	}
	heapNow, stacksNow := memoryInUse()
	heapEach, stackEach := (heapNow-heap)/int64(n), (stacksNow-stacks)/int64(n)
	each := heapEach + stackEach
	t.Logf("an idle client takes %d bytes of heap, with the test's end of it, and %d of stack", heapEach, stackEach)
	if f := os.Getenv("RELAY_HEAP"); f != "" {
		w, _ := os.Create(f)
		_ = pprof.Lookup("heap").WriteTo(w, 0)
		w.Close()
	}
	if each > 16<<10 {
		t.Errorf("an idle client takes %d bytes", each)
	}
}

// readyTwice reads up to the second ReadyForQuery, holding nothing of it.
func readyTwice(t *testing.T, conn net.Conn) {
	t.Helper()
	head := make([]byte, 5)
	for ready := 0; ready < 2; {
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			t.Fatal(err)
		}
		if head[0] == 'Z' {
			ready++
		}
	}
}

// memoryInUse is heap and stacks, after a collection.
func memoryInUse() (heap, stacks int64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}
