package serve

import (
	"context"
	"os"

	"google.golang.org/protobuf/proto"

	"banger/internal/helper/wire"
	"banger/internal/model"
)

// Caller is who asks for a verb, and for what installation of theirs.
type Caller struct {
	Instance model.InstanceID
	UID, GID int // as the kernel tells
}

// Verb is one thing that can be asked of a service.
type Verb struct {
	name  string
	files int
	do    func(ctx context.Context, c Caller, request []byte, files []*os.File) (proto.Message, error)
}

// On makes a verb of a handler. It is named after the type of its request and takes exactly so many descriptors, which are
// closed when it returns. The handler checks everything that the request says, as if nobody had before; ctx ends with the
// caller's connection.
func On[T any, Request interface {
	*T
	proto.Message
}, Response proto.Message](files int, do func(ctx context.Context, c Caller, request Request, files []*os.File) (Response, error)) Verb {
	return Verb{
		name:  Name(Request(new(T))),
		files: files,
		do: func(ctx context.Context, c Caller, data []byte, files []*os.File) (proto.Message, error) {
			request := Request(new(T))
			if err := wire.Decode(data, request); err != nil {
				return nil, err
			}
			return do(ctx, c, request, files)
		},
	}
}

// Name is that of the verb that a request asks for.
func Name(request proto.Message) string {
	return string(request.ProtoReflect().Descriptor().FullName())
}

// Name is the verb's.
func (v Verb) Name() string { return v.name }
