package hostnet

import (
	"encoding/binary"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// open makes the socket over which the kernel is asked.
func (r *rules) open() error {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(socket *mdnetlink.Conn) error {
		r.socket = socket
		return nil
	}))
	if err == nil {
		r.Conn = conn
	}
	return err
}

// settled reads the tables until nobody changed any rules meanwhile: a list that is changed while it is read, by whomever, may
// have something twice, or lack it.
func (r *rules) settled(read func() (tables, error)) (tables, error) {
	for range 2 * dumpTries { // a read is several lists
		before, err := r.generation()
		if err != nil {
			return tables{}, err
		}
		t, readErr := read()
		after, err := r.generation()
		if err != nil {
			return tables{}, err
		}
		if before == after {
			return t, readErr
		}
	}
	return tables{}, errUnsettled()
}

// generation is the number of the kernel's rules. Each transaction of anybody's in this network namespace makes it another
// one (nfnetlink's NFT_MSG_GETGEN).
func (r *rules) generation() (uint32, error) {
	answers, err := r.socket.Execute(mdnetlink.Message{
		Header: mdnetlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: mdnetlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if noRules(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	const header = 4 // of nfnetlink
	if len(answers) != 1 || len(answers[0].Data) < header {
		return 0, model.Errorf(model.ErrUnavailable, "the kernel does not say the number of its rules")
	}
	attributes, err := mdnetlink.NewAttributeDecoder(answers[0].Data[header:])
	if err != nil {
		return 0, err
	}
	attributes.ByteOrder = binary.BigEndian
	for attributes.Next() {
		if attributes.Type() == unix.NFTA_GEN_ID {
			return attributes.Uint32(), nil
		}
	}
	return 0, model.Errorf(model.ErrUnavailable, "the kernel does not say the number of its rules: %w", attributes.Err())
}
