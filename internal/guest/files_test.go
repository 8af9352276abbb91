package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

func TestFilesRoundTrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := newHost(t, vmmtest.SystemOptions{Files: dir}).configured(guest.Config{})
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat("x", 3<<20)), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/f", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := g.ReadFiles(t.Context(), model.FileRead{Path: "/l", Follow: true, Name: "copy"}, &archive); err != nil {
		t.Fatal(err)
	}
	sum, err := g.WriteFiles(t.Context(), model.FileWrite{Dir: "/", Name: "copy"}, &archive)
	if err != nil || sum.Files != 1 || sum.Bytes != 3<<20 {
		t.Fatalf("%+v, %v", sum, err)
	}
	info, err := g.StatFile(t.Context(), "/copy", false)
	if err != nil || info.Mode != 0o640 || info.Size != 3<<20 || info.Real != "/copy" {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := g.StatFile(t.Context(), "/l", false); err != nil || info.Target != "/f" {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := g.StatFile(t.Context(), "/nothing", true); err != nil || info.Exists {
		t.Errorf("%+v, %v", info, err)
	}
	if err := g.ReadFiles(t.Context(), model.FileRead{Path: "/nothing"}, io.Discard); !errors.Is(err, model.ErrNotFound) {
		t.Error(err)
	}
	if err := g.ReadFiles(t.Context(), model.FileRead{Path: "relative"}, io.Discard); !errors.Is(err, model.ErrInvalid) {
		t.Error(err)
	}
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := newHost(t, vmmtest.SystemOptions{Files: dir}).configured(guest.Config{})
	if err := os.MkdirAll(filepath.Join(dir, "d/sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sum", "other", "s\xff"} {
		if err := os.WriteFile(filepath.Join(dir, "d", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/d", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"/d", "/l", "/l/../d/."} {
		names, err := g.ListFiles(t.Context(), way, "s")
		slices.SortFunc(names, func(a, b model.FileName) int { return strings.Compare(a.Name, b.Name) })
		if want := []model.FileName{{Name: "sub", Dir: true}, {Name: "sum"}}; err != nil || !slices.Equal(names, want) {
			t.Errorf("%s: %+v, %v", way, names, err)
		}
	}
	if names, err := g.ListFiles(t.Context(), "/", "l"); err != nil || len(names) != 1 || names[0].Dir {
		t.Errorf("a link: %+v, %v", names, err)
	}
	for way, kind := range map[string]error{"/none": model.ErrNotFound, "/d/sum": model.ErrInvalid, "d": model.ErrInvalid} {
		if names, err := g.ListFiles(t.Context(), way, ""); !errors.Is(err, kind) {
			t.Errorf("%s: %+v, %v", way, names, err)
		}
	}
}

// lister is an agent that lists what it likes.
type lister struct {
	agentv1connect.UnimplementedFileServiceHandler
	files []*agentv1.ListedFile
}

func (l *lister) List(context.Context, *agentv1.ListRequest) (*agentv1.ListResponse, error) {
	return &agentv1.ListResponse{Files: l.files}, nil
}

func TestListsOfALyingAgentAreRefused(t *testing.T) {
	t.Parallel()
	for name, files := range map[string][]*agentv1.ListedFile{
		"another path":   {{Name: "a/../../x"}},
		"no name":        {{Name: ""}},
		"up":             {{Name: ".."}},
		"NUL":            {{Name: "a\x00"}},
		"another prefix": {{Name: "b"}},
		"too many":       slices.Repeat([]*agentv1.ListedFile{{Name: "a"}}, model.MaxListed+1),
	} {
		g := connected(t, &liar{hello: truth(), files: &lister{files: files}})
		prefix := "a"
		if name == "no name" || name == "up" {
			prefix = ""
		}
		if got, err := g.ListFiles(t.Context(), "/", prefix); !errors.Is(err, model.ErrCorrupt) {
			t.Errorf("%s: %d names, %v", name, len(got), err)
		}
	}
}

func TestFilesNeedARoot(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{Files: t.TempDir()}).connect()
	if _, err := g.StatFile(t.Context(), "/", false); !errors.Is(err, model.ErrState) {
		t.Error(err)
	}
}

// failing is an archive that breaks off with an error of its own.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func TestBrokenArchiveLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := newHost(t, vmmtest.SystemOptions{Files: dir})
	g := h.configured(guest.Config{})
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat("x", 1<<20)), 0o640); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := g.ReadFiles(t.Context(), model.FileRead{Path: "/f", Name: "g"}, &archive); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	for _, n := range []int{0, 512, 600, 1 << 19, archive.Len() - 1024} {
		half := failing{bytes.NewReader(archive.Bytes()[:n]), gone}
		if _, err := g.WriteFiles(t.Context(), model.FileWrite{Dir: "/", Name: "g"}, half); !errors.Is(err, gone) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "g")); err == nil {
			t.Errorf("%d bytes: something has the name", n)
		}
	}
	// A copy that is read by nobody holds up no other.
	stalled, w := io.Pipe()
	defer stalled.Close()
	done := make(chan error, 1)
	go func() { done <- g.ReadFiles(t.Context(), model.FileRead{Path: "/f"}, w) }()
	if _, err := g.Ping(t.Context(), []byte("x")); err != nil {
		t.Error(err)
	}
	stalled.CloseWithError(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Error(err)
	}
}
