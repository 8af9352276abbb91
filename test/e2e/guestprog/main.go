// Command guestprog is the one program of an image that has nothing else: it says what it was given, or what the guest's
// file system holds.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guestprog:", err)
		os.Exit(3)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("what?")
	}
	switch args[0] {
	case "whoami":
		return whoami(args[1:])
	case "tree":
		return tree(args[1:])
	case "resolve":
		return resolve(args[1])
	case "say":
		return say(args[1], strings.Join(args[2:], " "))
	case "wait":
		return wait(args[1])
	case "cat":
		data, err := os.ReadFile(args[1])
		fmt.Print(string(data))
		return err
	case "exit":
		os.Exit(42)
	}
	return fmt.Errorf("%q?", args)
}

// whoami prints everything that a command is started with.
func whoami(args []string) error {
	dir, err := os.Getwd()
	fmt.Printf("args %q\nuid %d gid %d\ndir %s\n", args, os.Getuid(), os.Getgid(), dir)
	env := os.Environ()
	slices.Sort(env)
	for _, kv := range env {
		fmt.Println("env", kv)
	}
	if _, terr := unix.IoctlGetTermios(0, unix.TCGETS); terr == nil {
		fmt.Println("terminal yes")
	}
	return err
}

const networkTime = 30 * time.Second

// resolve prints the addresses of a name.
func resolve(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), networkTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	for _, a := range addresses {
		fmt.Println(a)
	}
	return err
}

// say sends a line over TCP and prints the one that comes back.
func say(address, text string) error {
	c, err := net.DialTimeout("tcp", address, networkTime)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(networkTime))
	fmt.Fprintln(c, text)
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}

// wait writes the name of the first signal that comes to a file. Another one beside it says that it waits.
func wait(file string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	if err := os.WriteFile(file+".ready", []byte("ready\n"), 0o644); err != nil {
		return err
	}
	got := (<-signals).(syscall.Signal)
	return os.WriteFile(file, []byte(unix.SignalName(got)+"\n"), 0o644)
}

// tree prints one line for each file below the roots, with all that an image says of a file.
func tree(roots []string) error {
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line, err := describe(path)
			fmt.Println(line)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	parts := []string{path, fmt.Sprintf("%06o %d:%d", st.Mode, st.Uid, st.Gid)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		parts = append(parts, fmt.Sprintf("links=%d size=%d %.8x", st.Nlink, st.Size, sha256.Sum256(data)))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		parts = append(parts, "-> "+target)
	case unix.S_IFCHR, unix.S_IFBLK:
		parts = append(parts, fmt.Sprintf("dev %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	}
	attributes, err := xattrs(path)
	return strings.Join(append(parts, attributes...), " "), err
}

func xattrs(path string) ([]string, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return nil, err
	}
	var found []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	slices.Sort(found)
	return found, nil
}
