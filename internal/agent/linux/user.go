package linux

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// account is who a command runs as.
type account struct {
	name     string // "" for a uid without a name
	uid, gid uint32
	groups   []uint32 // supplementary; the primary one is the first of them
	home     string
	shell    string
}

// maxAccounts caps how much is read of a passwd or group file.
const maxAccounts = 4 << 20

// lookupUser finds who "name", "uid", "name:group" or "uid:gid" is, by the passwd and group files under root. Like
// docker, it takes a number that stands in neither, and root where there are no files at all. As after a login the primary
// group is a supplementary one, too: a process that changes its primary group, by a setgid program for one, must not be
// able to leave it, and with it a file's mode that gives this group less than others.
func lookupUser(root, user string) (account, error) {
	a, err := findAccount(root, user)
	if err != nil {
		return a, err
	}
	a.groups = append([]uint32{a.gid}, a.groups...)
	return a, nil
}

func findAccount(root, user string) (account, error) {
	name, group, hasGroup := strings.Cut(user, ":")
	if name == "" {
		name = "0"
	}
	a := account{home: "/"}
	number, err := strconv.ParseUint(name, 10, 31)
	isNumber := err == nil
	found := false
	err = eachLine(filepath.Join(root, "etc/passwd"), 7, func(f []string) bool {
		uid, uidErr := strconv.ParseUint(f[2], 10, 32)
		gid, gidErr := strconv.ParseUint(f[3], 10, 32)
		if uidErr != nil || gidErr != nil || (f[0] != name && (!isNumber || uid != number)) {
			return true
		}
		a = account{name: f[0], uid: uint32(uid), gid: uint32(gid), home: f[5], shell: f[6]}
		found = true
		return false
	})
	switch {
	case err != nil:
		return a, err
	case !found && name == "root":
		a.name = name
	case !found && !isNumber:
		return a, fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	case !found:
		a.uid = uint32(number)
	}
	if a.uid == 0 && !found {
		a.name, a.home = "root", "/root"
	}
	if hasGroup {
		return a, a.setGroup(root, group)
	}
	return a, a.addGroups(root)
}

// setGroup makes group the account's only one.
func (a *account) setGroup(root, group string) error {
	number, err := strconv.ParseUint(group, 10, 31)
	isNumber, found := err == nil, false
	err = eachLine(filepath.Join(root, "etc/group"), 3, func(f []string) bool {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || (f[0] != group && (!isNumber || gid != number)) {
			return true
		}
		a.gid, found = uint32(gid), true
		return false
	})
	switch {
	case err != nil:
		return err
	case !found && !isNumber:
		return fmt.Errorf("unable to find group %s: no matching entries in group file", group)
	case !found:
		a.gid = uint32(number)
	}
	return nil
}

func (a *account) addGroups(root string) error {
	if a.name == "" {
		return nil
	}
	return eachLine(filepath.Join(root, "etc/group"), 4, func(f []string) bool {
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err == nil && slices.Contains(strings.Split(f[3], ","), a.name) && uint32(gid) != a.gid {
			a.groups = append(a.groups, uint32(gid))
		}
		return len(a.groups) < 1024
	})
}

// eachLine calls do with the fields of each line that has at least so many, until it returns false. A missing file has no
// lines.
func eachLine(path string, fields int, do func([]string) bool) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	scan := bufio.NewScanner(io.LimitReader(file, maxAccounts))
	for scan.Scan() {
		f := strings.Split(strings.TrimSpace(scan.Text()), ":")
		if len(f) >= fields && !strings.HasPrefix(f[0], "#") && !do(f) {
			return nil
		}
	}
	return scan.Err()
}
