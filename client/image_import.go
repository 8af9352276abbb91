package client

import (
	"context"
	"errors"
	"io"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
)

// ImportRequest asks for an image of an archive: a root file system's tar, what docker saves, or an OCI layout.
type ImportRequest struct {
	Name     string    // "" for the one that the archive gives
	Path     string    // absolute, of a file or of an OCI layout's directory
	Stream   io.Reader // in place of Path
	Platform string    // "" for linux/amd64
}

// ImportImage makes an image of an archive. The result is the image. A Stream is read while Wait is called; when it
// breaks, so does the import.
func (c *Client) ImportImage(ctx context.Context, r ImportRequest) (*Operation, error) {
	stream, err := c.images.Import(ctx)
	if err != nil {
		return nil, plain(ctx, err)
	}
	// An error of Send only says that the stream is broken; Receive says why.
	_ = stream.Send(&bangerv1.ImportImageRequest{Request: &bangerv1.ImportImageRequest_Start{Start: &bangerv1.ImportImageStart{
		Name: r.Name, Path: r.Path, Platform: r.Platform,
	}}})
	if r.Stream == nil {
		_ = stream.CloseSend()
	} else {
		go feedArchive(stream, r.Stream)
	}
	return begin(ctx, c, stream, nil)
}

// feedArchive ends with the archive, or with the stream. One that cannot be read is not ended but broken off, so that half
// of it is not taken for the whole.
func feedArchive(stream bangerv1connect.ImageServiceImportClientStream, archive io.Reader) {
	buf := make([]byte, 256<<10)
	for {
		n, err := archive.Read(buf)
		if n > 0 && stream.Send(&bangerv1.ImportImageRequest{Request: &bangerv1.ImportImageRequest_Data{Data: buf[:n]}}) != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			_ = stream.CloseSend()
			return
		}
		if err != nil {
			_ = stream.Close()
			return
		}
	}
}
