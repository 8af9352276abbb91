//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"banger/internal/image/imagetest"
)

type registryKey struct{}

// images are the images that scripts make, by their names. Their programs are built or looked for once.
type images struct {
	guestprog func() (string, error)
	busybox   func() (string, error)
}

func newImages() images {
	return images{guestprog: sync.OnceValues(buildGuestprog), busybox: sync.OnceValues(readBusybox)}
}

// buildGuestprog returns a static program that is built from this tree, or was for who runs these tests without one:
// BANGER_E2E_GUESTPROG names it.
func buildGuestprog() (string, error) {
	if built := os.Getenv("BANGER_E2E_GUESTPROG"); built != "" {
		data, err := os.ReadFile(built)
		return string(data), err
	}
	dir, err := os.MkdirTemp("", "banger-e2e-guestprog-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "guestprog")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./guestprog")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the guest's program: %w: %s", err, out)
	}
	data, err := os.ReadFile(file)
	return string(data), err
}

func readBusybox() (string, error) {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", fmt.Errorf("%w; install it with: apt-get install busybox-static", err)
	}
	if bytes.Contains(data, []byte("/lib64/ld-linux-x86-64.so.2\x00")) {
		return "", fmt.Errorf("/bin/busybox needs libraries; install the static one with: apt-get install busybox-static")
	}
	return string(data), nil
}

// image returns the image of that name.
func (i images) image(ts *testscript.TestScript, kind string) v1.Image {
	program, err := i.guestprog()
	ts.Check(err)
	tool := imagetest.File{Name: "tool", Mode: 0o755, Content: program}
	switch kind {
	case "static": // one program, and nothing else
		return imagetest.Image(v1.Config{
			Entrypoint: []string{"/tool"}, Cmd: []string{"whoami", "by", "default"}, Env: []string{"GREETING=hello there", "PATH=/nowhere"},
			WorkingDir: "/made/for/it", User: "1234:4321", StopSignal: "SIGQUIT", Labels: map[string]string{"kind": "static"},
		}, imagetest.Tar(tool))
	case "static2": // the same with something new
		return imagetest.Image(v1.Config{Cmd: []string{"/tool", "whoami", "two"}}, imagetest.Tar(tool), imagetest.Tar(imagetest.File{Name: "two", Content: "2"}))
	case "otherwise": // the files of static, run in another way
		return imagetest.Image(v1.Config{Cmd: []string{"/tool", "whoami", "otherwise"}, Env: []string{"GREETING=none"}}, imagetest.Tar(tool))
	case "wait": // whose main command tells which signal ends it
		return imagetest.Image(v1.Config{Cmd: []string{"/tool", "wait", "/signal"}, StopSignal: "SIGQUIT"}, imagetest.Tar(tool))
	case "busybox":
		return i.busyboxImage(ts)
	case "tree":
		return imagetest.Image(v1.Config{Entrypoint: []string{"/tool"}, Cmd: []string{"tree", "/t"}}, append([][]byte{imagetest.Tar(tool)}, treeLayers()...)...)
	}
	ts.Fatalf("%q is no image: static, static2, otherwise, wait, busybox, tree", kind)
	return nil
}

