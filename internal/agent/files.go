package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

const (
	// maxCopies is how many copies go on at once; more are told to wait.
	maxCopies = 16
	// maxData is the most of an archive in one message.
	maxData = 64 << 10
	// maxWarnings is how many things that were left out are named.
	maxWarnings = 100
	// unlimited is the cap of what the host writes: the disk has its own.
	unlimited = 1 << 62
)

// files serves the guest's files.
type files struct {
	sys   System
	agent *Agent
	slots chan struct{}
}

// enter takes a slot, once the guest has its root.
func (f *files) enter() (leave func(), err error) {
	if f.agent.current().Generation == 0 {
		return nil, model.Errorf(model.ErrState, "the guest is not configured yet")
	}
	select {
	case f.slots <- struct{}{}:
		return func() { <-f.slots }, nil
	default:
		return nil, model.Errorf(model.ErrUnavailable, "%d copies go on already: wait for one to end", maxCopies)
	}
}

// Stat serves the look at one path.
func (f *files) Stat(_ context.Context, req *agentv1.StatRequest) (*agentv1.StatResponse, error) {
	leave, err := f.enter()
	if err != nil {
		return nil, verdict(err)
	}
	defer leave()
	resolved, info, err := rootedfs.Resolve(f.sys.Root(), req.GetPath(), req.GetFollow())
	if errors.Is(err, fs.ErrNotExist) {
		return &agentv1.StatResponse{}, nil
	}
	if err != nil {
		return nil, verdict(err)
	}
	answer := &agentv1.StatResponse{
		Exists: true, Mode: rootedfs.StatMode(info.Mode), Size: info.Size, Mtime: timestamppb.New(info.ModTime), Real: resolved,
	}
	if info.Mode&fs.ModeSymlink != 0 {
		if answer.Target, err = rootedfs.Target(f.sys.Root(), resolved); err != nil {
			return nil, verdict(err)
		}
	}
	return answer, nil
}

// List serves the names in a directory.
func (f *files) List(ctx context.Context, req *agentv1.ListRequest) (*agentv1.ListResponse, error) {
	leave, err := f.enter()
	if err != nil {
		return nil, verdict(err)
	}
	defer leave()
	root, err := rootedfs.OpenIn(f.sys.Root(), req.GetDir())
	if err != nil {
		return nil, verdict(err)
	}
	defer root.Close()
	found, err := root.Names(ctx, req.GetPrefix(), model.MaxListed, model.MaxScanned)
	if err != nil {
		return nil, verdict(err)
	}
	answer := &agentv1.ListResponse{}
	for _, e := range found {
		if utf8.ValidString(e.Name()) { // a message holds no other
			answer.Files = append(answer.Files, &agentv1.ListedFile{Name: e.Name(), Dir: e.IsDir()})
		}
	}
	return answer, nil
}

// Read serves an archive of what a path is.
func (f *files) Read(ctx context.Context, req *agentv1.ReadRequest, stream agentv1connect.FileServiceReadServerStream) error {
	leave, err := f.enter()
	if err != nil {
		return verdict(err)
	}
	defer leave()
	resolved, _, err := rootedfs.Resolve(f.sys.Root(), req.GetPath(), req.GetFollow())
	if err != nil {
		return verdict(err)
	}
	root, err := rootedfs.OpenIn(f.sys.Root(), path.Dir(resolved))
	if err != nil {
		return verdict(err)
	}
	defer root.Close()
	name := path.Base(resolved)
	if resolved == "/" {
		name = "."
	}
	out := newSender(stream)
	warnings := 0
	_, err = root.Pack(ctx, name, out, rootedfs.PackOptions{
		Name: req.GetName(), Portable: req.GetPortable(),
		Warn: func(line string) {
			if warnings++; warnings <= maxWarnings {
				out.send(&agentv1.ReadResponse{Warning: line})
			}
		},
	})
	if warnings > maxWarnings {
		out.send(&agentv1.ReadResponse{Warning: fmt.Sprintf("left out %d more", warnings-maxWarnings)})
	}
	if sent := out.close(); err == nil {
		err = sent
	}
	if err != nil {
		return verdict(err)
	}
	return nil
}

