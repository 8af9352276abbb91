// Package ahead reads streams before they are needed, so that the stages of a conversion run at the same time.
package ahead

import "io"

const (
	chunkSize   = 256 << 10
	chunksAhead = 8
)

// Reader reads a stream in a goroutine of its own, a bounded piece ahead of who reads from it.
type Reader struct {
	full  chan []byte
	free  chan []byte
	quit  chan struct{}
	ended chan struct{}
	err   error // once full is closed
	chunk []byte
	rest  []byte
}

// New begins to read in.
func New(in io.Reader) *Reader {
	a := &Reader{
		full: make(chan []byte, chunksAhead), free: make(chan []byte, chunksAhead),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
	for range chunksAhead {
		a.free <- nil // made when it is needed
	}
	go a.run(in)
	return a
}

func (a *Reader) run(in io.Reader) {
	defer close(a.ended)
	defer close(a.full)
	for {
		var chunk []byte
		select {
		case chunk = <-a.free:
		case <-a.quit:
			return
		}
		if chunk == nil {
			chunk = make([]byte, chunkSize)
		}
		n, err := fill(in, chunk[:chunkSize])
		a.full <- chunk[:n] // there is a place for each chunk
		if err != nil {
			a.err = err
			return
		}
	}
}

// fill reads until the chunk is full. Unlike io.ReadFull it tells the end of the stream as it is.
func fill(in io.Reader, chunk []byte) (n int, err error) {
	for n < len(chunk) && err == nil {
		var m int
		m, err = in.Read(chunk[n:])
		n += m
	}
	return n, err
}

// Read gives what was read, and then how the stream ended.
func (a *Reader) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.chunk != nil {
			a.free <- a.chunk
			a.chunk = nil
		}
		chunk, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.chunk, a.rest = chunk, chunk
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Stop returns when the stream is not read any more. Reading from it may block until then.
func (a *Reader) Stop() {
	close(a.quit)
	<-a.ended
}
