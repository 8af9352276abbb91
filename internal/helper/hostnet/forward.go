package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"banger/internal/crash"
	"banger/internal/model"
)

// What a bridge's alias says: how the kernel's settings were before the first of us came. It is where this is remembered,
// since it is there exactly as long as it matters. To switch forwarding on or off sets other settings with it (see
// inet_forward_change in Linux's net/ipv4/devinet.c), so those are noted where it was off, too: whether the host accepts
// redirects, and the indexes of the devices that forwarded alone, 0 for those to come.
const (
	bridgeAlias  = "banger, ip_forward was "
	forwardedNot = bridgeAlias + "0"
	forwarded    = bridgeAlias + "1"
	redirectsIn  = ", accept_redirects "
	forwardingIn = ", forwarding"

	aliasRoom = 255 // what the kernel keeps of one, IFALIASZ
)

// The settings that change with forwarding.
const (
	acceptRedirects = "ipv4/conf/all/accept_redirects"
	defaultForwards = "ipv4/conf/default/forwarding"
)

func forwardsOf(device string) string { return "ipv4/conf/" + device + "/forwarding" }

// forward has the kernel forward packets, and the bridge remember how it was before. The caller holds the lock.
func (h *Host) forward(links *netlink.Handle, br netlink.Link) error {
	if !strings.HasPrefix(br.Attrs().Alias, bridgeAlias) {
		before, err := noteForwarding(links, br)
		if err != nil {
			return err
		}
		if err := links.LinkSetAlias(br, before); err != nil {
			return err
		}
		crash.At("hostnet.bridge.noted")
	}
	if now, err := getSysctl(forwardIn); err != nil || now != "0" {
		return err
	}
	return setSysctl(forwardIn, "1")
}

// noteForwarding is what the alias of a new bridge is to say: what that of another one does, if one of us switched
// forwarding on already, and else how it is.
func noteForwarding(links *netlink.Handle, br netlink.Link) (string, error) {
	others, err := others(links, br)
	if err != nil {
		return "", err
	}
	for _, alias := range others {
		if strings.HasPrefix(alias, forwardedNot) {
			return alias, nil
		}
	}
	was, err := getSysctl(forwardIn)
	if err != nil || was != "0" {
		return forwarded, err
	}
	redirects, err := getSysctl(acceptRedirects)
	if err != nil {
		return "", err
	}
	note := forwardedNot + redirectsIn + redirects + forwardingIn
	if on, err := getSysctl(defaultForwards); err != nil {
		return "", err
	} else if on == "1" {
		note += " 0"
	}
	all, err := whole(links.LinkList)
	if err != nil {
		return "", err
	}
	for _, l := range all {
		on, err := getSysctl(forwardsOf(l.Attrs().Name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the device has gone, or has no IPv4
			return "", err
		}
		if on == "1" {
			note += " " + strconv.Itoa(l.Attrs().Index)
		}
	}
	if len(note) > aliasRoom {
		return "", model.Errorf(model.ErrUnsupported, "more devices forward packets each for itself than can be noted; switch forwarding on for all: sysctl net.ipv4.ip_forward=1")
	}
	return note, nil
}

// giveBack makes the settings what a bridge's alias says that they were. Doing it twice is fine. The caller holds the lock.
func giveBack(links *netlink.Handle, alias string) error {
	rest, off := strings.CutPrefix(alias, forwardedNot)
	if !off {
		return nil
	}
	if err := setSysctl(forwardIn, "0"); err != nil {
		return err
	}
	rest, devices, _ := strings.Cut(rest, forwardingIn)
	var errs []error
	if redirects, noted := strings.CutPrefix(rest, redirectsIn); noted { // an earlier version noted none
		errs = append(errs, setSysctl(acceptRedirects, redirects))
	}
	for _, field := range strings.Fields(devices) {
		errs = append(errs, forwardAgain(links, field))
	}
	return errors.Join(errs...)
}

// forwardAgain has a device, by the index that was noted, forward again what it receives.
func forwardAgain(links *netlink.Handle, noted string) error {
	index, err := strconv.Atoi(noted)
	switch {
	case err != nil:
		return fmt.Errorf("the bridge's alias names a device %q", noted)
	case index == 0:
		return setSysctl(defaultForwards, "1")
	}
	device, err := links.LinkByIndex(index)
	if err == nil {
		err = setSysctl(forwardsOf(device.Attrs().Name), "1")
	}
	if isNoLink(err) || errors.Is(err, fs.ErrNotExist) { // it has gone meanwhile
		return nil
	}
	return err
}

// others are the aliases of the bridges of all installations but one.
func others(links *netlink.Handle, but netlink.Link) ([]string, error) {
	all, err := whole(links.LinkList)
	if err != nil {
		return nil, err
	}
	var aliases []string
	for _, l := range all {
		if isBridge(l.Attrs().Name) && l.Type() == "bridge" && l.Attrs().Index != but.Attrs().Index && strings.HasPrefix(l.Attrs().Alias, bridgeAlias) {
			aliases = append(aliases, l.Attrs().Alias)
		}
	}
	return aliases, nil
}