// sender sends what is written to it in a goroutine of its own: the next files are read meanwhile.
type sender struct {
	stream agentv1connect.FileServiceReadServerStream
	queue  chan *agentv1.ReadResponse
	done   chan struct{} // closed when nothing more is sent
	err    error         // why, once done is closed
}

// maxAhead is how many messages wait to be sent.
const maxAhead = 8

func newSender(stream agentv1connect.FileServiceReadServerStream) *sender {
	s := &sender{stream: stream, queue: make(chan *agentv1.ReadResponse, maxAhead), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for m := range s.queue {
			if s.err = stream.Send(m); s.err != nil {
				return
			}
		}
	}()
	return s
}

func (s *sender) send(m *agentv1.ReadResponse) bool {
	select {
	case s.queue <- m:
		return true
	case <-s.done:
		return false
	}
}

func (s *sender) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		part := bytes.Clone(b[sent:min(len(b), sent+maxData)])
		if !s.send(&agentv1.ReadResponse{Data: part}) {
			return sent, s.err
		}
		sent += len(part)
	}
	return sent, nil
}

// close returns once all is sent, or cannot be.
func (s *sender) close() error {
	close(s.queue)
	<-s.done
	return s.err
}

// Write serves the writing of an archive.
func (f *files) Write(ctx context.Context, stream agentv1connect.FileServiceWriteServerStream) (*agentv1.WriteResponse, error) {
	leave, err := f.enter()
	if err != nil {
		return nil, verdict(err)
	}
	defer leave()
	first, err := stream.Receive()
	if err != nil {
		return nil, err
	}
	open := first.GetOpen()
	if open == nil {
		return nil, verdict(model.Errorf(model.ErrInvalid, "a copy begins with open"))
	}
	answer := &agentv1.WriteResponse{}
	o := rootedfs.ExtractOptions{
		Name: open.GetName(), KeepOwner: open.GetArchive(), Special: true, MaxBytes: unlimited, Sync: f.sys.Sync,
		Warn: func(line string) {
			if len(answer.Warnings) < maxWarnings {
				answer.Warnings = append(answer.Warnings, line)
			}
		},
	}
	if o.Owner, err = f.owner(open.GetUser()); err != nil {
		return nil, verdict(err)
	}
	root, err := rootedfs.OpenIn(f.sys.Root(), open.GetDir())
	if err != nil {
		return nil, verdict(err)
	}
	defer root.Close()
	sum, err := root.Extract(ctx, &receiver{stream: stream}, o)
	if err != nil {
		return nil, verdict(err)
	}
	answer.Files, answer.Dirs, answer.Links = int64(sum.Files), int64(sum.Dirs), int64(sum.Links)
	answer.Skipped, answer.Bytes = int64(sum.Skipped), sum.Bytes
	return answer, nil
}

// owner is who owns what is written: the user that was named, else the one who runs commands.
func (f *files) owner(user string) (*rootedfs.Owner, error) {
	if user == "" {
		user = f.agent.current().User
	}
	uid, gid, err := f.sys.Account(user)
	if err != nil {
		return nil, model.Errorf(model.ErrInvalid, "cannot tell who shall own the files: %w", err)
	}
	return &rootedfs.Owner{UID: uid, GID: gid}, nil
}

// receiver reads what is sent.
type receiver struct {
	stream agentv1connect.FileServiceWriteServerStream
	rest   bytes.Reader
}

func (r *receiver) Read(b []byte) (int, error) {
	for r.rest.Len() == 0 {
		m, err := r.stream.Receive()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, model.Errorf(model.ErrCanceled, "the archive broke off: %w", err)
		}
		r.rest.Reset(m.GetData())
	}
	return r.rest.Read(b)
}
