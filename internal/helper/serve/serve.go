// Package serve answers the calls to the privileged helper.
//
// A service is a name and a few verbs. What all of them need is here: only the owner is heard, each message is bounded, a
// message that is not exactly a known one has no effect, and no descriptor outlives its call. A connection is one call.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	helperv1 "banger/api/helper/v1"
	"banger/internal/crash"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

// Service is what a helper does.
type Service struct {
	Name  string
	Owner int // the uid of the one user who may ask
	Verbs []Verb
	Log   *slog.Logger

	// Idle is how long nobody may be connected before Serve returns. 0 is for ever.
	Idle time.Duration
}

const (
	connections = 32              // at once; others wait to be accepted
	silence     = 5 * time.Second // that a connection may keep before it asks, and before it takes its answer
)

// Serve answers until ctx ends, or nobody has been connected for the service's idle time. It closes the listener, and
// returns when the last call has ended.
func (s Service) Serve(ctx context.Context, listener *net.UnixListener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	defer listener.Close()
	var open sync.WaitGroup
	defer open.Wait()
	places := make(chan struct{}, connections)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if s.Idle > 0 {
			_ = listener.SetDeadline(time.Now().Add(s.Idle))
		}
		conn, err := listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if <-places; len(places) == 0 {
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("cannot accept: %w", err)
		}
		open.Go(func() {
			defer func() { <-places }()
			s.connection(ctx, conn)
		})
	}
}

// connection answers the one call of a connection, and ends it.
func (s Service) connection(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer conn.Close()
	defer cancel()
	answered, err := func() (reply, error) {
		_ = conn.SetReadDeadline(time.Now().Add(silence))
		c, err := s.who(conn)
		if err != nil {
			_, _ = conn.Read(make([]byte, 1)) // unread, its message would go before our answer
			return reply{}, err
		}
		var call helperv1.Call
		files, err := wire.Receive(conn, &call)
		if err != nil {
			return reply{}, err
		}
		defer wire.Close(files)
		// The verb ends with its caller. That has nothing more to say until it is answered.
		_ = conn.SetReadDeadline(time.Time{})
		watching.Go(func() {
			defer cancel()
			_, _ = conn.Read(make([]byte, 1))
		})
		return s.call(ctx, c, &call, files)
	}()
	defer wire.Close(answered.files)
	if err != nil {
		s.Log.Warn("refused or failed", "error", err)
	}
	if err := answer(conn, answered, err); err != nil && !wire.Gone(err) {
		s.Log.Warn("cannot answer", "error", err)
	}
}

// who tells who is at the other end.
func (s Service) who(conn *net.UnixConn) (Caller, error) {
	cred, err := unixsocket.PeerUcred(conn)
	if err != nil {
		return Caller{}, err
	}
	if int(cred.Uid) != s.Owner && cred.Uid != 0 {
		return Caller{}, model.Errorf(model.ErrDenied, "cannot serve uid %d: banger's helper was installed for uid %d; see: banger system status", cred.Uid, s.Owner)
	}
	return Caller{UID: int(cred.Uid), GID: int(cred.Gid)}, nil
}

// call does what is asked for.
func (s Service) call(ctx context.Context, c Caller, call *helperv1.Call, files []*os.File) (reply, error) {
	name := call.GetVerb()
	if name == Name(&helperv1.HelloRequest{}) && len(files) == 0 {
		return reply{message: &helperv1.HelloResponse{Service: s.Name, Version: version.Version, Owner: uint32(s.Owner)}}, nil
	}
	at := slices.IndexFunc(s.Verbs, func(v Verb) bool { return v.name == name })
	c.Instance = model.InstanceID(call.GetInstance())
	switch {
	case c.UID != s.Owner: // root, who has no need of it, but to see whether it answers
		return reply{}, model.Errorf(model.ErrDenied, "cannot do this for uid %d: banger's helper was installed for uid %d", c.UID, s.Owner)
	case at < 0:
		return reply{}, model.Fixable(model.ErrUnsupported, "sudo banger system install", "cannot do %.64q: banger's helper is of version %s and does not know it", name, version.Version)
	case !c.Instance.Valid():
		return reply{}, model.Errorf(model.ErrInvalid, "cannot work for the installation %.64q: that is no id", c.Instance)
	case len(files) < s.Verbs[at].least || len(files) > s.Verbs[at].most || int(call.GetDescriptors()) != len(files):
		return reply{}, model.Errorf(model.ErrInvalid, "cannot do %s with %d descriptors", name, len(files))
	}
	crash.At("helper.call.before")
	r, err := s.Verbs[at].do(ctx, c, call.GetRequest(), files)
	crash.At("helper.call.after")
	return r, err
}

// answer sends a response, or why there is none.
func answer(conn *net.UnixConn, r reply, err error) error {
	a := &helperv1.Answer{}
	if err == nil {
		var data []byte
		data, err = proto.Marshal(r.message)
		a.Outcome = &helperv1.Answer_Response{Response: data}
	}
	if err != nil {
		a.Outcome = &helperv1.Answer_Failure{Failure: wire.ToFailure(err)}
	}
	_ = conn.SetWriteDeadline(time.Now().Add(silence))
	return wire.Send(conn, a, r.files...)
}
