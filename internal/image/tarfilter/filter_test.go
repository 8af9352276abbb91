package tarfilter

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func limits() Limits { return Limits{Bytes: 1000, Entries: 10, Path: 50, Depth: 4} }

func stream(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// shown is one line for each entry that passed.
func shown(t *testing.T, in []byte, rules Rules) (string, error) {
	t.Helper()
	var out bytes.Buffer
	_, err := Copy(&out, bytes.NewReader(in), limits(), rules, nil)
	var text strings.Builder
	for r := tar.NewReader(&out); ; {
		h, terr := r.Next()
		if terr != nil {
			break
		}
		content, _ := io.ReadAll(r)
		fmt.Fprintf(&text, "%c %s %o %d:%d %d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, len(content))
		if h.Linkname != "" {
			text.WriteString(" -> " + h.Linkname)
		}
		if h.Devmajor != 0 {
			fmt.Fprintf(&text, " dev %d,%d", h.Devmajor, h.Devminor)
		}
		if h.ModTime.Unix() != 0 {
			fmt.Fprintf(&text, " at %d", h.ModTime.Unix())
		}
		for k, v := range h.PAXRecords {
			if strings.HasPrefix(k, "SCHILY") {
				text.WriteString(" " + k + "=" + v)
			}
		}
		text.WriteString("\n")
	}
	return text.String(), err
}

func TestPasses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		in    []tar.Header
		rules Rules
		want  string
	}{
		{name: "names are made relative", in: []tar.Header{
			{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "/a//b/", Typeflag: tar.TypeDir, Mode: 0o700}, {Name: "../../c", Mode: 0o4755, Uid: 7, Gid: 8, Size: 3},
		}, want: "5 . 755 0:0 0\n5 a/b 700 0:0 0\n0 c 4755 7:8 3\n"},
		{name: "links and devices", in: []tar.Header{
			{Name: "f"}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "./f"}, {Name: "s", Typeflag: tar.TypeSymlink, Linkname: "/etc/../x"},
			{Name: "d", Typeflag: tar.TypeChar, Devmajor: 5, Devminor: 1}, {Name: "p", Typeflag: tar.TypeFifo},
		}, want: "0 f 0 0:0 0\n1 h 0 0:0 0 -> f\n2 s 0 0:0 0 -> /etc/../x\n3 d 0 0:0 0 dev 5,1\n6 p 0 0:0 0\n"},
		{name: "times before 1970", in: []tar.Header{{Name: "f", ModTime: time.Unix(-5, 0)}, {Name: "g", ModTime: time.Unix(5, 0)}},
			want: "0 f 0 0:0 0\n0 g 0 0:0 0 at 5\n"},
		{name: "attributes", in: []tar.Header{{Name: "f", PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "cap", "SCHILY.xattr.system.posix_acl_access": "acl", "SCHILY.xattr.trusted.overlay.opaque": "y",
		}}}, want: "0 f 0 0:0 0 SCHILY.xattr.security.capability=cap\n"},
		{name: "a directory twice", in: []tar.Header{{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "d", Typeflag: tar.TypeDir, Mode: 0o700}},
			want: "5 d 755 0:0 0\n5 d 700 0:0 0\n"},
		{name: "dropped", in: []tar.Header{{Name: "a"}, {Name: "b"}}, rules: Rules{Drop: func(n string) bool { return n == "a" }}, want: "0 b 0 0:0 0\n"},
		{name: "replaced and added", in: []tar.Header{{Name: "etc/id", Size: 9}, {Name: "x"}},
			rules: Rules{Replace: []File{{Name: "etc/id"}, {Name: "m", Link: "/dev/null"}, {Name: "n", Content: "hey"}, {Name: "dir", Dir: true}}},
			want:  "0 x 0 0:0 0\n0 etc/id 644 0:0 0\n2 m 777 0:0 0 -> /dev/null\n0 n 644 0:0 3\n5 dir 755 0:0 0\n"},
	} {
		got, err := shown(t, stream(t, c.in...), c.rules)
		if got != c.want || err != nil {
			t.Errorf("%s: got\n%s%v\nwant\n%s", c.name, got, err, c.want)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	many := make([]tar.Header, 11)
	for i := range many {
		many[i].Name = fmt.Sprint(i)
	}
	for _, c := range []struct {
		name string
		in   []tar.Header
		want string
	}{
		{"a file twice", []tar.Header{{Name: "f"}, {Name: "./f"}}, "twice"},
		{"a file over a link", []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "x"}, {Name: "l"}}, "twice"},
		{"a directory over a file", []tar.Header{{Name: "f"}, {Name: "f", Typeflag: tar.TypeDir}}, "twice"},
		{"a file over an implied directory", []tar.Header{{Name: "lib/x"}, {Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}}, "twice"},
		{"below a link", []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, {Name: "l/x"}}, "not a directory"},
		{"hard link to later", []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "f"}, {Name: "f"}}, "hard link"},
		{"hard link to a directory", []tar.Header{{Name: "d", Typeflag: tar.TypeDir}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "d"}}, "hard link"},
		{"too many bytes", []tar.Header{{Name: "a", Size: 600}, {Name: "b", Size: 600}}, "more than 1000 bytes"},
		{"too many entries", many, "more than 10 entries"},
		{"too deep", []tar.Header{{Name: "a/b/c/d/e"}}, "levels"},
		{"too long", []tar.Header{{Name: strings.Repeat("x", 51)}}, "at most 50"},
		{"huge attributes", []tar.Header{{Name: "f", PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", 4000)}}}, "attributes"},
	} {
		got, err := shown(t, stream(t, c.in...), Rules{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q; passed:\n%s", c.name, err, c.want, got)
		}
	}
}

func TestBrokenStream(t *testing.T) {
	t.Parallel()
	in := stream(t, tar.Header{Name: "f", Size: 900})
	for _, cut := range []int{100, 700, 1200} {
		if got, err := shown(t, in[:cut], Rules{}); err == nil {
			t.Errorf("cut at %d: no error, %q", cut, got)
		}
	}
	bad := bytes.Clone(in)
	bad[150]++
	if _, err := shown(t, bad, Rules{}); err == nil {
		t.Error("a broken checksum was not noticed")
	}
}
