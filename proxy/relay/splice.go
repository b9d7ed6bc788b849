package relay

// splice passes bytes on with changes. As long as there are none, what it gives
// is the source itself and nothing is copied.
type splice struct {
	src  []byte
	from int // src[from:] is not in out yet
	out  []byte
	lent *[]byte
}

// start begins with the bytes of src.
func (p *splice) start(src []byte) { p.src, p.from = src, 0 }

// touch puts everything up to src[to] into out.
func (p *splice) touch(to int) {
	if p.lent == nil {
		p.lent = buffers.Get().(*[]byte)
		p.out = (*p.lent)[:0]
	}
	p.out = append(p.out, p.src[p.from:to]...)
	p.from = to
}

// replace puts b in the place of src[from:to].
func (p *splice) replace(from, to int, b ...byte) {
	if from == to && len(b) == 0 {
		return
	}
	p.touch(from)
	p.out = append(p.out, b...)
	p.from = to
}

// finish gives what src[:to] has become; end is called after it was written.
func (p *splice) finish(to int) []byte {
	if p.lent == nil {
		return p.src[p.from:to]
	}
	p.touch(to)
	return p.out
}

// end gives back what finish has given.
func (p *splice) end() {
	if p.lent == nil {
		return
	}
	buffers.Put(p.lent) // out may have outgrown it
	p.lent, p.out, p.src = nil, nil, nil
}
