package stream

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pgdrover/pgdrover/integration/pgtest"
	"github.com/pgdrover/pgdrover/pgerror"
)

var record = flag.Bool("record", false, "record testdata/*.stream from real servers")

// recordings are what servers have sent behind START_REPLICATION: with version 1
// of the protocol and with version 2, transactions in progress among it.
var recordings = []string{"plain", "binary", "streaming"}

func recording(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".stream"))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestRecord makes the recordings, with -record.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("-record makes testdata anew")
	}
	d, slot := source(t, pgtest.Shared(t, 0), kindsDDL+`CREATE TABLE done (i int PRIMARY KEY)`)
	d.Exec(t, "ALTER DATABASE "+pgtest.Quote(d.Name)+" SET logical_decoding_work_mem = '64kB'")
	steps(t, d, [][2]string{
		{"a", `BEGIN; INSERT INTO "Weird ""T"" $1" VALUES (1, 'one', repeat('x', 3000), 'sad'); UPDATE "Weird ""T"" $1" SET v = NULL; UPDATE "Weird ""T"" $1" SET id = 2; DELETE FROM "Weird ""T"" $1"; COMMIT`},
		{"a", `INSERT INTO f VALUES (1, NULL); UPDATE f SET b = 'x'; DELETE FROM f; TRUNCATE p, c RESTART IDENTITY`},
		{"a", `SELECT pg_logical_emit_message(true, 'pgdrover.own', 'hello'), pg_logical_emit_message(false, 'pgdrover.own', 'hello'), pg_logical_emit_message(true, 'foreign', 'hello')`},
		{"b", "BEGIN"}, {"b", "INSERT INTO p SELECT generate_series(1, 900)"}, {"b", "SAVEPOINT s"}, {"b", "INSERT INTO p SELECT generate_series(1001, 1900)"},
		{"a", "INSERT INTO f VALUES (2, 'two')"}, {"b", "ROLLBACK TO s"}, {"b", "TRUNCATE c"}, {"b", "COMMIT"},
		{"c", "BEGIN"}, {"c", "INSERT INTO p SELECT generate_series(2001, 2900)"}, {"c", "ROLLBACK"},
		{"a", "INSERT INTO done VALUES (1)"},
	})
	for _, name := range recordings {
		o := options(t, d, slot)
		o.Binary, o.Streaming = name == "binary", name == "streaming"
		r, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		want := readUntil(t, r)
		must(t, r.Close())
		data := recordStream(t, o)
		got := replay(t, data, 1<<30, o.Streaming)
		if len(got) < len(want) {
			t.Errorf("%s: %d transactions, want %d", name, len(got), len(want))
		}
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(filepath.Join("testdata", name+".stream"), data, 0o644))
	}
}

// recordStream gives the bytes up to the transaction that inserts into done.
func recordStream(t *testing.T, o Options) []byte {
	t.Helper()
	var data bytes.Buffer
	tap := func(conn net.Conn) io.Reader { return io.TeeReader(conn, &data) }
	r, err := openTapped(t, o, tap)
	must(t, err)
	readUntil(t, r)
	must(t, r.Close())
	return data.Bytes()
}

// openTapped is Open with everything that is read behind the server's consent
// going through tap.
func openTapped(t *testing.T, o Options, tap func(net.Conn) io.Reader) (*Reader, error) {
	t.Helper()
	o, err := o.complete()
	must(t, err)
	dir, err := newSpoolDir(o.SpillDirectory)
	must(t, err)
	r, err := begin(t.Context(), &o, dir)
	if err != nil {
		return nil, err
	}
	if r.frames.at != r.frames.end {
		t.Fatal("something came with the server's consent; record again")
	}
	r.frames.from = tap(r.paced)
	r.run()
	return r, nil
}

// replay decodes what was recorded, as a Reader does.
func replay(t testing.TB, data []byte, spill int64, proto2 bool) []received {
	t.Helper()
	out, err := decodeAll(t, bytes.NewReader(data), spill, proto2)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return out
}

func decodeAll(t testing.TB, from io.Reader, spill int64, proto2 bool) ([]received, error) {
	t.Helper()
	o, err := Options{Slot: "s", Publications: []string{"p"}, SpillMemory: spill, SpillDirectory: t.TempDir()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := newSpoolDir(o.SpillDirectory)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dir.remove(); err != nil {
			t.Error(err)
		}
	}()
	client, other := net.Pipe()
	defer func() { _, _ = client.Close(), other.Close() }()
	r := newReader(&o, dir, client, newFrames(from, 1<<20), time.Hour, proto2)
	defer r.cancel(nil)
	r.frames.from = from
	defer r.assembler.close()
	r.assembler.block = r.frames.block
	var out []received
	for {
		failure := r.decode()
		for {
			tx, ok := r.TryNext()
			if !ok {
				break
			}
			out = append(out, received{tx.XID, tx.FinalLSN, tx.EndLSN, tx.CommitTime, tx.Rows, tx.Bytes, lines(t, tx), false, false})
			tx.Release()
		}
		if failure != nil {
			return out, failure
		}
		moved, err := r.frames.fill()
		if moved {
			r.assembler.moved(r.frames.block)
		}
		if err != nil {
			return out, err
		}
	}
}

