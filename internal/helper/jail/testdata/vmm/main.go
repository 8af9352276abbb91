// Command vmm stands for Firecracker in a jail: it listens, says what it sees, and does what it is told, line by line.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	at := slices.Index(os.Args, "--api-sock")
	if os.Getenv("FAIL") != "" || at < 0 {
		fmt.Fprintln(os.Stderr, "no socket to listen on")
		os.Exit(3)
	}
	l, err := net.Listen("unix", os.Args[at+1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("it listens")
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			fmt.Fprintf(conn, "%q\n", do(lines.Text()))
		}
		conn.Close()
	}
}

// do answers one line: a verb and a path.
func do(line string) string {
	verb, path, _ := strings.Cut(line, " ")
	var err error
	switch verb {
	case "list":
		var found []string
		err = filepath.WalkDir("/", func(path string, d os.DirEntry, err error) error {
			found = append(found, path)
			return nil
		})
		if err == nil {
			return strings.Join(found, " ")
		}
	case "read":
		var f *os.File
		if f, err = os.Open(path); err == nil {
			text := make([]byte, 16)
			n, rerr := f.Read(text)
			f.Close()
			if err = rerr; err == nil {
				return string(text[:n])
			}
		}
	case "write":
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_SYNC, 0); err == nil {
			_, err = f.WriteAt([]byte(strings.Repeat("w", 4096)), 0)
			f.Close()
		}
	case "make":
		err = os.WriteFile(path, []byte("made"), 0o600)
	case "dirs":
		err = os.MkdirAll(path+"/a/b/c", 0)
	case "network":
		var all []net.Interface
		if all, err = net.Interfaces(); err == nil {
			var names []string
			for _, i := range all {
				names = append(names, i.Name)
			}
			return strings.Join(names, " ")
		}
	case "arp":
		var answer string
		if answer, err = arp(path); err == nil {
			return answer
		}
	case "who":
		return fmt.Sprint(os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid(), "groups ", must(os.Getgroups()))
	case "end":
		os.Exit(0)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return "ok"
}

func must(v []int, err error) any {
	if err != nil {
		return err
	}
	return v
}
