package vmmtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"banger/internal/agent"
)

// task is one built-in command that runs.
type task struct {
	name    string
	env     map[string]string
	workdir string
	system  *System

	stdin          io.Reader // what the command reads
	stdout, stderr io.Writer
	in             *os.File // the agent's ends
	out, err       *os.File
	theirs         []*os.File // closed when the last that writes to them has ended

	ctx    context.Context // ends when it is killed
	cancel context.CancelFunc
	once   sync.Once
	signal int
	done   chan struct{}
	exit   agent.Exit

	mu         sync.Mutex
	rows, cols uint16
}

// Start runs a built-in command.
func (s *System) Start(c agent.Command) (agent.Process, error) {
	argv := c.Argv
	if c.Shell {
		argv = []string{"cat"}
	}
	name := path.Base(argv[0])
	run := builtins()[name]
	if run == nil {
		return nil, &agent.StartError{Code: 127, Message: fmt.Sprintf("exec: %q: executable file not found in $PATH", argv[0])}
	}
	p := &task{name: name, workdir: c.Workdir, system: s, done: make(chan struct{}), rows: c.Rows, cols: c.Cols}
	if p.workdir == "" {
		p.workdir = "/root"
	}
	p.env = map[string]string{"HOME": "/root", "USER": "root", "PATH": "/bin"}
	for _, kv := range c.Env {
		name, value, _ := strings.Cut(kv, "=")
		p.env[name] = value
	}
	if err := p.plumb(c); err != nil {
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	s.mu.Lock()
	off := s.off
	s.running[p] = true
	s.mu.Unlock()
	if off {
		p.kill(9)
	}
	go p.main(run, argv[1:])
	return p, nil
}

// plumb makes the pipes. With a terminal both outputs are one.
func (p *task) plumb(c agent.Command) error {
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil
		}
		return r, w
	}
	outR, outW := pipe()
	errR, errW := outR, outW
	if !c.TTY {
		errR, errW = pipe()
	}
	p.out, p.err, p.stdout, p.stderr, p.theirs = outR, errR, outW, errW, []*os.File{outW, errW}
	p.stdin = bytes.NewReader(nil)
	if c.Stdin {
		inR, inW := pipe()
		p.in, p.stdin = inW, inR
		p.theirs = append(p.theirs, inR)
	}
	for _, f := range append(p.theirs, p.out, p.err) {
		if f == nil {
			return fmt.Errorf("cannot make a pipe")
		}
	}
	return nil
}

func (p *task) main(run builtin, args []string) {
	ended := make(chan int, 1)
	go func() { ended <- run(p, args) }()
	closeNow := true
	select {
	case code := <-ended:
		p.exit = agent.Exit{Code: code & 0xff}
		closeNow = p.name != "orphan"
	case <-p.ctx.Done():
		p.exit = agent.Exit{Signal: p.signal}
	}
	p.system.mu.Lock()
	delete(p.system.running, p)
	p.system.mu.Unlock()
	if closeNow {
		p.closeTheirs()
	}
	close(p.done)
}

func (p *task) closeTheirs() {
	for _, f := range p.theirs {
		f.Close()
	}
}

func (p *task) kill(number int) {
	p.once.Do(func() {
		p.signal = number
		p.cancel()
	})
}

func (p *task) Stdin() io.WriteCloser {
	if p.in == nil {
		return nil
	}
	return p.in
}

func (p *task) Stdout() agent.Reader { return p.out }

func (p *task) Stderr() agent.Reader {
	if p.err == p.out {
		return nil
	}
	return p.err
}

func (p *task) Wait() agent.Exit {
	<-p.done
	p.cancel()
	return p.exit
}

// Signal ends the command, by all signals but those that programs ignore or the fake has no use for.
func (p *task) Signal(number int) error {
	switch syscall.Signal(number) {
	case syscall.SIGWINCH, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG:
	default:
		p.kill(number)
	}
	return nil
}

func (p *task) SignalAll(number int) error { return p.Signal(number) }

func (p *task) Resize(rows, cols uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows, p.cols = rows, cols
	return nil
}

func (p *task) Close() error {
	if p.in != nil {
		p.in.Close()
	}
	return nil
}

