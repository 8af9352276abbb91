package unixsocket_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/unixsocket"
)

func TestAnyLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 60, 107, 108, 200} {
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "socket")
		for range 2 { // the second time in place of the first one's socket
			l, err := unixsocket.Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
				t.Fatalf("%v, %v", fi, err)
			}
			client, err := unixsocket.Dial(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(client, "hello")
			client.CloseWrite()
			if got, err := io.ReadAll(server); err != nil || string(got) != "hello" {
				t.Fatalf("%q, %v", got, err)
			}
			uid, pid, err := unixsocket.PeerCred(client)
			if err != nil || pid != os.Getpid() || int(uid) != os.Getuid() {
				t.Fatalf("uid %d, pid %d, %v", uid, pid, err)
			}
			client.Close()
			server.Close()
			l.Close()
		}
	}
	if _, err := unixsocket.Dial(t.Context(), filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing socket: %v", err)
	}
}
