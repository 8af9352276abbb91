package server

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/image"
	"banger/internal/model"
)

func (s *imageService) Import(ctx context.Context, stream bangerv1connect.ImageServiceImportServerStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return model.Errorf(model.ErrInvalid, "cannot import an image: the first request must say what follows")
	}
	r := image.ImportRequest{Name: start.GetName(), Path: start.GetPath(), Platform: start.GetPlatform()}
	if r.Path != "" {
		if err := absolute(r.Path); err != nil {
			return err
		}
	} else {
		archive, in := io.Pipe()
		defer archive.Close() // the end of this handler is the end of what it feeds
		go receive(stream, in)
		r.Stream = archive
	}
	return s.operate(ctx, "image-import", start.GetName(), stream.Send, func(ctx context.Context, report model.Report) (model.Image, error) {
		return s.images.Import(ctx, r, report)
	})
}

// receive passes an archive on as it comes. A client that breaks off has not sent all of it.
func receive(stream bangerv1connect.ImageServiceImportServerStream, in *io.PipeWriter) {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			in.Close()
			return
		}
		if err != nil {
			in.CloseWithError(model.Errorf(model.ErrCanceled, "the client left before it had sent the whole archive"))
			return
		}
		if _, err := in.Write(m.GetData()); err != nil {
			return // nobody wants the rest
		}
	}
}

// absolute refuses a path that would be taken from wherever the daemon happens to be.
func absolute(path string) error {
	if !filepath.IsAbs(path) {
		return model.Errorf(model.ErrInvalid, "%.200q is no absolute path", path)
	}
	return nil
}
