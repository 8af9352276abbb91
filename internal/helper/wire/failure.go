package wire

import (
	"errors"
	"strings"

	helperv1 "banger/api/helper/v1"
	"banger/internal/model"
)

type pair struct {
	model error
	wire  helperv1.Kind
}

// kinds is the one table between the model's kinds of error and those of the wire.
func kinds() []pair {
	return []pair{
		{model.ErrNotFound, helperv1.Kind_KIND_NOT_FOUND},
		{model.ErrExists, helperv1.Kind_KIND_EXISTS},
		{model.ErrInvalid, helperv1.Kind_KIND_INVALID},
		{model.ErrState, helperv1.Kind_KIND_STATE},
		{model.ErrUnavailable, helperv1.Kind_KIND_UNAVAILABLE},
		{model.ErrDenied, helperv1.Kind_KIND_DENIED},
		{model.ErrNoSpace, helperv1.Kind_KIND_NO_SPACE},
		{model.ErrCorrupt, helperv1.Kind_KIND_CORRUPT},
		{model.ErrTimeout, helperv1.Kind_KIND_TIMEOUT},
		{model.ErrCanceled, helperv1.Kind_KIND_CANCELED},
		{model.ErrUnsupported, helperv1.Kind_KIND_UNSUPPORTED},
	}
}

const maxMessage = 4 << 10 // of a failure; whoever writes more says the beginning

// ToFailure writes an error down.
func ToFailure(err error) *helperv1.Failure {
	f := &helperv1.Failure{Message: strings.ToValidUTF8(err.Error(), "?")}
	_, f.Fix = model.Remedy(err)
	if len(f.Message) > maxMessage {
		f.Message, f.Fix = strings.ToValidUTF8(f.Message[:maxMessage], "")+" …", ""
	}
	kind := model.KindOf(err)
	for _, p := range kinds() {
		if errors.Is(kind, p.model) {
			f.Kind = p.wire
		}
	}
	return f
}

// FromFailure is the error that was written down.
func FromFailure(f *helperv1.Failure) error {
	for _, p := range kinds() {
		if p.wire == f.GetKind() {
			return &model.Error{Kind: p.model, Msg: f.GetMessage(), Fix: f.GetFix()}
		}
	}
	return errors.New(f.GetMessage())
}
