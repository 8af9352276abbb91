// Package resolvconf reads what resolv.conf(5) says to those who do not ask for names themselves.
package resolvconf

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
)

// Path is where programs of the host look.
const Path = "/etc/resolv.conf"

const maxBytes = 64 << 10 // of a file

// Search returns the domains in which the host looks for short names.
func Search() []string {
	file, err := os.Open(Path)
	if err != nil {
		return nil // a host without one has no short names either
	}
	defer file.Close()
	return parseSearch(io.LimitReader(file, maxBytes))
}

// maxSearch is how many search domains the C library takes from a resolv.conf in old releases.
const maxSearch = 6

// parseSearch: the last of the search and domain lines counts.
func parseSearch(file io.Reader) []string {
	var found []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		found = nil
		for _, domain := range fields[1:] {
			plain := strings.Trim(strings.ToLower(domain), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
			if plain && domain != "." && len(domain) < 254 && len(found) < maxSearch {
				found = append(found, domain)
			}
		}
	}
	return found
}

// Servers returns the IPv4 addresses of the name servers that the file at path names, in its order.
func Servers(path string) []netip.Addr {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	var found []netip.Addr
	lines := bufio.NewScanner(io.LimitReader(file, maxBytes))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil && addr.Is4() {
			found = append(found, addr)
		}
	}
	return found
}
