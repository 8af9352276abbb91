package sparse

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash/maphash"
	"os"
	"sync/atomic"
)

// Sums are digests of a file's segments, made behind whoever writes the file from its start to its end. With them a digest
// of the finished file takes a fraction of the time: what is still the same need not be hashed again. What was written over
// meanwhile shows by itself.
type Sums struct {
	seed     maphash.Seed
	segments []sum // of the first ones; nothing is added once ended is closed

	written     atomic.Int64
	more        chan struct{} // holds one
	quit, ended chan struct{}
}

// sum is what a segment was. Its marks are hashes of its chunks, 0 for those without data, by a key that is new for each
// file: a change that was not made to go unseen does so once in some 2^64. One that was, by whoever shaped the file for what
// e2fsprogs would write into it, would cost him the image, whose digest is then not that of its file.
type sum struct {
	known  bool
	digest []byte // nil without data
	marks  [segment / chunk]uint64
}

// Follow begins the sums of a file that is about to be written.
func Follow(file *os.File) *Sums {
	s := &Sums{seed: maphash.MakeSeed(), more: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go s.run(file)
	return s
}

// Written says that the file was written up to there. It does not wait.
func (s *Sums) Written(end int64) {
	s.written.Store(end)
	select {
	case s.more <- struct{}{}:
	default: // it has not looked since the last one
	}
}

// Stop ends the reading of the file, before the sums are used and before the file is closed. It is called once.
func (s *Sums) Stop() {
	close(s.quit)
	<-s.ended
}

func (s *Sums) run(file *os.File) {
	defer close(s.ended)
	for {
		select {
		case <-s.more:
		case <-s.quit:
			return
		}
		for at := int64(len(s.segments)) * segment; at+segment <= s.written.Load(); at += segment {
			select {
			case <-s.quit:
				return
			default:
				s.segments = append(s.segments, s.read(file, at))
			}
		}
	}
}

// read makes the sum of a segment. One that cannot be read, such as one in which the file ends as yet, is not known.
func (s *Sums) read(file *os.File, from int64) sum {
	var made sum
	all := sha256.New()
	found := false
	err := eachData(context.Background(), file, from, from+segment, keep, func(at int64, data []byte) error {
		found = true
		made.marks[at%segment/chunk] = s.mark(data)
		return addChunk(all, at, data)
	})
	if made.known = err == nil; made.known && found {
		made.digest = all.Sum(nil)
	}
	return made
}

func (s *Sums) mark(data []byte) uint64 { return max(maphash.Bytes(s.seed, data), 1) }

var errChanged = errors.New("it has changed")

// still returns the digest of the segment from there on, and whether that is the same as it was. A nil s knows none.
func (s *Sums) still(ctx context.Context, file *os.File, from, to int64, empty emptied) (digest []byte, same bool, err error) {
	if s == nil || from/segment >= int64(len(s.segments)) || to-from != segment {
		return nil, false, nil
	}
	was := s.segments[from/segment]
	if !was.known {
		return nil, false, nil
	}
	left := was.marks
	err = eachData(ctx, file, from, to, empty, func(at int64, data []byte) error {
		m := &left[at%segment/chunk]
		if *m != s.mark(data) {
			return errChanged
		}
		*m = 0
		return nil
	})
	if errors.Is(err, errChanged) {
		return nil, false, nil
	}
	return was.digest, err == nil && left == [segment / chunk]uint64{}, err
}
