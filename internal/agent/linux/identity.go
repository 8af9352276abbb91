package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

func setClock(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	spec := unix.NsecToTimespec(t.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &spec); err != nil {
		return fmt.Errorf("cannot set the clock: %w", err)
	}
	return nil
}

// addEntropy gives the kernel random bytes and counts them, so that nothing in a guest without hardware waits for its own.
func addEntropy(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	device, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot add entropy: %w", err)
	}
	defer device.Close()
	// struct rand_pool_info: bits, bytes, then the bytes themselves (random(4)).
	info := binary.NativeEndian.AppendUint32(nil, uint32(8*len(b)))
	info = binary.NativeEndian.AppendUint32(info, uint32(len(b)))
	info = append(info, b...)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0])))
	if errno != 0 {
		return fmt.Errorf("cannot add entropy: %w", errno)
	}
	return nil
}

// raiseLoopback brings lo up; the kernel gives it its addresses.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // a kernel without a network has no lo
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("cannot bring lo up: %w", err)
	}
	return nil
}

// writeIdentity writes the files by which programs know the machine and its network. An image whose /etc is read-only or a
// link keeps what it has; one without gets one, as docker gives it. alone says that no program runs yet that could read
// them meanwhile.
func writeIdentity(c agent.Config, alone bool) {
	put := replace
	if alone {
		put = overwrite
	}
	resolv := "# banger: this machine has no network\n"
	if len(c.Link.DNS) > 0 {
		resolv = "nameserver " + strings.Join(c.Link.DNS, "\nnameserver ") + "\n"
		if len(c.Link.Search) > 0 {
			resolv += "search " + strings.Join(c.Link.Search, " ") + "\n"
		}
	}
	hosts := "127.0.0.1\tlocalhost\n127.0.1.1\t" + c.Hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	dir, err := openEtc()
	if err == nil {
		defer unix.Close(dir)
		err = errors.Join(
			put(dir, "hostname", c.Hostname+"\n", 0o644),
			put(dir, "hosts", hosts, 0o644),
			put(dir, "machine-id", c.MachineID+"\n", 0o444),
			put(dir, "resolv.conf", resolv, 0o644),
		)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "banger-agent: cannot write the machine's identity to /etc:", err)
	}
}

// openEtc opens /etc of the root, which is made when it is missing, and refuses a link.
func openEtc() (int, error) {
	if err := os.Mkdir("/etc", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, err
	}
	return unix.Openat2(unix.AT_FDCWD, "/etc", &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
}

// overwrite is replace for when nobody reads. A file that is there already, root's and without another name, stays and gets
// another text, which costs a file system far less than a file in its place; one that was cut off in the middle is written
// again by the next boot.
func overwrite(dir int, name, text string, mode uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return replace(dir, name, text, mode)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || st.Uid != 0 || st.Gid != 0 {
		return replace(dir, name, text, mode)
	}
	if st.Size == int64(len(text)) && same(dir, name, text) {
		return nil
	}
	n, err := unix.Pwrite(fd, []byte(text), 0)
	if err == nil && n == len(text) && st.Size > int64(n) {
		err = unix.Ftruncate(fd, int64(n))
	}
	if err == nil && st.Mode&0o7777 != mode {
		err = unix.Fchmod(fd, mode)
	}
	if err != nil || n != len(text) {
		return replace(dir, name, text, mode)
	}
	return nil
}

// replace gives the file name in dir that text, following no link: what has the name is replaced, be it a link.
func replace(dir int, name, text string, mode uint32) error {
	if same(dir, name, text) {
		return nil
	}
	temp := ".banger-" + name
	_ = unix.Unlinkat(dir, temp, 0) // of an earlier boot that was cut off
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return fmt.Errorf("%s: %w", filepath.Join("/etc", name), err)
	}
	return nil
}

func same(dir int, name, text string) bool {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	there, err := io.ReadAll(io.LimitReader(file, int64(len(text))+1))
	return err == nil && string(there) == text
}
