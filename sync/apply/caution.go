package apply

// caution keeps a table whose set statements have failed in exact order for its
// next chunks, so that rows which swap unique values all day do not cost a
// rollback each time.
type caution struct {
	left    int // chunks still to come that are exact
	next    int // as many the next time
	checked bool
}

const (
	leastCaution = 2 // the chunk that failed and the one behind it
	mostCaution  = 64
)

// beCautious has a table go one by one, twice as long as the last time.
func (w *worker) beCautious(win *window, checked bool) {
	c := w.caution[win.target]
	if c == nil {
		c = &caution{next: leastCaution}
		w.caution[win.target] = c
	}
	c.left, c.next = c.next, min(2*c.next, mostCaution)
	c.checked = c.checked || checked
	win.single, win.checked = true, c.checked
}

// relax notes that a chunk is applied.
func (w *worker) relax(ch *chunk) {
	if len(w.caution) == 0 {
		return
	}
	for _, win := range ch.windows {
		c := w.caution[win.target]
		switch {
		case c == nil:
		case c.left > 0:
			c.left--
		case c.next > leastCaution:
			c.next /= 2
		default:
			delete(w.caution, win.target)
		}
	}
}

// exact tells whether some changes of the chunk went one by one.
func (c *chunk) exact() bool {
	for _, w := range c.windows {
		if w.single {
			return true
		}
	}
	return false
}
