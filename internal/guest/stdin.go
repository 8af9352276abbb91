package guest

import (
	"io"

	agentv1 "banger/api/agent/v1"
)

// maxChunk is the most input in one message.
const maxChunk = 32 << 10

// maxCredit caps what a guest can make the host send at once.
const maxCredit = 1 << 20

// Stdin sends input, waiting until the command takes it: the agent grants credit as the command reads, so that a command
// that never reads holds up its own sender and nobody else. It returns io.EOF once the attachment has ended.
func (a *Attachment) Stdin(b []byte) error {
	for len(b) > 0 {
		n, err := a.take(min(len(b), maxChunk))
		if err != nil {
			return err
		}
		if err := a.send(&agentv1.AttachRequest{Request: &agentv1.AttachRequest_Stdin{Stdin: b[:n]}}); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// take waits for credit and takes up to n of it.
func (a *Attachment) take(n int) (int, error) {
	for {
		a.mu.Lock()
		closed, credited := a.closed, a.credited
		if !closed && a.credit > 0 {
			n = min(n, a.credit)
			a.credit -= n
			a.mu.Unlock()
			return n, nil
		}
		a.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		select {
		case <-credited:
		case <-a.ended:
		}
	}
}

// grant takes the credit in a message.
func (a *Attachment) grant(m *agentv1.AttachResponse) {
	n := int(m.GetStdinCredit())
	if n <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.credit = min(a.credit+n, maxCredit)
	close(a.credited)
	a.credited = make(chan struct{})
}
