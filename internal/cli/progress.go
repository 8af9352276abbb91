package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"banger/client"
	"banger/internal/model"
)

// Progress is shown only for what takes long enough to wonder about: on a terminal as one line that is written over, else
// as a line a stage.
const (
	terminalPatience = 300 * time.Millisecond
	plainPatience    = 10 * time.Second
	redraw           = 100 * time.Millisecond
)

// progress shows what operations do. Its methods are for any goroutine.
type progress struct {
	app      *app
	w        io.Writer
	terminal bool
	label    string // what the line begins with, such as the VM's name; may be empty

	mu     sync.Mutex
	begun  time.Time
	now    client.Event
	stage  time.Time // when the stage began
	shown  bool      // patience is over
	drawn  bool      // a line is on the terminal
	last   string    // the last stage printed as a line
	ticker *time.Timer
	ended  bool
}

// startProgress begins to show; stop ends it.
func (a *app) startProgress(label string) *progress {
	p := &progress{app: a, w: a.Err, terminal: a.styled(a.Err), label: label, begun: time.Now()}
	if a.quiet {
		return p
	}
	patience := plainPatience
	if p.terminal {
		patience = terminalPatience
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticker = time.AfterFunc(patience, p.tick)
	return p
}

// event takes one event of an operation.
func (p *progress) event(e client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Warning != "" {
		p.erase()
		p.app.warn(e.Warning)
		return
	}
	if e.Stage != p.now.Stage {
		p.stage = time.Now()
	}
	p.now = e
	if p.shown && !p.terminal {
		p.line()
	}
}

func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.shown = true
	if !p.terminal {
		p.line()
		return
	}
	p.draw()
	p.ticker.Reset(redraw)
}

// line prints the stage once.
func (p *progress) line() {
	if p.now.Stage != "" && p.now.Stage != p.last {
		p.last = p.now.Stage
		p.app.say(p.prefix() + p.now.Stage)
	}
}

func (p *progress) prefix() string {
	if p.label == "" {
		return ""
	}
	return p.label + ": "
}

// draw writes the one line of a terminal.
func (p *progress) draw() {
	if p.now.Stage == "" {
		return
	}
	text := p.prefix() + p.now.Stage
	switch {
	case p.now.Total > 0:
		text += fmt.Sprintf("  %s of %s (%d %%)", model.FormatSize(p.now.Done), model.FormatSize(p.now.Total), 100*p.now.Done/p.now.Total)
	case p.now.Done > 0:
		text += "  " + model.FormatSize(p.now.Done)
	}
	if spent := time.Since(p.stage); spent >= time.Second {
		text += fmt.Sprintf("  %s", spent.Truncate(time.Second))
	}
	p.drawn = true
	_, _ = io.WriteString(p.w, "\r\x1b[K"+clip(safeLine(text), p.width()-1))
}

func (p *progress) width() int {
	if f := fileOf(p.w); f != nil {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

func clip(s string, width int) string {
	runes := []rune(s)
	return strings.TrimSpace(string(runes[:max(0, min(len(runes), width))]))
}

func (p *progress) erase() {
	if p.drawn {
		p.drawn = false
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
}

// stop takes the line away. Twice is fine.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.ticker != nil {
		p.ticker.Stop()
	}
	p.erase()
}
