package image

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"banger/internal/crash"
	"banger/internal/hosttool"
	"banger/internal/model"
)

// subordinateIDs is how many a bootstrap needs: Debian uses ids up to 65535.
const subordinateIDs = 65536

// checkUnshare says whether this ordinary user can have the owners of a whole system.
func checkUnshare() error {
	if _, err := hosttool.Find("newuidmap", "uidmap"); err != nil {
		return err
	}
	me, err := user.Current()
	if err != nil {
		return model.Errorf(model.ErrUnsupported, "cannot tell which subordinate ids are yours: your uid, %d, has no entry in /etc/passwd, and the variable USER is not set", os.Geteuid())
	}
	uids, gids := readSubIDs("/etc/subuid"), readSubIDs("/etc/subgid")
	if uids.enough(me) && gids.enough(me) {
		return nil
	}
	first := max(uids.end, gids.end, 100000)
	ids := fmt.Sprintf("%d-%d", first, first+subordinateIDs-1)
	return model.Fixable(model.ErrUnsupported, fmt.Sprintf("sudo usermod --add-subuids %s --add-subgids %s %s", ids, ids, me.Username),
		"cannot give the files of an image their owners: user %s has no %d subordinate ids", me.Username, subordinateIDs)
}

// subIDs is what subuid(5) or subgid(5) grants.
type subIDs struct {
	most map[string]int // largest range by user name or uid
	end  int            // first id above all ranges
}

func (s subIDs) enough(u *user.User) bool {
	return max(s.most[u.Username], s.most[u.Uid]) >= subordinateIDs
}

func readSubIDs(path string) subIDs {
	s := subIDs{most: map[string]int{}}
	file, err := os.Open(path)
	if err != nil {
		return s
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 {
			continue
		}
		first, ferr := strconv.Atoi(fields[1])
		count, cerr := strconv.Atoi(fields[2])
		if ferr == nil && cerr == nil {
			s.most[fields[0]] = max(s.most[fields[0]], count)
			s.end = max(s.end, first+count)
		}
	}
	return s
}

// makeBootstrapDir makes a directory for an unprivileged bootstrap. It lies where other uids can pass: those of the image
// are such, and a home directory often keeps them out. The link to it comes first: a directory that nothing names would
// never be swept.
func makeBootstrapDir(link string) (string, error) {
	parent := os.Getenv("TMPDIR")
	if !filepath.IsAbs(parent) {
		parent = "/var/tmp"
	}
	dir := filepath.Join(parent, "banger-bootstrap-"+rand.Text())
	crash.At("image.bootstrap.before")
	if err := os.Symlink(dir, link); err != nil {
		return "", err
	}
	crash.At("image.bootstrap.linked")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	crash.At("image.bootstrap.after")
	return dir, os.Chmod(dir, 0o755) // whatever the umask
}

// removeBootstrapDir removes the directory that link names; one that is gone is fine. What a killed bootstrap left in it
// belongs to subordinate ids, so mmdebstrap's own helper enters their namespace to remove it.
func (t Tools) removeBootstrapDir(link string) error {
	dir, err := os.Readlink(link)
	if err != nil {
		return ignoreMissing(err)
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return nil // not the one that was made: its name in a directory of all users has changed hands
	}
	if os.RemoveAll(dir) == nil {
		return nil
	}
	tool, err := t.Find("mmdebstrap", "mmdebstrap")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "--unshare-helper", "find", dir, "-xdev", "-mindepth", "2", "-delete")
	cmd.Env = childEnv()
	_ = cmd.Run() // what it could not do shows next
	return os.RemoveAll(dir)
}
