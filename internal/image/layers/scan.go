package layers

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"banger/internal/model"
)

// scanned is what the first reading of a layer found.
type scanned struct {
	records []record
	dropped int
	spool   *spool // or nil: the contents are to be read again
}

// scanner reads one layer for the first time.
type scanner struct {
	layer       int
	budget      *budget
	tell        func(int)
	dir         string                                   // for the spool, or ""
	each        func(r *record, content io.Reader) error // takes the entries instead of a list of them, or nil
	found       scanned
	files       int64
	entriesRead int
	buf         []byte
	zeros       []byte
}

func (s *scanner) scan(ctx context.Context, l Layer) (found scanned, err error) {
	in, err := l.open(ctx, s.budget, s.tell)
	if err != nil {
		return scanned{}, err
	}
	defer func() {
		err = errors.Join(err, in.close())
		if err != nil && s.found.spool != nil {
			s.found.spool.file.Close()
		}
	}()
	if s.dir != "" && in.compressed {
		if s.found.spool, err = newSpool(s.dir); err != nil {
			return scanned{}, err
		}
		s.buf, s.zeros = make([]byte, chunkSize), make([]byte, chunkSize)
	}
	if err := s.entries(in); err != nil {
		return scanned{}, err
	}
	// Behind the end marker there is padding. Whoever keeps or checks the layer on its way needs that too.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return scanned{}, broken(err, s.entriesRead)
	}
	if s.found.spool != nil {
		err = s.found.spool.seal()
	}
	return s.found, err
}

func (s *scanner) entries(in io.Reader) error {
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err, s.entriesRead)
		}
		if err := s.entry(h, r); err != nil {
			return err
		}
	}
}

func (s *scanner) entry(h *tar.Header, content io.Reader) error {
	rec, dropped, err := s.budget.limits.parse(h)
	if err != nil {
		var limit *LimitError
		if errors.As(err, &limit) {
			return limit
		}
		return model.Errorf(model.ErrInvalid, "%.80q is %w", h.Name, err)
	}
	s.entriesRead++
	s.found.dropped += dropped
	if err := s.budget.entry(rec.text()); err != nil {
		return err
	}
	if rec.does == skip {
		return nil
	}
	held := rec.holdsContent()
	if held {
		if err := s.budget.file(rec.inode.size); err != nil {
			return err
		}
		rec.inode.layer, rec.inode.at = uint16(s.layer), s.files
		s.files++
	}
	if s.each != nil {
		return s.each(&rec, content)
	}
	s.found.records = append(s.found.records, rec)
	if !held || s.found.spool == nil {
		return nil
	}
	if rec.inode.at, err = s.found.spool.keep(content, rec.inode.size, s.buf, s.zeros); err != nil {
		return broken(err, s.entriesRead)
	}
	return nil
}

// broken explains a stream that ends too early or is none.
func broken(err error, entries int) error {
	var source *sourceError
	switch {
	case errors.As(err, &source), model.KindOf(err) != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case entries == 0:
		return model.Errorf(model.ErrCorrupt, "it is no tar archive, or a broken one: %w", err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return model.Errorf(model.ErrCorrupt, "it is broken after %d entries, where it ends too early (%w); get a whole copy of it, then run the same banger image import or banger image pull again", entries, err)
	}
	return model.Errorf(model.ErrCorrupt, "it is broken after %d entries: %w", entries, err)
}