type builtin func(p *task, args []string) int

func builtins() map[string]builtin {
	return map[string]builtin{
		"true":     func(*task, []string) int { return 0 },
		"false":    func(*task, []string) int { return 1 },
		"echo":     func(p *task, args []string) int { return p.say(strings.Join(args, " ") + "\n") },
		"pwd":      func(p *task, _ []string) int { return p.say(p.workdir + "\n") },
		"hostname": func(p *task, _ []string) int { return p.say(p.system.Config().Hostname + "\n") },
		"cat":      runCat,
		"yes":      runYes,
		"sleep":    runSleep,
		"exit":     runExit,
		"printenv": runPrintenv,
		"put":      runPut,
		"get":      runGet,
		"stty":     runStty,
		"orphan":   runOrphan,
		"listen":   runListen,
	}
}

func (p *task) say(text string) int {
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return 1
	}
	return 0
}

func (p *task) complain(text string) int {
	_, _ = io.WriteString(p.stderr, p.name+": "+text+"\n")
	return 1
}

func runCat(p *task, args []string) int {
	if slices.Equal(args, []string{"/etc/hostname"}) {
		return p.say(p.system.Config().Hostname + "\n")
	}
	if len(args) > 0 {
		return runGet(p, args)
	}
	if _, err := io.Copy(p.stdout, p.stdin); err != nil {
		return 1
	}
	return 0
}

// runYes says y for ever, or as many lines as its second argument says.
func runYes(p *task, args []string) int {
	word, lines := "y", -1
	if len(args) > 0 {
		word = args[0]
	}
	if len(args) > 1 {
		lines, _ = strconv.Atoi(args[1])
	}
	block := strings.Repeat(word+"\n", 1024)
	for lines != 0 {
		if lines > 0 && lines < 1024 {
			return p.say(strings.Repeat(word+"\n", lines))
		}
		if p.say(block) != 0 {
			return 1
		}
		if lines > 0 {
			lines -= 1024
		}
	}
	return 0
}

func runSleep(p *task, args []string) int {
	if len(args) != 1 {
		return p.complain("missing operand")
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return p.complain("invalid time interval")
	}
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-p.ctx.Done():
	}
	return 0
}

func runExit(p *task, args []string) int {
	if len(args) == 0 {
		return 0
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return p.complain("numeric argument required")
	}
	return code
}

func runPrintenv(p *task, args []string) int {
	if len(args) == 0 {
		for _, name := range slices.Sorted(maps.Keys(p.env)) {
			p.say(name + "=" + p.env[name] + "\n")
		}
		return 0
	}
	value, ok := p.env[args[0]]
	if !ok {
		return 1
	}
	return p.say(value + "\n")
}

func runPut(p *task, args []string) int {
	if len(args) != 2 {
		return p.complain("usage: put NAME TEXT")
	}
	p.system.mu.Lock()
	defer p.system.mu.Unlock()
	p.system.disk[args[0]] = args[1]
	return 0
}

func runGet(p *task, args []string) int {
	if len(args) != 1 {
		return p.complain("usage: get NAME")
	}
	p.system.mu.Lock()
	text, ok := p.system.disk[args[0]]
	p.system.mu.Unlock()
	if !ok {
		return p.complain(args[0] + ": No such file or directory")
	}
	return p.say(text + "\n")
}

// runStty says the size of the terminal, as stty size does, each time it is sent a line.
func runStty(p *task, _ []string) int {
	one := make([]byte, 1)
	for {
		p.mu.Lock()
		rows, cols := p.rows, p.cols
		p.mu.Unlock()
		p.say(fmt.Sprintf("%d %d\n", rows, cols))
		for {
			if _, err := p.stdin.Read(one); err != nil {
				return 0
			}
			if one[0] == '\n' {
				break
			}
		}
	}
}

func runOrphan(p *task, args []string) int {
	seconds, err := strconv.ParseFloat(strings.Join(args, ""), 64)
	if err != nil {
		return p.complain("usage: orphan SECONDS")
	}
	go func() {
		defer p.closeTheirs()
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		case <-p.system.gone:
		}
	}()
	return p.say("parent\n")
}