// busyboxImage is a small system with users of its own.
func (i images) busyboxImage(ts *testscript.TestScript) v1.Image {
	program, err := i.busybox()
	ts.Check(err)
	files := []imagetest.File{
		{Name: "bin", Type: tar.TypeDir}, {Name: "bin/busybox", Mode: 0o755, Content: program},
		{Name: "etc", Type: tar.TypeDir}, {Name: "tmp", Type: tar.TypeDir, Mode: 0o1777},
		{Name: "etc/passwd", Content: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"},
		{Name: "etc/group", Content: "root:x:0:\napp:x:1000:\nextra:x:2000:app\n"},
		{Name: "home/app", Type: tar.TypeDir, UID: 1000, GID: 1000}, {Name: "home/app/.profile", Content: "export FROM_PROFILE=yes\n", UID: 1000, GID: 1000},
	}
	for _, applet := range strings.Fields("sh ls cat id pwd echo env stat touch sync sleep df test chmod chown nslookup nc") {
		files = append(files, imagetest.File{Name: "bin/" + applet, Type: tar.TypeSymlink, Link: "busybox"})
	}
	return imagetest.Image(v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin", "LEVEL=image"}, User: "app", WorkingDir: "/srv/data"},
		imagetest.Tar(files...), imagetest.Tar(imagetest.File{Name: "etc/motd", Content: "a small system\n"}))
}

// treeLayers are two layers that differ in every way that layers can.
func treeLayers() [][]byte {
	const big = 5 << 20
	lower := imagetest.Tar(
		imagetest.File{Name: "t", Type: tar.TypeDir, Mode: 0o755},
		imagetest.File{Name: "t/kept", Content: "kept\n", UID: 12, GID: 34, Mode: 0o640},
		imagetest.File{Name: "t/changed", Content: "old\n"},
		imagetest.File{Name: "t/removed", Content: "gone\n"},
		imagetest.File{Name: "t/setuid", Content: "s\n", Mode: 0o4755, UID: 0, GID: 7},
		imagetest.File{Name: "t/link-to-changed", Type: tar.TypeLink, Link: "t/changed"}, // keeps the old content
		imagetest.File{Name: "t/early-link", Type: tar.TypeLink, Link: "t/late-target"},  // before its target
		imagetest.File{Name: "t/late-target", Content: "late\n", Mode: 0o600},
		imagetest.File{Name: "t/dir/sub/deep", Content: "deep\n"},
		imagetest.File{Name: "t/opaque/old", Content: "old\n"},
		imagetest.File{Name: "t/becomes-file/x", Content: "x\n"},
		imagetest.File{Name: "t/becomes-dir", Content: "x\n"},
		imagetest.File{Name: "t/usrlib", Type: tar.TypeDir},
		imagetest.File{Name: "t/lib", Type: tar.TypeSymlink, Link: "usrlib"},
		imagetest.File{Name: "t/absolute", Type: tar.TypeSymlink, Link: "/t/kept"},
		imagetest.File{Name: "t/char", Type: tar.TypeChar, Mode: 0o620, Major: 5, Minor: 300, GID: 5},
		imagetest.File{Name: "t/block", Type: tar.TypeBlock, Mode: 0o660, Major: 259, Minor: 2},
		imagetest.File{Name: "t/fifo", Type: tar.TypeFifo, Mode: 0o644},
		imagetest.File{Name: "t/capable", Content: "c\n", Mode: 0o755, Xattrs: map[string]string{"security.capability": capability(), "user.note": "hello"}},
		imagetest.File{Name: "t/big", Content: strings.Repeat("0123456789abcdef", big/16)},
		imagetest.File{Name: "t/owner", Content: "o\n", UID: 3_000_000_000, GID: 3_000_000_001},
	)
	upper := imagetest.Tar(
		imagetest.File{Name: "t/changed", Content: "new\n", Mode: 0o400},
		imagetest.File{Name: "t/.wh.removed"},
		imagetest.File{Name: "t/dir", Type: tar.TypeDir, Mode: 0o2750, UID: 5, GID: 6},
		imagetest.File{Name: "t/opaque/.wh..wh..opq"},
		imagetest.File{Name: "t/opaque/new", Content: "new\n"},
		imagetest.File{Name: "t/.wh.becomes-file"},
		imagetest.File{Name: "t/becomes-file", Content: "file\n"},
		imagetest.File{Name: "t/becomes-dir", Type: tar.TypeDir, Mode: 0o700},
		imagetest.File{Name: "t/lib/through-link", Content: "below a link\n"},
		imagetest.File{Name: "t/twice", Content: "first\n"},
		imagetest.File{Name: "t/twice", Content: "second\n"},
		imagetest.File{Name: "t/again", Type: tar.TypeLink, Link: "t/kept"}, // to a file of the layer below
	)
	return [][]byte{lower, upper}
}

// capability is cap_net_bind_service=ep in the form of version 2.
func capability() string { return "\x01\x00\x00\x02\x00\x04\x00\x00" + strings.Repeat("\x00", 12) }

// treeListing is what guestprog must say of the tree: by hand from the layers, not by any code of banger.
func treeListing() string {
	file := func(path string, mode, uid, gid, links int, content string) string {
		return fmt.Sprintf("%s %06o %d:%d links=%d size=%d %.8x", path, 0o100000|mode, uid, gid, links, len(content), sha256.Sum256([]byte(content)))
	}
	dir := func(path string, mode, uid, gid int) string {
		return fmt.Sprintf("%s %06o %d:%d", path, 0o040000|mode, uid, gid)
	}
	lines := []string{
		dir("/t", 0o755, 0, 0),
		"/t/absolute 120777 0:0 -> /t/kept",
		file("/t/again", 0o640, 12, 34, 2, "kept\n"),
		dir("/t/becomes-dir", 0o700, 0, 0),
		file("/t/becomes-file", 0o644, 0, 0, 1, "file\n"),
		file("/t/big", 0o644, 0, 0, 1, strings.Repeat("0123456789abcdef", 5<<20/16)),
		"/t/block 060660 0:0 dev 259,2",
		file("/t/capable", 0o755, 0, 0, 1, "c\n") + fmt.Sprintf(" security.capability=%x user.note=%x", capability(), "hello"),
		file("/t/changed", 0o400, 0, 0, 1, "new\n"),
		"/t/char 020620 0:5 dev 5,300",
		dir("/t/dir", 0o2750, 5, 6),
		dir("/t/dir/sub", 0o755, 0, 0),
		file("/t/dir/sub/deep", 0o644, 0, 0, 1, "deep\n"),
		file("/t/early-link", 0o600, 0, 0, 2, "late\n"),
		"/t/fifo 010644 0:0",
		file("/t/kept", 0o640, 12, 34, 2, "kept\n"),
		file("/t/late-target", 0o600, 0, 0, 2, "late\n"),
		"/t/lib 120777 0:0 -> usrlib",
		file("/t/link-to-changed", 0o644, 0, 0, 1, "old\n"),
		dir("/t/opaque", 0o755, 0, 0),
		file("/t/opaque/new", 0o644, 0, 0, 1, "new\n"),
		file("/t/owner", 0o644, 3_000_000_000, 3_000_000_001, 1, "o\n"),
		file("/t/setuid", 0o4755, 0, 7, 1, "s\n"),
		file("/t/twice", 0o644, 0, 0, 1, "second\n"),
		dir("/t/usrlib", 0o755, 0, 0),
		file("/t/usrlib/through-link", 0o644, 0, 0, 1, "below a link\n"),
	}
	return strings.Join(lines, "\n") + "\n"
}

// cmdRegistry starts a registry of the script's own, at $REGISTRY, in the place of an earlier one: `registry [tls]`. One
// with TLS has a certificate that nobody vouches for, which lies in registry.crt.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	secure := len(args) == 1 && args[0] == "tls"
	if neg || len(args) > 0 && !secure {
		ts.Fatalf("usage: registry [tls]")
	}
	at := ts.Value(registryKey{}).(**imagetest.Registry)
	if *at != nil {
		(*at).Close()
	}
	if secure {
		*at = imagetest.NewTLSRegistry()
		ts.Check(os.WriteFile(ts.MkAbs("registry.crt"), (*at).CertificatePEM(), 0o600))
	} else {
		*at = imagetest.NewRegistry()
	}
	ts.Setenv("REGISTRY", (*at).Host)
}

