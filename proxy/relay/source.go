package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// bufferSize is how much is read at a time, in bytes. More gains nothing, less
// costs system calls.
const bufferSize = 16 << 10

// buffers are lent while there is something in them.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// source reads one side's messages. It has a buffer only while there are bytes to
// look at: a side that is silent costs none. One goroutine at a time uses it.
type source struct {
	conn net.Conn
	raw  syscall.RawConn // nil where system calls cannot be made: TLS

	lent  *[]byte // from buffers; nil if there is none, or data is a larger one
	data  []byte  // nil without a buffer
	at, n int     // data[at:n] is unread
	// inside: what is read next is not the beginning of a message.
	inside bool

	attempt func(fd uintptr) bool // one read; made once
	got     int
	err     error
	first   [1]byte
}

// use reads another connection from now on. Nothing may be unread.
func (s *source) use(conn net.Conn) {
	s.release()
	s.conn, s.raw = conn, rawConn(conn)
	if s.attempt == nil {
		s.attempt = s.tryRead
	}
}

// rawConn gives access to a connection below which there is no other.
func rawConn(conn net.Conn) syscall.RawConn {
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

func (s *source) unread() []byte { return s.data[s.at:s.n] }

// consume says that n bytes were dealt with.
func (s *source) consume(n int) { s.at += n }

// release gives the buffer back if all was read.
func (s *source) release() {
	if s.at < s.n {
		return
	}
	s.at, s.n, s.data = 0, 0, nil
	if s.lent != nil {
		buffers.Put(s.lent)
		s.lent = nil
	}
}

// drop throws away what is unread.
func (s *source) drop() {
	s.at = s.n
	s.release()
}

func (s *source) acquire() {
	if s.data == nil {
		s.lent = buffers.Get().(*[]byte)
		s.data = *s.lent
	}
}

// grow makes room for at least size bytes from the first unread one on.
func (s *source) grow(size int) {
	if size <= len(s.data) {
		return
	}
	larger := make([]byte, size)
	s.n = copy(larger, s.unread())
	s.at, s.data = 0, larger
	if s.lent != nil {
		buffers.Put(s.lent)
		s.lent = nil
	}
}

// more reads once, behind what is unread. It waits until there is something. Its
// error is io.EOF at the end of the stream.
func (s *source) more() error {
	switch {
	case s.at == s.n:
		s.at, s.n = 0, 0
		if len(s.data) > bufferSize { // was made for one large message
			s.release()
		}
	case s.at > 0 && s.n == len(s.data):
		s.n = copy(s.data, s.unread())
		s.at = 0
	}
	if s.raw == nil {
		return s.readConn()
	}
	if err := s.raw.Read(s.attempt); err != nil {
		return err
	}
	return s.taken(s.got, s.err)
}

func (s *source) taken(n int, err error) error {
	s.n += n
	switch {
	case n > 0:
		return nil
	case err == nil:
		err = io.EOF
	}
	s.release()
	return err
}

// tryRead takes a buffer to try with, and gives it back if there is nothing to
// read yet.
func (s *source) tryRead(fd uintptr) bool {
	s.acquire()
	for {
		n, err := syscall.Read(int(fd), s.data[s.n:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			s.release()
			return false
		}
		s.got, s.err = max(n, 0), err
		return true
	}
}

// readConn reads where it is not known whether there is something. At the beginning
// of a message it waits for one byte before it takes a buffer: four more belong to
// it, and TLS has the rest of the record by then.
func (s *source) readConn() error {
	if s.data == nil {
		if s.inside {
			s.acquire()
		} else {
			if n, err := s.conn.Read(s.first[:]); n == 0 {
				if err == nil {
					err = io.ErrNoProgress
				}
				return err
			}
			s.acquire()
			s.data[0], s.n = s.first[0], 1
		}
	}
	n, err := s.conn.Read(s.data[s.n:])
	if n > 0 {
		err = nil // comes again
	}
	return s.taken(n, err)
}
