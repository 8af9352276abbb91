package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/server/servertest"
)

// A shell at a terminal: keys go through as they are, the size follows, and the terminal is afterwards as it was.
func TestShellAtATerminal(t *testing.T) {
	t.Parallel()
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pty: %v", err)
	}
	defer keyboard.Close()
	defer tty.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		if !g.Spec.TTY || g.Spec.Rows != 24 || g.Spec.Cols != 80 {
			return model.ExecStatus{Code: 1, Message: fmt.Sprintf("%+v", g.Spec)}
		}
		fmt.Fprint(g.Stdout, "\x1b[31mprompt> ")
		key := make([]byte, 2)
		if _, err := io.ReadFull(g.Stdin, key); err != nil || key[0] != 3 || key[1] != '\r' {
			return model.ExecStatus{Code: 2, Message: fmt.Sprintf("%v %v", key, err)}
		}
		_ = pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 100})
		b.signals <- syscall.SIGWINCH
		if size := <-g.Sizes; size != [2]uint16{40, 100} {
			return model.ExecStatus{Code: 3, Message: fmt.Sprint(size)}
		}
		return model.ExecStatus{Code: 7}
	}
	screen := make(chan string)
	go func() {
		r := bufio.NewReader(keyboard)
		prompt, _ := r.ReadString('>')
		_, _ = keyboard.Write([]byte{3, '\r'}) // Ctrl-C and Enter, which a cooked terminal would both change
		screen <- prompt
	}()
	b.in = tty
	code, stderr := b.runTo(t, tty, "vm", "shell", "box")
	if prompt := <-screen; code != 7 || stderr != "" || !strings.HasSuffix(prompt, "\x1b[31mprompt>") {
		t.Errorf("exit %d, stderr %q, screen %q", code, stderr, prompt)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %+v, %v", after, err)
	}
	_ = tty.Close()
	_ = keyboard.Close() // ends the read of an input that nobody wants any more
}

func TestLogsAtATerminalAreEscaped(t *testing.T) {
	t.Parallel()
	screen, tty, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pty: %v", err)
	}
	defer screen.Close()
	defer tty.Close()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Console = "\x1b]0;owned\x07 said\r\n"
	if code, stderr := b.runTo(t, tty, "vm", "logs", "box"); code != 0 || stderr != "" {
		t.Fatal(code, stderr)
	}
	line, err := bufio.NewReader(screen).ReadString('\n')
	if err != nil || line != `\x1b]0;owned\a said`+"\r\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestNoInput(t *testing.T) {
	t.Parallel()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pty: %v", err)
	}
	defer master.Close() // once it is, the other end is a terminal no more
	defer tty.Close()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.in = tty
	for _, args := range []string{"vm run --no-input", "--no-input vm shell box", "vm exec --no-input -it box sh"} {
		var out bytes.Buffer
		if code, stderr := b.runTo(t, &out, strings.Fields(args)...); code != 125 || !strings.Contains(stderr, "--no-input") {
			t.Errorf("%s: exit %d, %q", args, code, stderr)
		}
	}
}

// Should anything panic beside the goroutine that restores the terminal, it is restored all the same.
func TestPanicRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	master, tty, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pty: %v", err)
	}
	defer master.Close()
	defer tty.Close()
	state := func() unix.Termios {
		s, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *s
	}
	before := state()
	term := newTerminal(tty)
	if err := term.raw(); err != nil || state() == before {
		t.Fatalf("not raw: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		defer term.guard()
		panic("as the test wants it")
	}()
	if state() != before {
		t.Error("not restored")
	}
}
