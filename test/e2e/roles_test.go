//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// runRole is what the test program does when it is run again under the name of a role, on the host or in a guest; found
// is false for a test run. In scripts it is $E2E; in guests it is copied to.
func runRole(args []string) (code int, found bool) {
	if len(args) < 2 {
		return 0, false
	}
	var err error
	switch role, rest := args[1], args[2:]; role {
	case "world": // DIR: the host's side of a world
		err = runWorld(rest[0])
	case "far": // DIR: the other one
		err = runFar(rest[0])
	case "record": // ADDRESS...: write down what comes, for ever
		if err = record(os.Stdout, rest...); err == nil {
			fmt.Println("recording")
			select {}
		}
	case "watch": // PLACE...: write down the frames of probes that come there, for ever
		if err = watch(os.Stdout, rest); err == nil {
			fmt.Println("watching")
			select {}
		}
	case "say": // ADDRESS:PORT TEXT: print what is answered to a line
		err = say(rest[0], strings.Join(rest[1:], " "))
	case "datagram": // ADDRESS:PORT TEXT: print what is answered to datagrams of two clients, small and large
		err = datagrams(rest[0], strings.Join(rest[1:], " "))
	case "hold": // ADDRESS:PORT: keep one connection busy, and count what comes back
		err = hold(rest[0])
	case "resolve": // NAME...: print the addresses of names
		err = resolve(rest)
	case "ask": // ADDRESS:PORT NAME: print the addresses that this server has for a name, over either protocol
		for _, network := range []string{"udp", "tcp"} {
			found, failed := ask(network, rest[0], rest[1])
			fmt.Println(network, found)
			err = errors.Join(err, failed)
		}
	case "listen": // ADDRESS:PORT...: serve a page at each, for ever
		err = servePages(rest)
	case "proxy": // ADDRESS:PORT: an HTTP proxy, for ever
		err = serveProxy(rest[0])
	case "probe": // PHASE PORT...: send every probe from this guest, also to those ports of its gateway
		err = sendProbes(os.Stdout, rest[0], rest[1:])
	case "probing": // PHASE PORT...: the same, again and again until this guest ends
		err = keepSending(os.Stdout, rest[0], rest[1:])
	case "verdict": // FILE...: compare what was seen with what may be
		err = verdict(os.Stdout, rest)
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e "+args[1]+":", err)
		return 1, true
	}
	return 0, true
}

// roleTimeout is for what answers at once, in a guest that is emulated on a host whose every core is busy.
const roleTimeout = 30 * time.Second

func say(address, text string) error {
	c, err := net.DialTimeout("tcp4", address, roleTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(roleTimeout))
	fmt.Fprintln(c, text)
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}

// datagrams has two clients send in turn, and requires that each hears what it said, whole. The large ones are nearly as
// large as a guest's packets may be.
func datagrams(address, text string) error {
	var clients [2]net.Conn
	for i := range clients {
		c, err := net.DialTimeout("udp4", address, roleTimeout)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(roleTimeout))
		clients[i] = c
	}
	answer := make([]byte, 64<<10)
	for round, padding := range []int{0, 60_000} {
		says := func(i int) string { return fmt.Sprintf("%s %d.%d", text, round, i) + strings.Repeat(" ", padding) }
		for i, c := range clients {
			if _, err := io.WriteString(c, says(i)); err != nil {
				return err
			}
		}
		for i, c := range clients {
			n, err := c.Read(answer)
			if got := string(answer[:n]); err != nil || got != says(i) {
				return fmt.Errorf("answer to client %d: %d bytes, %.40q, %w", i, n, got, err)
			}
			fmt.Println(strings.TrimSpace(says(i)))
		}
	}
	return nil
}

// hold says "held N" for each line that came back over its one connection, five a second, and ends when that breaks.
func hold(address string) error {
	c, err := net.DialTimeout("tcp4", address, roleTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for n := 1; ; n++ {
		fmt.Fprintf(c, "line %d\n", n)
		line, err := in.ReadString('\n')
		if err != nil || line != fmt.Sprintf("line %d\n", n) {
			return fmt.Errorf("broken after %d lines: %q, %w", n-1, line, err)
		}
		fmt.Printf("held %d\n", n)
		time.Sleep(200 * time.Millisecond)
	}
}

func resolve(names []string) error {
	var failed error
	for _, name := range names {
		addresses, err := (&net.Resolver{PreferGo: true}).LookupHost(ctxFor(roleTimeout), name)
		failed = errors.Join(failed, err)
		fmt.Println(name, strings.Join(addresses, " "))
	}
	return failed
}

// ask returns the addresses that a server has for a name.
func ask(network, server, name string) (found []string, err error) {
	a, _, err := (&dns.Client{Net: network, Timeout: probeTimeout}).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), server)
	if err != nil {
		return nil, err
	}
	for _, record := range a.Answer {
		if record, ok := record.(*dns.A); ok {
			found = append(found, record.A.String())
		}
	}
	return found, nil
}

// servePages serves over HTTP, in the simplest way there is.
func servePages(addresses []string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(roleTimeout))
					in := bufio.NewReader(c)
					for {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						if strings.TrimSpace(line) == "" {
							break
						}
					}
					text := "page of " + address + "\n"
					_, _ = io.WriteString(c, fmt.Sprintf("HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
				}()
			}
		}()
	}
	fmt.Println("listening")
	select {}
}
