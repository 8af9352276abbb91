package layers

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"banger/internal/hosttool"
	"banger/internal/image/ext4"
	"banger/internal/image/layers/layerstest"
)

// convert writes an ext4 file of layers, as an import does.
func convert(t testing.TB, path string, ls []Layer, o Options) (ext4.Written, Summary) {
	t.Helper()
	r, w := io.Pipe()
	done := make(chan Summary, 1)
	go func() {
		sum, err := Flatten(context.Background(), w, ls, o)
		w.CloseWithError(err)
		done <- sum
	}()
	written, err := ext4.Write(context.Background(), path, r)
	r.CloseWithError(err)
	if err != nil {
		t.Fatal(err)
	}
	return written, <-done
}

// acl is an access control list as user space sees it: tag, permissions and id of each entry.
func acl(entries ...[3]uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
		b = binary.LittleEndian.AppendUint32(b, e[2])
	}
	return string(b)
}

const nobody = 0 // debugfs gives entries that are about no one by name this id

// fileSystem is an image that this test made, looked at with debugfs.
type fileSystem struct {
	t    testing.TB
	path string
}

func (f fileSystem) ask(request string) string {
	f.t.Helper()
	tool, err := hosttool.Find("debugfs", "e2fsprogs")
	if err != nil {
		f.t.Skip(err)
	}
	cmd := exec.CommandContext(context.Background(), tool, "-R", request, f.path)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("%s: %v %s", request, err, &complaints)
	}
	return string(out)
}

// file reads back what the reference says of a file.
func (f fileSystem) file(name string) (r layerstest.File, inode string) {
	f.t.Helper()
	text := f.ask(fmt.Sprintf("stat \"/%s\"", name))
	part := func(expr string) string {
		if m := regexp.MustCompile(expr).FindStringSubmatch(text); m != nil {
			return m[1]
		}
		return ""
	}
	kinds := map[string]byte{"regular": '0', "directory": '5', "symlink": '2', "character": '3', "block": '4', "FIFO": '6'}
	r.Kind = kinds[part(`Type: (\w+)`)]
	fmt.Sscanf(part(`Mode:\s+(\d+)`), "%o", &r.Mode)
	var uid, gid int64 // shown with a sign
	fmt.Sscan(part(`User:\s+(-?\d+)`), &uid)
	fmt.Sscan(part(`Group:\s+(-?\d+)`), &gid)
	r.UID, r.GID = int(uint32(uid)), int(uint32(gid))
	var sec, extra uint64
	fmt.Sscanf(part(`mtime: (0x[0-9a-f]+)`), "0x%x", &sec)
	fmt.Sscanf(part(`mtime: 0x[0-9a-f]+:([0-9a-f]+)`), "%x", &extra)
	r.Time = int64(sec+extra&3<<32)*1e9 + int64(extra>>2)
	fmt.Sscanf(part(`Device major/minor number: (\d+:\d+)`), "%d:%d", &r.Major, &r.Minor)
	switch r.Kind {
	case '2':
		if r.Link = part(`Fast link dest: "(.*)"`); r.Link == "" {
			r.Link = f.ask(fmt.Sprintf("cat \"/%s\"", name))
		}
	case '0':
		r.Content = f.ask(fmt.Sprintf("cat \"/%s\"", name))
	}
	return r, part(`Inode: (\d+)`)
}

