package client

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

// FileInfo is what a path of a guest is. The zero FileInfo is that of nothing.
type FileInfo struct {
	Exists  bool
	Mode    fs.FileMode // with its type
	Size    int64
	ModTime time.Time
	Target  string // what a symbolic link says
	Real    string // the path with every link on the way resolved
}

// CopyOptions say how files are copied. The zero value is docker cp's way.
type CopyOptions struct {
	Follow   bool                // a symbolic link that is named as the source stands for what it points to
	Archive  bool                // owners are kept, by their numbers; on the host only root can
	MaxBytes int64               // that may come out of a guest; 0 for 64 GiB
	Warn     func(line string)   // hears what was left out, in a guest's words; nil for nobody
	Progress func(s CopySummary) // hears of each step; nil for nobody
}

// CopySummary counts what a copy did.
type CopySummary = model.FileSummary

// ErrTooLarge is the cause of the error about a copy with more bytes than were allowed.
var ErrTooLarge = rootedfs.ErrTooLarge

// StatFile says what an absolute path of a running VM's guest is; with follow, a symbolic link stands for what it points
// to. That there is nothing is no error.
func (c *Client) StatFile(ctx context.Context, vm, path string, follow bool) (FileInfo, error) {
	m, err := c.files.Stat(ctx, &bangerv1.StatFileRequest{VmId: vm, Path: path, Follow: follow})
	if err != nil || !m.GetExists() {
		return FileInfo{}, plain(ctx, err)
	}
	return FileInfo{
		Exists: true, Mode: rootedfs.FileMode(m.GetMode()), Size: m.GetSize(), ModTime: m.GetMtime().AsTime(),
		Target: m.GetTarget(), Real: m.GetReal(),
	}, nil
}

// FileName is one name in a directory of a guest: the guest's word, of any characters but / and NUL.
type FileName = model.FileName

// ListFiles names what lies in a directory of a running VM's guest and begins with prefix, for somebody who types a path.
// Of a large directory it is only a part. It does not count as a use of the VM.
func (c *Client) ListFiles(ctx context.Context, vm, dir, prefix string) ([]FileName, error) {
	res, err := c.files.List(ctx, &bangerv1.ListFilesRequest{VmId: vm, Dir: dir, Prefix: prefix})
	if err != nil {
		return nil, plain(ctx, err)
	}
	var names []FileName
	for _, f := range res.GetFiles() {
		names = append(names, FileName{Name: f.GetName(), Dir: f.GetDir()})
	}
	return names, nil
}

// maxFileData is the most of an archive that one message carries.
const maxFileData = 64 << 10

// readFiles has use read the archive of a guest's file or directory.
func (c *Client) readFiles(ctx context.Context, r *bangerv1.ReadFilesRequest, warn func(string), use func(archive io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.files.Read(ctx, r)
	if err != nil {
		return plain(ctx, err)
	}
	defer stream.Close()
	return use(&fileReader{ctx: ctx, stream: stream, warn: warn})
}

// fileReader is the archive in a stream.
type fileReader struct {
	ctx    context.Context
	stream bangerv1connect.FileServiceReadClientStream
	warn   func(string)
	rest   []byte
}

func (r *fileReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.stream.Receive()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, plain(r.ctx, err)
		}
		if m.GetWarning() != "" && r.warn != nil {
			r.warn(m.GetWarning())
		}
		r.rest = m.GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// writeFiles has feed write an archive that is unpacked in a guest.
func (c *Client) writeFiles(ctx context.Context, open *bangerv1.WriteFilesOpen, warn func(string), feed func(archive io.Writer) error) (CopySummary, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.files.Write(ctx)
	if err != nil {
		return CopySummary{}, plain(ctx, err)
	}
	w := &fileWriter{stream: stream}
	w.err = stream.Send(&bangerv1.WriteFilesRequest{Open: open})
	if err := feed(w); err != nil && w.err == nil {
		cancel() // a mere end would be taken for the archive's own
		_, _ = stream.CloseAndReceive()
		return CopySummary{}, err
	}
	m, err := stream.CloseAndReceive() // says why a message could not be sent
	if err != nil {
		return CopySummary{}, plain(ctx, err)
	}
	for _, line := range m.GetWarnings() {
		if warn != nil {
			warn(line)
		}
	}
	return CopySummary{
		Files: int(m.GetFiles()), Dirs: int(m.GetDirs()), Links: int(m.GetLinks()), Skipped: int(m.GetSkipped()), Bytes: m.GetBytes(),
	}, nil
}

// fileWriter sends an archive.
type fileWriter struct {
	stream bangerv1connect.FileServiceWriteClientStream
	err    error // why nothing more can be sent, or nil
}

func (w *fileWriter) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) && w.err == nil {
		part := b[sent:min(len(b), sent+maxFileData)]
		if w.err = w.stream.Send(&bangerv1.WriteFilesRequest{Data: part}); w.err == nil {
			sent += len(part)
		}
	}
	return sent, w.err
}