func registryOf(ts *testscript.TestScript) *imagetest.Registry {
	r := *ts.Value(registryKey{}).(**imagetest.Registry)
	if r == nil {
		ts.Fatalf("there is no registry yet: registry")
	}
	return r
}

// cmdPush puts an image into the registry: `push IMAGE REPOSITORY:TAG`. All of the registry's faults end with it.
func (i images) cmdPush(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: push IMAGE REPOSITORY:TAG")
	}
	r := registryOf(ts)
	r.Misbehave(imagetest.Fault{})
	r.Push(args[1], i.image(ts, args[0]))
}

// cmdMisbehave sets how the registry behaves from now on: `misbehave well|password|token|slow|cut|lie|busy|huge`.
func cmdMisbehave(ts *testscript.TestScript, neg bool, args []string) {
	faults := map[string]imagetest.Fault{
		"well":     {},
		"password": {User: "me", Password: "secret"},
		"token":    {User: "me", Password: "secret", Token: true},
		"slow":     {Pause: time.Second},
		"cut":      {CutAfter: 200_000, Cuts: 3},
		"lie":      {Lie: true},
		"busy":     {Busy: -1},
		"huge":     {HugeManifest: 5 << 20},
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: misbehave HOW")
	}
	fault, ok := faults[args[0]]
	if !ok {
		ts.Fatalf("%q is no way to misbehave", args[0])
	}
	registryOf(ts).Misbehave(fault)
}

