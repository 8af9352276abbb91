//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// watch writes down, as record does, each frame with a probe's text that no server would hear. Where it looks:
//
//	in:PREFIX    what comes in by devices of such names. Usual packets of a guest that say truly who sent them are left
//	             out where they come to a bridge: what becomes of those shows further on
//	past:PREFIX  what comes to the host by a device of a bridge's, past the bridge
//	out:PREFIX   what leaves
//
// It returns once it watches.
func watch(out io.Writer, places []string) error {
	names := [][]byte{}
	for _, p := range frameProbes("", "") {
		names = append(names, []byte("/"+p.name+"\n"))
	}
	names = append(names, []byte("/"+control+"\n"))
	var mu sync.Mutex
	for _, place := range places {
		way, prefix, _ := strings.Cut(place, ":")
		kinds := []uint16{unix.ETH_P_ALL}
		if way == "past" { // a socket for all kinds sees frames before the bridge does
			kinds = []uint16{unix.ETH_P_IP, unix.ETH_P_ARP, unix.ETH_P_IPV6, unix.ETH_P_802_2, unix.ETH_P_LLDP, unix.ETH_P_SLOW, unix.ETH_P_PAE}
		}
		for _, kind := range kinds {
			w, err := newWatcher(kind)
			if err != nil {
				return err
			}
			go w.run(way, prefix, func(frame []byte, device string) {
				for _, name := range names {
					i := bytes.Index(frame, name)
					if i < 0 {
						continue
					}
					phase := phaseBefore(frame[:i])
					if phase == "" {
						continue
					}
					mu.Lock()
					fmt.Fprintf(out, "seen %s%s at %s %s\n", phase, name[:len(name)-1], way, device)
					mu.Unlock()
				}
			})
		}
	}
	return nil
}

// control is what scripts send to see that watchers see. A verdict takes no notice of it.
const control = "control"

// phases are the names that a phase can have, on the bridge with bridgePrefix before them. A watcher knows where the text
// of a probe begins in a frame by them alone.
var phases = strings.Fields("public again killed beside stop start list none open flip restart any")

const bridgePrefix = "b-"

// knownPhase refuses a phase whose probes no watcher would see.
func knownPhase(phase string) error {
	if slices.Contains(phases, strings.TrimPrefix(phase, bridgePrefix)) {
		return nil
	}
	return fmt.Errorf("%q is none of the phases that are watched for: %q", phase, phases)
}

// phaseBefore is the phase that bytes end in, or "".
func phaseBefore(b []byte) string {
	for _, phase := range phases {
		if before, found := bytes.CutSuffix(b, []byte(phase)); found {
			if bytes.HasSuffix(before, []byte(bridgePrefix)) {
				return bridgePrefix + phase
			}
			return phase
		}
	}
	return ""
}

type watcher struct{ fd int }

func newWatcher(kind uint16) (watcher, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(bits(kind)))
	if err != nil {
		return watcher{}, fmt.Errorf("cannot watch: %w", err)
	}
	return watcher{fd}, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20))
}

// run tells of the frames that go a way by devices whose names begin so, until the program ends.
func (w watcher) run(way, prefix string, tell func(frame []byte, device string)) {
	buf, control := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, m, _, from, err := unix.Recvmsg(w.fd, buf, control, 0)
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || (ll.Pkttype == unix.PACKET_OUTGOING) != (way == "out") || !bytes.Contains(buf[:n], []byte("/")) {
			continue
		}
		device, err := net.InterfaceByIndex(ll.Ifindex)
		if err != nil || !strings.HasPrefix(device.Name, prefix) { // one that is gone was a guest's own
			continue
		}
		bridged := way == "in" && strings.HasPrefix(device.Name, "bb")
		if !bridged || ll.Pkttype != unix.PACKET_HOST || hadTag(control[:m]) || !honest(buf[:n]) {
			tell(buf[:n], device.Name)
		}
	}
}

// honest says whether a frame is IPv4 without options from the address that goes with its station: the last bytes of both
// are numbers of the guest's, its address's the next after its station's.
func honest(f []byte) bool {
	return len(f) >= 34 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && f[14] == 0x45 &&
		(f[26] == 198 && f[27]&^1 == 18) && f[29] == f[11]+1
}

// hadTag says whether the kernel took a VLAN's tag from a frame.
func hadTag(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0
		}
	}
	return false
}
