package linux

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

// plumbTerminal makes a terminal, which is the child's first three descriptors.
func (p *process) plumbTerminal(c agent.Command, who account) ([]uintptr, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a terminal: %w", err)
	}
	p.out = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("cannot unlock a terminal: %w", err)
	}
	// The request's argument is a plain number, the flags of the open; no path is involved.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("cannot open a terminal: %w", errno)
	}
	// Kept until the command has ended: programs close their terminal before they exit, and were it closed for good then,
	// our side's end would be taken for theirs and hang up on them.
	p.peer = os.NewFile(peer, "terminal's peer")
	_ = unix.Fchown(int(peer), int(who.uid), -1) // programs reopen their terminal by name; those that do not work without
	if c.Rows > 0 && c.Cols > 0 {
		if err := p.Resize(c.Rows, c.Cols); err != nil {
			return nil, err
		}
	}
	if c.Stdin {
		p.stdin = terminalInput{p.out}
	}
	return []uintptr{peer, peer, peer}, nil
}

// Resize sets the size of the terminal; without one it does nothing.
func (p *process) Resize(rows, cols uint16) error {
	if p.err != nil || p.out == nil {
		return nil
	}
	raw, err := p.out.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// terminalInput is what is typed. Its end is typed too: a terminal has no half that could be closed.
type terminalInput struct{ terminal *os.File }

func (t terminalInput) Write(b []byte) (int, error) { return t.terminal.Write(b) }

func (t terminalInput) Close() error {
	const endOfFile = 4 // ^D
	_, err := t.terminal.Write([]byte{endOfFile})
	return err
}
