package tap

import (
	"encoding/binary"
	"errors"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// A packet socket with PACKET_VNET_HDR puts this header before each frame (linux/virtio_net.h), in the host's byte order.
const (
	vnetSize       = 10
	vnetNeedsCheck = 1 // a flag: the checksum is still to be made

	maxFrame = 64<<10 + 64 // as package link has it
)

var errFrame = errors.New("its header is not a frame's")

// complete returns the frame behind a header, with its checksum made where the guest left that to its device. What is
// wrong with the guest's headers is its own loss: such a frame is an error.
func complete(b []byte) ([]byte, error) {
	if len(b) < vnetSize {
		return nil, errFrame
	}
	frame := b[vnetSize:]
	if b[0]&vnetNeedsCheck == 0 {
		return frame, nil
	}
	start := int(binary.NativeEndian.Uint16(b[6:]))
	at := start + int(binary.NativeEndian.Uint16(b[8:]))
	if start > len(frame) || at+2 > len(frame) {
		return nil, errFrame
	}
	// The field holds the sum of the pseudo header already.
	sum := ^checksum.Checksum(frame[start:], 0)
	if sum == 0 {
		sum = 0xffff // UDP's zero means that there is none; to TCP the two are the same
	}
	binary.BigEndian.PutUint16(frame[at:], sum)
	return frame, nil
}
