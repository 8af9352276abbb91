package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime/debug"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxFrame is the largest length that can belong to a frame; a sender that names a larger one does not send frames.
const maxFrame = 64<<10 + 64

// readBuffer holds several small frames, so that they do not cost a system call each.
const readBuffer = 32 << 10

// serve carries frames over conn until either side ends it, and closes it. It returns why.
func (e *Endpoint) serve(ctx context.Context, conn net.Conn) error {
	done := make(chan struct{})
	e.out.setOpen(true)
	written := make(chan error, 1)
	go func() {
		err := e.out.writeLoop(conn, e.options.MAC, done)
		conn.Close() // wakes the reader
		written <- err
	}()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := e.readLoop(conn)
	close(done)
	conn.Close()
	if w := <-written; w != nil && err == nil {
		err = w
	}
	e.out.setOpen(false)
	return err
}

// readLoop delivers what arrives. A panic of the stack, which a packet must not be able to cause, ends this connection
// and not the process that carries the other VMs.
func (e *Endpoint) readLoop(conn net.Conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a packet made the stack panic: %v\n%s", p, debug.Stack())
		}
	}()
	r := bufio.NewReaderSize(conn, readBuffer)
	var head [lengthSize]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint32(head[:]))
		switch {
		case n > maxFrame:
			return fmt.Errorf("a frame of %d bytes: at most %d can be one", n, maxFrame)
		case n < ethernetSize || n > int64(e.options.MTU)+ethernetSize:
			if _, err := r.Discard(int(n)); err != nil {
				return err
			}
			continue
		}
		view := buffer.NewViewSize(int(n))
		if _, err := io.ReadFull(r, view.AsSlice()); err != nil {
			view.Release()
			return err
		}
		e.receive(view)
	}
}

// receive takes view over.
func (e *Endpoint) receive(view *buffer.View) {
	frame := view.AsSlice()
	switch e.pinned.inspect(frame) {
	case kindARP:
		e.out.put(outgoing{raw: e.pinned.replyARP(frame), framed: true})
	case kindIPv4:
		packet := frame[ethernetSize:]
		packet = packet[:binary.BigEndian.Uint16(packet[2:])]
		if e.options.Divert(packet) {
			break
		}
		view.TrimFront(ethernetSize)
		e.deliver(view)
		return
	}
	view.Release()
}

func (e *Endpoint) deliver(view *buffer.View) {
	d := e.attached()
	if d == nil {
		view.Release()
		return
	}
	packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	defer packet.DecRef()
	d.DeliverNetworkPacket(header.IPv4ProtocolNumber, packet)
}