// TestThroughTheFileSystem converts layers with everything in them and looks for all of it in what comes out.
func TestThroughTheFileSystem(t *testing.T) {
	t.Parallel()
	list := acl([3]uint32{1, 6, nobody}, [3]uint32{2, 4, 1000}, [3]uint32{2, 6, 1001}, [3]uint32{4, 4, nobody}, [3]uint32{8, 7, 50}, [3]uint32{16, 6, nobody}, [3]uint32{32, 4, nobody})
	big := strings.Repeat("0123456789abcdef", 300_000)
	tars := [][]byte{
		archive(t, "d ./ mode=755 time=77", "d usr mode=755", "d usr/lib mode=755 gid=3", "s lib usr/lib", "f usr/lib/old x", "f etc/gone x", "f etc/kept "+big,
			"l etc/again etc/kept", "d var/empty mode=700 uid=9", "f a one", "l b a", "s s a", "l s2 s", "s long "+strings.Repeat("t/", 100)),
		archive(t, "f lib/new hello mode=4755", "f etc/.wh.gone", "f a two", "l c a", "c null 1 3 mode=666", "b disk 8 300 gid=6", "p pipe mode=600", "d tmp mode=1777",
			"f attributes z x:user.one=1 x:user.two="+strings.Repeat("2", 300)+" x:user.three=3 x:security.capability=caps x:user.a="+strings.Repeat("a", 200),
			"f owner x uid=4294967294 gid=70000", "f secret listed mode=640", "d shared mode=770"),
		tarOf(pax("SCHILY.xattr.system.posix_acl_access", list), raw{name: "secret", kind: '0', mode: "0000664\x00", content: "listed"},
			pax("SCHILY.xattr.system.posix_acl_default", list, "SCHILY.xattr.system.posix_acl_access", list), raw{name: "shared", kind: '5', mode: "0000775\x00"},
			oldSparse("holes", "x", 100<<20, 1<<20, 1, 100<<20, 0), pax("mtime", "1700000000.123456789"), raw{name: "fine", kind: '0'}),
	}
	path := filepath.Join(t.TempDir(), "root.ext4")
	o := Options{Limits: DefaultLimits()}
	written, sum := convert(t, path, blobs(tars...), o)
	if _, err := written.Finish(t.Context(), path, 2<<30); err != nil {
		t.Fatal(err) // it ends with e2fsck -fn
	}
	want, err := layerstest.Merge(tars...)
	if err != nil {
		t.Fatal(err)
	}
	fs := fileSystem{t, path}
	inodes := map[*layerstest.File]string{}
	for name, w := range want {
		got, inode := fs.file(name)
		attributes := w.Attributes
		w := *w
		w.Attributes = ""
		if got != w {
			t.Errorf("%s: got %s\nwant %s", name, &got, &w)
		}
		if was, seen := inodes[want[name]]; seen && was != inode {
			t.Errorf("%s is a file of its own", name)
		}
		inodes[want[name]] = inode
		for _, a := range strings.Fields(attributes) {
			key, value, _ := strings.Cut(a, "=")
			if got := fs.ask(fmt.Sprintf("ea_get -V /%s %s", name, key)); got != value+"\n" {
				t.Errorf("%s: %s is %q, want %q", name, key, got, value)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 > 100<<20 {
		t.Errorf("the holes take space: %d blocks, %v", info.Sys().(*syscall.Stat_t).Blocks, err)
	}
	if len(want) < 25 || sum.Entries != len(want)-1 {
		t.Errorf("%d entries written, the reference has %d", sum.Entries, len(want))
	}
	for _, a := range []string{"secret system.posix_acl_access", "shared system.posix_acl_access", "shared system.posix_acl_default"} {
		if got := fs.ask("ea_get -V /" + a); got != list+"\n" {
			t.Errorf("%s is %q, want %q", a, got, list)
		}
	}
	if out := fs.ask("ls -p /"); strings.Contains(out, "/gone/") || strings.Contains(out, "/.wh") {
		t.Errorf("the root has %s", out)
	}
	var inodesMade, free int
	stats := fs.ask("show_super_stats -h")
	fmt.Sscan(regexp.MustCompile(`Inode count:\s+(\d+)`).FindStringSubmatch(stats)[1], &inodesMade)
	fmt.Sscan(regexp.MustCompile(`Free inodes:\s+(\d+)`).FindStringSubmatch(stats)[1], &free)
	if inodesMade < (2<<30)/(16<<10) || free < inodesMade-1000 {
		t.Errorf("%d inodes, %d free", inodesMade, free)
	}
}
