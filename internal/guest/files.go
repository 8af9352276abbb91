package guest

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

const (
	maxPiece    = 64 << 10 // of an archive in one message
	maxWarnings = 1000     // that a guest is heard with in one copy
	maxPath     = 4095
)

// StatFile says what a path of the guest is; with follow, a symbolic link stands for what it points to.
func (g *Guest) StatFile(ctx context.Context, path string, follow bool) (model.FileInfo, error) {
	if err := model.ValidateFilePath(path); err != nil {
		return model.FileInfo{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	a, err := g.files.Stat(ctx, &agentv1.StatRequest{Path: path, Follow: follow})
	if err != nil || !a.GetExists() {
		return model.FileInfo{}, fromRPC("cannot look at "+path+" in the guest", err)
	}
	info := model.FileInfo{
		Exists: true, Mode: rootedfs.FileMode(a.GetMode()), Size: max(0, a.GetSize()), ModTime: time.Unix(0, 0),
		Target: a.GetTarget(), Real: a.GetReal(),
	}
	if a.GetMtime().IsValid() {
		info.ModTime = a.GetMtime().AsTime()
	}
	if len(info.Target) > maxPath || model.ValidateFilePath(info.Real) != nil {
		return model.FileInfo{}, model.Errorf(model.ErrCorrupt, "cannot look at %s in the guest: its agent answers with a path that cannot be", path)
	}
	return info, nil
}

// ListFiles names what lies in a directory of the guest and begins with prefix. Of a large directory it is only a part.
func (g *Guest) ListFiles(ctx context.Context, dir, prefix string) ([]model.FileName, error) {
	if err := model.ValidateFilePath(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	a, err := g.files.List(ctx, &agentv1.ListRequest{Dir: dir, Prefix: prefix})
	if err != nil {
		return nil, fromRPC("cannot list "+dir+" in the guest", err)
	}
	if len(a.GetFiles()) > model.MaxListed {
		return nil, model.Errorf(model.ErrCorrupt, "cannot list %s in the guest: its agent answers with more than was asked for", dir)
	}
	var names []model.FileName
	for _, f := range a.GetFiles() {
		name := f.GetName()
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || !strings.HasPrefix(name, prefix) {
			return nil, model.Errorf(model.ErrCorrupt, "cannot list %s in the guest: its agent answers with a name that cannot be", dir)
		}
		names = append(names, model.FileName{Name: name, Dir: f.GetDir()})
	}
	return names, nil
}

// ReadFiles writes a tar archive of what r says to w. The archive is the guest's word: only package rootedfs may unpack
// it. When an error is returned the archive is not complete.
func (g *Guest) ReadFiles(ctx context.Context, r model.FileRead, w io.Writer) error {
	if err := model.ValidateFilePath(r.Path); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	doing := "cannot read " + r.Path + " in the guest"
	stream, err := g.files.Read(ctx, &agentv1.ReadRequest{Path: r.Path, Follow: r.Follow, Name: r.Name, Portable: r.Portable})
	if err != nil {
		return fromRPC(doing, err)
	}
	defer stream.Close()
	warnings := 0
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fromRPC(doing, err)
		}
		if len(m.GetData()) > 0 {
			if _, err := w.Write(m.GetData()); err != nil {
				return err
			}
		}
		if line := m.GetWarning(); line != "" && r.Warn != nil && warnings < maxWarnings {
			warnings++
			r.Warn(plain(line, maxText))
		}
	}
}

// WriteFiles unpacks a tar archive in the guest, and returns once all is durable there. When an error is returned, also
// archive's own, every file under its name is still complete: as it was or as it should be.
func (g *Guest) WriteFiles(ctx context.Context, w model.FileWrite, archive io.Reader) (model.FileSummary, error) {
	if err := model.ValidateFilePath(w.Dir); err != nil {
		return model.FileSummary{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	doing := "cannot write to " + w.Dir + " in the guest"
	stream, err := g.files.Write(ctx)
	if err != nil {
		return model.FileSummary{}, fromRPC(doing, err)
	}
	open := &agentv1.WriteOpen{Dir: w.Dir, Name: w.Name, User: w.User, Archive: w.Archive}
	err = stream.Send(&agentv1.WriteRequest{Open: open})
	buf := make([]byte, maxPiece)
	for err == nil {
		n, readErr := io.ReadFull(archive, buf)
		if n > 0 {
			err = stream.Send(&agentv1.WriteRequest{Data: buf[:n]})
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			cancel() // an archive's end would be taken for its own
			_, _ = stream.CloseAndReceive()
			return model.FileSummary{}, readErr
		}
	}
	a, err := stream.CloseAndReceive() // says why a message could not be sent
	if err != nil {
		return model.FileSummary{}, fromRPC(doing, err)
	}
	for i, line := range a.GetWarnings() {
		if w.Warn != nil && i < maxWarnings {
			w.Warn(plain(line, maxText))
		}
	}
	return model.FileSummary{
		Files: int(a.GetFiles()), Dirs: int(a.GetDirs()), Links: int(a.GetLinks()), Skipped: int(a.GetSkipped()), Bytes: a.GetBytes(),
	}, nil
}
