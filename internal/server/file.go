package server

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/types/known/timestamppb"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

// Files are the copies, as *vm.Service has them.
type Files interface {
	StatFile(ctx context.Context, id model.VMID, path string, follow bool) (model.FileInfo, error)
	ListFiles(ctx context.Context, id model.VMID, dir, prefix string) ([]model.FileName, error)
	ReadFiles(ctx context.Context, id model.VMID, r model.FileRead, w io.Writer) error
	WriteFiles(ctx context.Context, id model.VMID, w model.FileWrite, archive io.Reader) (model.FileSummary, error)
}

type fileService struct{ files Files }

func (s *fileService) Stat(ctx context.Context, r *bangerv1.StatFileRequest) (*bangerv1.StatFileResponse, error) {
	info, err := s.files.StatFile(ctx, model.VMID(r.GetVmId()), r.GetPath(), r.GetFollow())
	if err != nil || !info.Exists {
		return &bangerv1.StatFileResponse{}, err
	}
	return &bangerv1.StatFileResponse{
		Exists: true, Mode: rootedfs.StatMode(info.Mode), Size: info.Size, Mtime: timestamppb.New(info.ModTime),
		Target: info.Target, Real: info.Real,
	}, nil
}

func (s *fileService) List(ctx context.Context, r *bangerv1.ListFilesRequest) (*bangerv1.ListFilesResponse, error) {
	names, err := s.files.ListFiles(ctx, model.VMID(r.GetVmId()), r.GetDir(), r.GetPrefix())
	if err != nil {
		return nil, err
	}
	res := &bangerv1.ListFilesResponse{}
	for _, n := range names {
		res.Files = append(res.Files, &bangerv1.ListedFile{Name: n.Name, Dir: n.Dir})
	}
	return res, nil
}

func (s *fileService) Read(ctx context.Context, r *bangerv1.ReadFilesRequest, stream bangerv1connect.FileServiceReadServerStream) error {
	read := model.FileRead{
		Path: r.GetPath(), Follow: r.GetFollow(), Name: r.GetName(), Portable: r.GetPortable(),
		Warn: func(line string) {
			_ = stream.Send(&bangerv1.ReadFilesResponse{Warning: line}) // a client that left is seen by the next piece of data
		},
	}
	return s.files.ReadFiles(ctx, model.VMID(r.GetVmId()), read, fileSender{stream})
}

// fileSender sends what is written to it.
type fileSender struct {
	stream bangerv1connect.FileServiceReadServerStream
}

func (s fileSender) Write(b []byte) (int, error) {
	if err := s.stream.Send(&bangerv1.ReadFilesResponse{Data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *fileService) Write(ctx context.Context, stream bangerv1connect.FileServiceWriteServerStream) (*bangerv1.WriteFilesResponse, error) {
	first, err := stream.Receive()
	if err != nil {
		return nil, err
	}
	open := first.GetOpen()
	if open == nil {
		return nil, model.Errorf(model.ErrInvalid, "cannot copy: the first request must open the copy")
	}
	answer := &bangerv1.WriteFilesResponse{}
	write := model.FileWrite{
		Dir: open.GetDir(), Name: open.GetName(), User: open.GetUser(), Archive: open.GetArchive(),
		Warn: func(line string) { answer.Warnings = append(answer.Warnings, line) },
	}
	sum, err := s.files.WriteFiles(ctx, model.VMID(open.GetVmId()), write, &fileReceiver{stream: stream})
	if err != nil {
		return nil, err
	}
	answer.Files, answer.Dirs, answer.Links = int64(sum.Files), int64(sum.Dirs), int64(sum.Links)
	answer.Skipped, answer.Bytes = int64(sum.Skipped), sum.Bytes
	return answer, nil
}

// fileReceiver reads what is sent.
type fileReceiver struct {
	stream bangerv1connect.FileServiceWriteServerStream
	rest   []byte
}

func (r *fileReceiver) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.stream.Receive()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, model.Errorf(model.ErrCanceled, "the client's archive broke off: %w", err)
		}
		r.rest = m.GetData()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
