package layers

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

// Flatten writes the layers, lowest first, as one tar to out.
func Flatten(ctx context.Context, out io.Writer, ls []Layer, o Options) (Summary, error) {
	if len(ls) != 1 {
		return Summary{}, model.Errorf(model.ErrUnsupported, "cannot merge %d layers", len(ls))
	}
	in, err := ls[0].Open(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer in.Close()
	sum, err := tarfilter.Copy(out, bufio.NewReader(in), tarfilter.Limits{
		Bytes: o.Limits.Bytes, Entries: o.Limits.Entries, Path: o.Limits.Path, Depth: o.Limits.Depth,
	}, o.Rules, o.Progress)
	if err != nil {
		return Summary{}, fmt.Errorf("cannot take the image: %w", err)
	}
	return Summary{Entries: sum.Entries, Bytes: sum.Bytes, Read: sum.Bytes}, nil
}
