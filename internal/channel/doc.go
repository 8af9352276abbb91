// Package channel makes one clean byte stream out of a pair of virtio-serial ports.
//
// A virtio-serial port is a bare pipe between a guest and whoever has its socket open on the host. When the host's
// process dies, what it had written and what it had not yet read stay in the queues: the next process finds stale bytes
// and half frames in both directions. So there are two ports. On the control port the host sends a reset with a fresh
// nonce, which makes the guest drop the connection it had. On the data port the host then sends a sync line with the
// nonce, and repeats it, until the guest says that it heard it; the guest throws away all else. At the first such answer
// the host sends one go line; the guest throws away all up to it (the repeated syncs among it), answers that it is ready,
// and serves. The host throws away all up to that answer (the repeated ones before among it). From there on both
// directions are clean.
//
// Lines start with a newline too, so that a half line before one cannot swallow it. A nonce is 128 random bits: stale
// bytes do not hold it by chance, while a guest that lies about it harms only itself. The answers have words of their own,
// so that whatever sends back what it is sent is not taken for a guest that listens.
package channel

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	verbReset = "banger-reset "
	verbSync  = "banger-sync "
	verbHeard = "banger-heard "
	verbGo    = "banger-go "
	verbReady = "banger-ready "

	maxLine = 64 // longer than any line above with its nonce
)

// errJunk is why a host gives up on a guest that talks rubbish.
var errJunk = errors.New("the guest talks rubbish on its channel")

func newNonce() string {
	var raw [16]byte
	rand.Read(raw[:]) // never fails, by its contract
	return hex.EncodeToString(raw[:])
}

func line(verb, nonce string) []byte { return []byte("\n" + verb + nonce + "\n") }

// lines finds whole lines in a stream of anything, in bounded memory: of a line longer than maxLine nothing is kept.
type lines struct {
	text []byte
	long bool
}

// next consumes b up to the end of the first whole line. It returns the line, what is left of b, and whether there was a
// line.
func (l *lines) next(b []byte) (text string, rest []byte, ok bool) {
	for i, c := range b {
		if c != '\n' {
			if l.long = l.long || len(l.text) == maxLine; !l.long {
				l.text = append(l.text, c)
			}
			continue
		}
		text, long := string(l.text), l.long
		l.text, l.long = l.text[:0], false
		if !long {
			return text, b[i+1:], true
		}
	}
	return "", nil, false
}

// nonceOf returns the nonce of a line with that verb, or "".
func nonceOf(verb, text string) string {
	nonce, ok := strings.CutPrefix(text, verb)
	if !ok || len(nonce) != 32 || strings.Trim(nonce, "0123456789abcdef") != "" {
		return ""
	}
	return nonce
}
