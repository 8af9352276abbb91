package guest

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"connectrpc.com/connect/v2"

	"banger/internal/apierror"
	"banger/internal/model"
)

// maxText caps what a guest can add to an error.
const maxText = 1024

// fromRPC returns err as one of the model's kinds, with doing ("cannot …") before the guest's own words. nil stays nil.
func fromRPC(doing string, err error) error {
	if err == nil {
		return nil
	}
	var verdict *connect.Error
	if !errors.As(err, &verdict) || !verdict.IsRemote() {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return model.Errorf(model.ErrTimeout, "%s: it does not answer", doing)
		case errors.Is(err, context.Canceled):
			return model.Errorf(model.ErrCanceled, "%s: %w", doing, context.Canceled)
		}
		return model.Errorf(model.ErrUnavailable, "%s: the connection to it broke: %w", doing, err)
	}
	kind := apierror.Kind(verdict.Code())
	if kind == nil {
		kind = model.ErrUnavailable
	}
	return &model.Error{Kind: kind, Msg: doing + ": " + plain(verdict.Message(), maxText)}
}

// plain makes a guest's text harmless: one line, printable, capped at n bytes.
func plain(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, s)
}
