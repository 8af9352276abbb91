package hostnet

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// leave takes a tap from under its VMM, as far as that bears it: a tap that is gone is an error without end to whoever waits
// for its frames, and a VMM would do nothing else from then on. So it is cut off, and goes when the VMM ends.
func leave(links *netlink.Handle, tap netlink.Link) error {
	name := tap.Attrs().Name
	if err := links.LinkSetDown(tap); err != nil {
		return ignoreNoLink(err)
	}
	held, err := forgetTap(name)
	if err != nil {
		return err
	}
	if !held {
		return ignoreNoLink(links.LinkDel(tap))
	}
	return errors.Join(
		ignoreNoLink(links.LinkSetNoMaster(tap)),
		ignoreNoLink(links.LinkSetName(tap, leftPrefix+strings.TrimPrefix(name, tapPrefix))),
	)
}

func ignoreNoLink(err error) error {
	if isNoLink(err) {
		return nil
	}
	return err
}

// forgetTap has a tap end with the process that has it open. held is false when none is found.
func forgetTap(name string) (held bool, err error) {
	infos, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil {
		return false, err
	}
	for _, info := range infos {
		if !isTap(info, name) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(info, "/")[2])
		if err != nil {
			return false, err
		}
		number, err := strconv.Atoi(filepath.Base(info))
		if err != nil {
			return false, err
		}
		done, err := forgetTapOf(pid, number, name)
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EBADF) { // it has just ended
			return false, err
		}
		held = held || done
	}
	return held, nil
}

// isTap says whether what the kernel tells of a descriptor is that it is the tap's.
func isTap(info, name string) bool {
	f, err := os.Open(info)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if of, is := strings.CutPrefix(lines.Text(), "iff:"); is {
			return strings.TrimSpace(of) == name
		}
	}
	return false
}

// forgetTapOf looks at the descriptor itself: it may have become another meanwhile, and other namespaces have such names.
func forgetTapOf(pid, number int, name string) (bool, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return false, os.NewSyscallError("pidfd_getfd", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("")
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, request); err != nil || request.Name() != name {
		return false, nil
	}
	there, err := inNamespace(fd)
	if err != nil || !there {
		return false, err
	}
	return true, os.NewSyscallError("TUNSETPERSIST", unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0))
}

// inNamespace says whether a tap is in this thread's network namespace.
func inNamespace(fd int) (bool, error) {
	ns, err := unix.IoctlRetInt(fd, unix.TUNGETDEVNETNS)
	if err != nil {
		return false, os.NewSyscallError("TUNGETDEVNETNS", err)
	}
	defer unix.Close(ns)
	var its, own unix.Stat_t
	if err := errors.Join(unix.Fstat(ns, &its), unix.Stat("/proc/thread-self/ns/net", &own)); err != nil {
		return false, &fs.PathError{Op: "stat", Path: "a network namespace", Err: err}
	}
	return its.Ino == own.Ino && its.Dev == own.Dev, nil
}
