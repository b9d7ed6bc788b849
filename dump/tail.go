package dump

// tailSize is how much of a program's words is kept.
const tailSize = 8 << 10

// tail is an io.Writer that keeps the last tailSize bytes written to it. It is
// used by one writer and read after that has ended.
type tail struct {
	kept []byte
	cut  bool // something before kept was dropped
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	written := len(p)
	if len(p) > tailSize {
		p, t.cut = p[len(p)-tailSize:], true
	}
	if excess := len(t.kept) + len(p) - tailSize; excess > 0 {
		t.kept, t.cut = append(t.kept[:0], t.kept[excess:]...), true
	}
	t.kept = append(t.kept, p...)
	return written, nil
}

// String gives what was kept, with an ellipsis before it if it is not all.
func (t *tail) String() string {
	if t.cut {
		return "..." + string(t.kept)
	}
	return string(t.kept)
}
