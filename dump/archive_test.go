package dump

import (
	"bytes"
	"strconv"
)

// encoder writes archives as pg_dump does, for tests of every format version.
type encoder struct {
	bytes.Buffer
	version Version
	intSize int
}

func (w *encoder) integer(n int) {
	sign, magnitude := byte(0), n
	if n < 0 {
		sign, magnitude = 1, -n
	}
	w.WriteByte(sign)
	for range w.intSize {
		w.WriteByte(byte(magnitude))
		magnitude >>= 8
	}
}

func (w *encoder) null() { w.integer(-1) }

func (w *encoder) text(s string) {
	w.integer(len(s))
	w.WriteString(s)
}

// orNull writes "" as NULL: what pg_dump does with most absent fields.
func (w *encoder) orNull(s string) {
	if s == "" {
		w.null()
		return
	}
	w.text(s)
}

func (w *encoder) head(a *Archive) {
	w.WriteString(magic)
	w.Write([]byte{byte(w.version.Major), byte(w.version.Minor), byte(w.version.Revision), byte(w.intSize), 8, formatCustom})
	if w.version.atLeast(Version{Major: 1, Minor: 15}) {
		w.WriteByte(1)
	} else {
		w.integer(-1)
	}
	t := a.Created
	for _, n := range []int{t.Second(), t.Minute(), t.Hour(), t.Day(), int(t.Month()) - 1, t.Year() - 1900, 0} {
		w.integer(n)
	}
	w.text(a.Database)
	w.text(a.ServerVersion)
	w.text(a.DumpVersion)
}

func (w *encoder) entry(e Entry) {
	w.integer(e.DumpID)
	w.integer(map[bool]int{true: 1}[e.HasData])
	w.text(strconv.FormatUint(uint64(e.TableOID), 10))
	w.text(strconv.FormatUint(uint64(e.OID), 10))
	w.text(e.Tag)
	w.text(string(e.Kind))
	w.integer(int(e.Section))
	w.orNull(e.Definition)
	w.orNull(e.Drop)
	w.orNull(e.Copy)
	w.orNull(e.Namespace)
	w.orNull(e.Tablespace)
	if w.version.atLeast(Version{Major: 1, Minor: 14}) {
		w.orNull(e.AccessMethod)
	}
	if w.version.atLeast(Version{Major: 1, Minor: 16}) {
		w.integer(int(e.Relkind))
	}
	w.orNull(e.Owner)
	w.text(strconv.FormatBool(e.WithOIDs))
	for _, id := range e.Dependencies {
		w.text(strconv.Itoa(id))
	}
	w.null()
	w.WriteByte(offsetNoData)
	w.Write(make([]byte, 8))
}

// encode writes a in the format version a.Format.
func encode(a *Archive) []byte { return encodeWith(a, 4) }

func encodeWith(a *Archive, intSize int) []byte {
	w := &encoder{version: a.Format, intSize: intSize}
	w.head(a)
	w.integer(len(a.Entries))
	for _, e := range a.Entries {
		w.entry(e)
	}
	return w.Bytes()
}