// cmdRequests requires how many requests the registry has had since its behaviour was set: `requests GET /blobs/ 0`.
func cmdRequests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: requests METHOD PART NUMBER")
	}
	if got := fmt.Sprint(registryOf(ts).Count(args[0], args[1])); got != args[2] {
		ts.Fatalf("%s %s: %s requests, not %s", args[0], args[1], got, args[2])
	}
}

// cmdSaveImage writes an image to a file: `saveimage IMAGE layout|layout.zst DIR`, where zst means its layers, and
// `saveimage IMAGE oci.tar|oci.tgz|oci.tzst|root.tar|root.tzst FILE`.
func (i images) cmdSaveImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: saveimage IMAGE FORMAT FILE")
	}
	image, file := i.image(ts, args[0]), ts.MkAbs(args[2])
	switch args[1] {
	case "layout":
		imagetest.WriteLayout(file, image)
	case "layout.zst":
		imagetest.WriteLayout(file, imagetest.Zstd(image))
	case "oci.tar", "oci.tgz", "oci.tzst":
		dir := file + ".layout"
		imagetest.WriteLayout(dir, image)
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		ts.Check(w.AddFS(os.DirFS(dir)))
		ts.Check(w.Close())
		ts.Check(os.WriteFile(file, compressed(ts, out.Bytes(), args[1]), 0o600))
	case "root.tar", "root.tzst":
		layers, err := image.Layers()
		ts.Check(err)
		in, err := layers[0].Uncompressed()
		ts.Check(err)
		defer in.Close()
		data, err := io.ReadAll(in)
		ts.Check(err)
		ts.Check(os.WriteFile(file, compressed(ts, data, args[1]), 0o600))
	default:
		ts.Fatalf("%q is no format", args[1])
	}
}

// compressed is data in the way that the end of a format's name says.
func compressed(ts *testscript.TestScript, data []byte, format string) []byte {
	var packed bytes.Buffer
	var z io.WriteCloser
	switch {
	case strings.HasSuffix(format, ".tgz"):
		z = gzip.NewWriter(&packed)
	case strings.HasSuffix(format, ".tzst"):
		var err error
		z, err = zstd.NewWriter(&packed)
		ts.Check(err)
	default:
		return data
	}
	_, err := z.Write(data)
	ts.Check(err)
	ts.Check(z.Close())
	return packed.Bytes()
}

// cmdTreeListing writes what guestprog has to print of the tree image: `treelisting FILE`.
func cmdTreeListing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: treelisting FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(treeListing()), 0o600))
}