// However the bytes of a real stream are cut into reads, and wherever
// transactions are kept, the same comes out.
func TestRecordings(t *testing.T) {
	t.Parallel()
	for _, name := range recordings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := recording(t, name)
			want := replay(t, data, 1<<30, true)
			if len(want) < 6 {
				t.Fatalf("%d transactions", len(want))
			}
			for how, from := range map[string]io.Reader{
				"byte by byte": iotest.OneByteReader(bytes.NewReader(data)), "halves": iotest.HalfReader(bytes.NewReader(data)),
				"with the end": iotest.DataErrReader(bytes.NewReader(data)),
			} {
				for _, spill := range []int64{1, 5000, 1 << 30} {
					got, err := decodeAll(t, from, spill, true)
					if !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(received{})); diff != "" {
						t.Errorf("%s, spill %d: %s", how, spill, diff)
					}
					switch how {
					case "byte by byte":
						from = iotest.OneByteReader(bytes.NewReader(data))
					case "halves":
						from = iotest.HalfReader(bytes.NewReader(data))
					default:
						from = iotest.DataErrReader(bytes.NewReader(data))
					}
				}
			}
		})
	}
}

// Whatever a connection gives, there is an error with a SQLSTATE and no panic;
// and what is complete is the same wherever it is kept.
func FuzzStream(f *testing.F) {
	for _, name := range recordings {
		// Enough for a transaction, and for two of them in progress.
		data := recording(f, name)
		f.Add(data[:2000])
		f.Add(slices.Concat(data[:1000], data[len(data)-3000:]))
	}
	f.Add([]byte("d\xff\xff\xff\xffw"))
	f.Fuzz(func(t *testing.T, data []byte) {
		memory, err := decodeAll(t, bytes.NewReader(data), 1<<30, true)
		if code := pgerror.Code(err); code == pgerror.InternalError && !errors.Is(err, io.EOF) {
			t.Errorf("an error without a code: %v", err)
		}
		file, fileErr := decodeAll(t, bytes.NewReader(data), 1, true)
		if (err == nil) != (fileErr == nil) || pgerror.Code(err) != pgerror.Code(fileErr) {
			t.Errorf("in memory %v, in files %v", err, fileErr)
		}
		if !reflect.DeepEqual(memory, file) {
			t.Error(cmp.Diff(memory, file, cmp.AllowUnexported(received{})))
		}
	})
}

// FuzzMessage is FuzzStream for the body of one message of pgoutput, behind
// those that it may need.
func FuzzMessage(f *testing.F) {
	var before [][]byte
	seeds := map[byte]int{}
	for _, recorded := range recordings {
		in := newFrames(bytes.NewReader(recording(f, recorded)), 1<<20)
		for {
			kind, body, ok, err := in.next()
			if err != nil {
				break
			}
			if !ok {
				if _, err := in.fill(); err != nil {
					break
				}
				continue
			}
			if kind == 'd' && len(body) > 25 && body[0] == 'w' {
				message := bytes.Clone(body[25:])
				if seeds[message[0]]++; seeds[message[0]] <= 5 && len(message) < 1000 {
					f.Add(message, false)
					f.Add(message, true)
				}
				if message[0] == relationMessage && recorded != "streaming" {
					before = append(before, message)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, message []byte, streamed bool) {
		a := newAssembler(nil, 1<<40, true)
		a.block = newBlock(blockSize)
		start := make([]byte, 1+8+8+4) // a Begin message
		start[0] = beginMessage
		if streamed {
			start = []byte{streamStartMessage, 0, 0, 0, 9, 1}
		}
		for _, m := range slices.Concat(before, [][]byte{start}) {
			if err := a.message(m); err != nil {
				t.Fatal(err)
			}
		}
		err := a.message(message)
		if err != nil && pgerror.Code(err) != pgerror.ProtocolViolation {
			t.Errorf("code %s: %v", pgerror.Code(err), err)
		}
		for _, tx := range a.out {
			lines(t, tx)
			tx.Release()
		}
	})
}
