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
	least int // descriptors
	most  int
	do    func(ctx context.Context, c Caller, request []byte, files []*os.File) (reply, error)
}

// reply is a response with the descriptors that go with it, which are closed once it is sent.
type reply struct {
	message proto.Message
	files   []*os.File
}

// On makes a verb of a handler. It is named after the type of its request and takes exactly so many descriptors, which are
// closed when it returns. The handler checks everything that the request says, as if nobody had before; ctx ends with the
// caller's connection.
func On[T any, Request interface {
	*T
	proto.Message
}, Response proto.Message](files int, do func(ctx context.Context, c Caller, request Request, files []*os.File) (Response, error)) Verb {
	return OnSome(files, files, do)
}

// OnSome is On for a verb that takes at least and at most so many descriptors.
func OnSome[T any, Request interface {
	*T
	proto.Message
}, Response proto.Message](least, most int, do func(ctx context.Context, c Caller, request Request, files []*os.File) (Response, error)) Verb {
	return Verb{
		name:  Name(Request(new(T))),
		least: least,
		most:  most,
		do: func(ctx context.Context, c Caller, data []byte, files []*os.File) (reply, error) {
			request := Request(new(T))
			if err := wire.Decode(data, request); err != nil {
				return reply{}, err
			}
			response, err := do(ctx, c, request, files)
			return reply{message: response}, err
		},
	}
}

// Handing makes a verb of a handler that takes no descriptor and hands some over, which are closed here once they are sent,
// or cannot be.
func Handing[T any, Request interface {
	*T
	proto.Message
}, Response proto.Message](do func(ctx context.Context, c Caller, request Request) (Response, []*os.File, error)) Verb {
	return Verb{
		name: Name(Request(new(T))),
		do: func(ctx context.Context, c Caller, data []byte, _ []*os.File) (reply, error) {
			request := Request(new(T))
			if err := wire.Decode(data, request); err != nil {
				return reply{}, err
			}
			response, files, err := do(ctx, c, request)
			return reply{response, files}, err
		},
	}
}

// Name is that of the verb that a request asks for.
func Name(request proto.Message) string {
	return string(request.ProtoReflect().Descriptor().FullName())
}

// Name is the verb's.
func (v Verb) Name() string { return v.name }
