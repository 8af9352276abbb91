package link

import (
	"encoding/binary"
	"net"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What waits for a guest that does not read is capped; beyond that packets are dropped, as on any full link, and TCP
// sends them again. Packets of other VMs get a part of it only, so that they cannot crowd out the rest.
const (
	maxQueued     = 8 << 20
	maxQueuedPeer = 2 << 20
	frameOverhead = 256 // what holding a frame costs beside its bytes
)

// outgoing is one frame on its way to the guest: either a packet of the stack or raw bytes, each without the ethernet
// header, or an ARP reply, which has it.
type outgoing struct {
	packet *stack.PacketBuffer
	raw    []byte
	framed bool
	peer   bool
}

func (o outgoing) size() int {
	if o.packet != nil {
		return o.packet.Size() + frameOverhead
	}
	return len(o.raw) + frameOverhead
}

func (o outgoing) release() {
	if o.packet != nil {
		o.packet.DecRef()
	}
}

// queue holds the frames for one guest. It takes frames only while a VMM is connected.
type queue struct {
	mu     sync.Mutex
	frames []outgoing
	bytes  int
	peers  int // of bytes
	open   bool
	wake   chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put takes o over and says whether it is on its way.
func (q *queue) put(o outgoing) bool {
	size := o.size()
	q.mu.Lock()
	fits := q.open && q.bytes+size <= maxQueued && (!o.peer || q.peers+size <= maxQueuedPeer)
	if fits {
		q.frames = append(q.frames, o)
		q.bytes += size
		if o.peer {
			q.peers += size
		}
	}
	q.mu.Unlock()
	if !fits {
		o.release()
		return false
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take moves what waits into batch, at most its capacity.
func (q *queue) take(batch []outgoing) []outgoing {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(cap(batch), len(q.frames))
	batch = append(batch[:0], q.frames[:n]...)
	for _, o := range batch {
		q.bytes -= o.size()
		if o.peer {
			q.peers -= o.size()
		}
	}
	rest := copy(q.frames, q.frames[n:])
	clear(q.frames[rest:])
	if q.frames = q.frames[:rest]; rest == 0 && cap(q.frames) > 256 {
		q.frames = nil // what a burst took is given back
	}
	return batch
}

// setOpen begins or ends a connection; what waited for the last one is dropped.
func (q *queue) setOpen(open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.frames {
		o.release()
	}
	q.frames, q.bytes, q.peers, q.open = nil, 0, 0, open
}

// batchSize is how many frames one write carries at most.
const batchSize = 32

// writeLoop sends what is queued until conn fails or done is closed.
func (q *queue) writeLoop(conn net.Conn, to MAC, done <-chan struct{}) error {
	batch := make([]outgoing, 0, batchSize)
	headers := make([]byte, batchSize*(lengthSize+ethernetSize))
	for {
		select {
		case <-done:
			return nil
		case <-q.wake:
		}
		for {
			batch = q.take(batch)
			if len(batch) == 0 {
				break
			}
			if err := writeFrames(conn, to, batch, headers); err != nil {
				return err
			}
		}
	}
}

func writeFrames(conn net.Conn, to MAC, batch []outgoing, headers []byte) error {
	vector := make(net.Buffers, 0, 4*len(batch))
	from := GatewayMAC()
	for i, o := range batch {
		head := headers[i*(lengthSize+ethernetSize):][:lengthSize+ethernetSize]
		copy(head[4:], to[:])
		copy(head[10:], from[:])
		binary.BigEndian.PutUint16(head[16:], typeIPv4)
		switch {
		case o.framed:
			binary.BigEndian.PutUint32(head, uint32(len(o.raw)))
			vector = append(vector, head[:lengthSize], o.raw)
		case o.packet != nil:
			binary.BigEndian.PutUint32(head, uint32(o.packet.Size()+ethernetSize))
			vector = append(append(vector, head), o.packet.AsSlices()...)
		default:
			binary.BigEndian.PutUint32(head, uint32(len(o.raw)+ethernetSize))
			vector = append(vector, head, o.raw)
		}
	}
	_, err := vector.WriteTo(conn)
	for _, o := range batch {
		o.release()
	}
	return err
}
