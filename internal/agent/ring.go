package agent

const (
	ringMin = 4 << 10
	ringMax = 1 << 20 // what is kept of one output; a power of two

	// maxUnsent is how far an output may run ahead of an attached reader before its process has to wait. The rest of the
	// ring keeps what was sent last, which a broken connection may have swallowed: more than a stream's window.
	maxUnsent = ringMax / 2
)

// ring keeps the last ringMax bytes of an output, under their offsets from its beginning. It grows as it fills.
type ring struct {
	buf        []byte // its length is a power of two
	start, end int64  // offsets of the oldest byte kept and of the next one to come
}

// write appends b, which is at most ringMax long, over the oldest bytes where needed.
func (r *ring) write(b []byte) {
	for need := r.end - r.start + int64(len(b)); int64(len(r.buf)) < min(need, ringMax); {
		r.grow()
	}
	for len(b) > 0 {
		at := int(r.end) & (len(r.buf) - 1)
		n := copy(r.buf[at:], b)
		r.end += int64(n)
		b = b[n:]
	}
	r.start = max(r.start, r.end-int64(len(r.buf)))
}

func (r *ring) grow() {
	next := make([]byte, max(ringMin, 2*len(r.buf)))
	for at := r.start; at < r.end; {
		from := r.buf[int(at)&(len(r.buf)-1):]
		from = from[:min(int64(len(from)), r.end-at)]
		at += int64(copy(next[int(at)&(len(next)-1):], from))
	}
	r.buf = next
}

// read copies up to limit bytes from offset on, or from the oldest one when that is gone. It returns where they begin.
func (r *ring) read(offset int64, limit int) (data []byte, at int64) {
	at = max(offset, r.start)
	if at >= r.end {
		return nil, at
	}
	data = make([]byte, 0, min(int64(limit), r.end-at))
	for len(data) < cap(data) {
		from := r.buf[int(at+int64(len(data)))&(len(r.buf)-1):]
		data = append(data, from[:min(len(from), cap(data)-len(data))]...)
	}
	return data, at
}
