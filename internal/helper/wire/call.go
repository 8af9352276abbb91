package wire

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	helperv1 "banger/api/helper/v1"
	"banger/internal/model"
)

// ErrAbsent is the cause of an ErrUnsupported for a helper that is not installed, or not for this user.
var ErrAbsent = errors.New("no helper is installed for this user")

// The commands that mend a helper.
const (
	FixInstall = "sudo banger system install"
	FixRestart = "sudo banger system restart"
)

// Client asks one service of the helper, for one installation.
type Client struct {
	Socket   string // where it listens
	Instance model.InstanceID
}

// Call asks for the verb that is named after request, with files, and fills response. It ends with ctx, and then so does
// what the helper does, unless that has to be finished. ErrUnsupported where no helper is installed for this user,
// ErrUnavailable where one does not answer.
func (c Client) Call(ctx context.Context, request, response proto.Message, files ...*os.File) error {
	got, err := c.exchange(ctx, request, response, files)
	Close(got)
	return err
}

// Ask is Call for a verb that hands so many descriptors over.
func (c Client) Ask(ctx context.Context, request, response proto.Message, files int) ([]*os.File, error) {
	got, err := c.exchange(ctx, request, response, nil)
	if err == nil && len(got) != files {
		err = model.Errorf(model.ErrInvalid, "banger's helper handed over %d descriptors", len(got))
	}
	if err != nil {
		Close(got)
		return nil, err
	}
	return got, nil
}

// exchange returns the descriptors that came with the answer; none with an error.
func (c Client) exchange(ctx context.Context, request, response proto.Message, files []*os.File) ([]*os.File, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // what is read then fails
	defer stop()
	call := &helperv1.Call{
		Instance: string(c.Instance), Verb: string(request.ProtoReflect().Descriptor().FullName()), Request: data,
		Descriptors: uint32(len(files)),
	}
	var answer helperv1.Answer
	var got []*os.File
	if err = Send(conn, call, files...); err == nil || Gone(err) { // whoever refuses us says why and is gone
		got, err = Receive(conn, &answer)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		err = model.HostErrorf(ctx.Err(), "banger's helper was not waited for")
	case err != nil && !errors.Is(err, model.ErrInvalid):
		err = model.Fixable(model.ErrUnavailable, FixRestart, "banger's helper ended before it answered (%w)", err)
	case err != nil:
	case answer.GetFailure() != nil:
		err = FromFailure(answer.GetFailure())
	default:
		err = Decode(answer.GetResponse(), response)
	}
	if err != nil {
		Close(got)
		return nil, err
	}
	return got, nil
}

func (c Client) dial(ctx context.Context) (*net.UnixConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, Network, c.Socket)
	switch {
	case err == nil:
		return conn.(*net.UnixConn), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, absent("this takes banger's helper, which is not installed")
	case errors.Is(err, fs.ErrPermission):
		return nil, absent("banger's helper is installed for another user")
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, model.Fixable(model.ErrUnavailable, FixRestart, "banger's helper does not listen")
	}
	return nil, model.HostErrorf(err, "banger's helper cannot be reached")
}

func absent(what string) error {
	return &model.Error{Kind: model.ErrUnsupported, Msg: model.Advise(what, FixInstall), Fix: FixInstall, Cause: ErrAbsent}
}

// startLimit is how long the helper may take to say whether it can do anything: systemd starts it for that.
const startLimit = 20 * time.Second

// Problem asks whether the helper can make something, and says why not, with what would help, or "".
func (c Client) Problem(what string, request proto.Message, answer interface {
	proto.Message
	GetProblem() string
}) string {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if !c.Instance.Valid() { // before the first daemon there is none, and it is the host that is asked about
		c.Instance = model.NewInstanceID()
	}
	if err := c.Call(ctx, request, answer); err != nil {
		return "only root can make " + what + ", and " + err.Error()
	}
	return answer.GetProblem()
}

// Hello asks who answers.
func (c Client) Hello(ctx context.Context) (*helperv1.HelloResponse, error) {
	var answer helperv1.HelloResponse
	return &answer, c.Call(ctx, &helperv1.HelloRequest{}, &answer)
}
