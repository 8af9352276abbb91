package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of KVM that the probe needs, their argument's layout and the exit it hopes for (linux/kvm.h, x86-64).
const (
	kvmGetAPIVersion   = 0xAE00
	kvmCreateVM        = 0xAE01
	kvmGetVCPUMmapSize = 0xAE04
	kvmCreateVCPU      = 0xAE41
	kvmSetUserMemory   = 0x4020AE46
	kvmRun             = 0xAE80
	kvmSetRegs         = 0x4090AE82
	kvmGetSregs        = 0x8138AE83
	kvmSetSregs        = 0x4138AE84
	kvmAPIVersion      = 12
	kvmExitHLT         = 5
	kvmRunExitReason   = 8 // offset of the reason
)

// loopGuest is a virtual machine of one page of memory: 16-bit code that counts down and halts.
type loopGuest struct {
	kvm, vm, vcpu int
	memory, state []byte // the page, and struct kvm_run
	thread        atomic.Int64
	stop          atomic.Bool
}

const loopAddress = 0x1000

var errInterrupted = errors.New("it did not come back")

func (g *loopGuest) open() (err error) {
	g.kvm, g.vm, g.vcpu = -1, -1, -1
	g.thread.Store(int64(unix.Gettid()))
	if g.kvm, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	if v, err := kvmCall(g.kvm, kvmGetAPIVersion); err != nil || v != kvmAPIVersion {
		return fmt.Errorf("its interface has version %d: %w", v, err)
	}
	if g.vm, err = kvmCall(g.kvm, kvmCreateVM); err != nil {
		return err
	}
	if g.memory, err = unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE); err != nil {
		return err
	}
	copy(g.memory, []byte{
		0x66, 0x49, // dec ecx
		0x75, 0xFC, // jnz to it
		0xF4, // hlt
	})
	region := struct {
		slot, flags              uint32
		guest, size, userAddress uint64
	}{0, 0, loopAddress, uint64(len(g.memory)), uint64(uintptr(unsafe.Pointer(&g.memory[0])))}
	if err := kvmPointer(g.vm, kvmSetUserMemory, unsafe.Pointer(&region)); err != nil {
		return err
	}
	if g.vcpu, err = kvmCall(g.vm, kvmCreateVCPU); err != nil {
		return err
	}
	size, err := kvmCall(g.kvm, kvmGetVCPUMmapSize)
	if err != nil {
		return err
	}
	g.state, err = unix.Mmap(g.vcpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	var sregs [312]byte // struct kvm_sregs, which begins with the code segment: base, limit, selector
	if err := kvmPointer(g.vcpu, kvmGetSregs, unsafe.Pointer(&sregs)); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(sregs[0:], 0)
	binary.LittleEndian.PutUint16(sregs[12:], 0)
	return kvmPointer(g.vcpu, kvmSetSregs, unsafe.Pointer(&sregs))
}

// run makes the guest count loops down and returns when it has.
func (g *loopGuest) run(loops uint64) error {
	var regs [18]uint64 // struct kvm_regs: rax, rbx, rcx, …, rip, rflags
	regs[2], regs[16], regs[17] = loops, loopAddress, 2
	if err := kvmPointer(g.vcpu, kvmSetRegs, unsafe.Pointer(&regs)); err != nil {
		return err
	}
	for {
		_, err := kvmCall(g.vcpu, kvmRun)
		switch {
		case g.stop.Load():
			return errInterrupted
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return err
		}
		if reason := binary.LittleEndian.Uint32(g.state[kvmRunExitReason:]); reason != kvmExitHLT {
			return fmt.Errorf("it stopped with exit %d", reason)
		}
		return nil
	}
}

// interrupt ends a run from another thread. The signal is the one that the Go runtime sends its threads all the time.
func (g *loopGuest) interrupt() {
	g.stop.Store(true)
	if t := g.thread.Load(); t != 0 {
		_ = unix.Tgkill(os.Getpid(), int(t), unix.SIGURG)
	}
}

func (g *loopGuest) close() {
	for _, m := range [][]byte{g.state, g.memory} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	for _, fd := range []int{g.vcpu, g.vm, g.kvm} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	g.thread.Store(0)
}

func kvmCall(fd int, request uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func kvmPointer(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
