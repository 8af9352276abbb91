package cli

import (
	"strings"
	"testing"
	"time"

	"banger/client"
)

func TestProgressLines(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	a := newApp(Streams{Err: &b})
	p := a.startProgress("box")
	defer p.stop()
	p.event(client.Event{Stage: "early"})
	p.event(client.Event{Warning: "careful"})
	if got := b.String(); got != "banger: warning: careful\n" {
		t.Errorf("before patience is over: %q", got)
	}
	p.tick()
	p.event(client.Event{Stage: "early", Done: 5})
	p.event(client.Event{Stage: "late\x1b"})
	if got := b.String(); got != "banger: warning: careful\nbanger: box: early\nbanger: box: late\\x1b\n" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestProgressLineOfATerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	a := newApp(Streams{Err: &b})
	p := &progress{app: a, w: &b, terminal: true, ticker: time.NewTimer(time.Hour)}
	defer p.stop()
	p.event(client.Event{Stage: "download", Done: 1 << 20, Total: 4 << 20})
	p.tick()
	p.stop()
	if got := b.String(); !strings.HasPrefix(got, "\r\x1b[Kdownload  1 MiB of 4 MiB (25 %)") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
	before := b.Len()
	p.tick()
	if b.Len() != before {
		t.Error("it draws after its end")
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "just now", time.Second: "1 second ago", 90 * time.Second: "1 minute ago", 5 * time.Hour: "5 hours ago",
		49 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "1 year ago", -time.Hour: "just now",
	} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
