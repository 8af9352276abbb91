package layers

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

func TestRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		layers []string
		rules  tarfilter.Rules
		want   string
	}{
		{"dropped in every layer", []string{"f a one\nf b x", "f a two"}, tarfilter.Rules{Drop: func(n string) bool { return n == "a" }}, "b 0 644 x"},
		{"dropped by the name where it lands", []string{"s l d\nf l/a one"}, tarfilter.Rules{Drop: func(n string) bool { return n == "d/a" }}, "d 5 755 implied\nl 2 777 -> d"},
		{"a dropped name of a file with another", []string{"f a one\nl b a"}, tarfilter.Rules{Drop: func(n string) bool { return n == "a" }}, "b 0 644 one"},
		{"a dropped directory", []string{"d d uid=5\nf d/a x\nd e"}, tarfilter.Rules{Drop: func(n string) bool { return n == "d" || n == "e" }}, "d 5 755 implied\nd/a 0 644 x"},
		{"replaced", []string{"f etc/id old\nd x\nf x/y z\nf z old"}, tarfilter.Rules{Replace: []tarfilter.File{
			{Name: "etc/id", Content: "new"}, {Name: "x", Link: "/dev/null"}, {Name: "n/e/w", Dir: true}, {Name: "z"},
		}}, "etc 5 755 implied\netc/id 0 644 @0 new\nn 5 755 implied\nn/e 5 755 implied\nn/e/w 5 755 implied\nx 2 777 @0 -> /dev/null\nz 0 644 @0"},
		{"replaced below a link", []string{"s etc usr/etc\nd usr/etc"}, tarfilter.Rules{Replace: []tarfilter.File{{Name: "etc/id", Content: "new"}}},
			"etc 2 777 -> usr/etc\nusr 5 755 implied\nusr/etc 5 644\nusr/etc/id 0 644 @0 new"},
		{"a replaced name of a file with another", []string{"f a one\nl b a"}, tarfilter.Rules{Replace: []tarfilter.File{{Name: "a", Content: "new"}}}, "a 0 644 @0 new\nb 0 644 one"},
	} {
		for _, w := range ways() {
			got, _, err := w.flat(t, Options{Rules: c.rules}, lined(t, c.layers...)...)
			if err != nil || shape(got) != c.want {
				t.Errorf("%s (%s): got\n%s\n%v\nwant\n%s", c.name, w.name, shape(got), err, c.want)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, layer, init, program, shell string }{
		{"Debian", "f usr/lib/systemd/systemd x mode=755\ns lib usr/lib\ns usr/sbin/init ../lib/systemd/systemd\ns sbin usr/sbin\ns bin usr/bin\ns usr/bin/sh dash\nf usr/bin/dash x mode=755",
			"/sbin/init", "/usr/lib/systemd/systemd", "/bin/sh"},
		{"busybox", "f bin/busybox x mode=755\nl bin/sh bin/busybox\ns sbin/init /bin/busybox", "/sbin/init", "/bin/busybox", "/bin/sh"},
		{"systemd without init", "f usr/lib/systemd/systemd x mode=755\ns lib /usr/lib", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", ""},
		{"one static program", "f app x mode=755", "", "", ""},
		{"not executable", "f sbin/init x\nf bin/sh x", "", "", ""},
		{"a directory", "d sbin/init mode=755\nd bin/sh mode=755", "", "", ""},
		{"dangling", "s sbin/init nowhere\ns bin/sh /", "", "", ""},
		{"a loop", "s sbin/init init\ns bin/sh x\ns bin/x sh", "", "", ""},
		{"out and back", "s sbin/init ../../../i\nf i x mode=755\nf bin/sh x mode=111", "/sbin/init", "/i", "/bin/sh"},
	} {
		_, sum, err := ways()[0].flat(t, Options{}, lined(t, c.layer)...)
		if err != nil || sum.Init != c.init || sum.InitProgram != c.program || sum.Shell != c.shell {
			t.Errorf("%s: %+v, %v", c.name, sum, err)
		}
	}
}

func TestDroppedAttributesAreCounted(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		_, sum, err := w.flat(t, Options{}, lined(t, "f a x x:user.k=v x:security.selinux=s x:system.posix_acl_access=bad", "f b x x:trusted.overlay.opaque=y")...)
		if err != nil || sum.DroppedAttributes != 3 {
			t.Errorf("%s: %+v, %v", w.name, sum, err)
		}
	}
}

func TestProgressAddsUp(t *testing.T) {
	t.Parallel()
	var ls []Layer
	var total int64
	for i := range 5 {
		data := archive(t, "f a "+strings.Repeat(fmt.Sprint(i), 2<<20))
		total += int64(len(data))
		ls = append(ls, blob(data))
	}
	var mu sync.Mutex
	var last int64
	o := Options{Limits: DefaultLimits(), Progress: func(n int64) {
		if !mu.TryLock() {
			t.Error("two calls at a time")
			return
		}
		defer mu.Unlock()
		if n < last {
			t.Errorf("%d after %d", n, last)
		}
		last = n
	}}
	if _, err := Flatten(t.Context(), io.Discard, ls, o); err != nil || last != total {
		t.Errorf("told %d of %d, %v", last, total, err)
	}
}

func TestWhatCannotBeReadOnce(t *testing.T) {
	t.Parallel()
	for name, layer := range map[string]string{
		"a file twice": "f a one\nf a two", "a file, then a directory": "f a one\nd a", "a directory, then a file": "f d/a x\nf d y",
		"a directory described late": "f d/a x\nd d", "a file overlaid": "f a x\nc a 0 0", "a moving link": "s b ..\nf b/b x\nf b y",
	} {
		w := &watched{data: lined(t, layer)[0]}
		o := Options{Limits: DefaultLimits(), Once: true}
		if _, err := Flatten(t.Context(), io.Discard, []Layer{w.layer()}, o); !errors.Is(err, ErrTwice) || model.KindOf(err) != nil {
			t.Errorf("%s: %v", name, err)
		}
		w = &watched{data: lined(t, layer)[0]}
		o.Once = false
		if _, err := Flatten(t.Context(), io.Discard, []Layer{w.layer()}, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
