package layers

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// spool keeps the contents of one layer's files, one after the other, in a file without a name. Runs of zeros become
// holes.
type spool struct {
	file *os.File
	end  int64
}

func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &spool{file: file}, nil
}

// keep appends a content and returns where it begins.
func (s *spool) keep(content io.Reader, size int64, buf, zeros []byte) (int64, error) {
	begin := s.end
	for left := size; left > 0; {
		part := buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(content, part); err != nil {
			return 0, err
		}
		if !bytes.Equal(part, zeros[:len(part)]) {
			if _, err := s.file.WriteAt(part, s.end); err != nil {
				return 0, spoolError(err)
			}
		}
		s.end += int64(len(part))
		left -= int64(len(part))
	}
	return begin, nil
}

// seal makes the holes at the end readable.
func (s *spool) seal() error { return spoolError(s.file.Truncate(s.end)) }

func spoolError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return model.Errorf(model.ErrNoSpace, "there is no space for its contents while it is converted: %w", err)
	}
	return err
}
