// Package userns tells whether this user may have namespaces of its own.
package userns

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"banger/internal/model"
)

// settings keep ordinary users from namespaces, or leave them without rights in them.
func settings() []setting {
	return []setting{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"user.max_user_namespaces", "0", "15000"},
		// Ubuntu's: with it namespaces can be made, and nothing can be done in them.
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
	}
}

// setting is a sysctl(8) with the value that closes the way and one that opens it.
type setting struct{ name, closed, open string }

func (s setting) isClosed() bool {
	value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
	return err == nil && strings.TrimSpace(string(value)) == s.closed
}

// Try says why a process cannot be given a user, a mount and a network namespace of its own here, nil when it can. It has
// them made for a program that does not exist: that it was looked for tells that they were there, and they went with it.
func Try() error {
	_, err := os.StartProcess("/proc/self/no-such-program", []string{"none"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return judge(err, os.Geteuid() == 0)
}

// judge explains an error of having namespaces made. A user that is not root may have been given useless ones.
func judge(err error, root bool) error {
	if err == nil && root {
		return nil
	}
	for _, s := range settings() {
		if s.isClosed() {
			return model.Fixable(model.ErrUnsupported, "sudo sysctl -w "+s.name+"="+s.open,
				"cannot have namespaces of one's own here: %s is %s", s.name, s.closed)
		}
	}
	if err != nil {
		return model.Errorf(model.ErrUnsupported, "cannot have namespaces of one's own here: %w", err)
	}
	return nil
}
